"""Tiles: they cover a picture, show all that matters, and give the gradient of the whole."""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import nst_tf
from nst_tf import backbones, config, errors, losses, objective
from nst_tf.engine import steps
from nst_tf.engine import steps as engine_steps
from nst_tf.imaging import pyramid, sources
from nst_tf.kernels import convolution
from nst_tf.tiling import bands, memory, spill, tiled_objective, tiles

ONES = tf.ones((1, 1, 1, 1))
EAGER = {"derandomize": True, "deadline": None}


# The cut.


@settings(max_examples=200, **EAGER)
@given(
    st.integers(1, 700),
    st.integers(1, 700),
    st.integers(0, 300),
    st.integers(0, 90),
    st.sampled_from([1, 2, 4, 8, 16]),
)
def test_tiles_own_every_pixel_once_and_show_what_is_around(height, width, side, halo, stride):
    owners = np.zeros((height, width), int)
    for tile in tiles.split_into_tiles(height, width, side, halo, stride):
        rows, columns = tile.rows, tile.columns
        owners[rows.first : rows.last, columns.first : columns.last] += 1
        for span, length in ((rows, height), (columns, width)):
            assert span.start % stride == 0 and span.first % stride == 0
            assert span.last - span.first <= (max(side, stride) if side else length)
            assert 0 <= span.start <= max(0, span.first - halo)
            assert min(length, span.last + halo) <= span.stop <= length
            assert (length - span.stop) % stride == 0
        top, bottom, left, right = tile.owned
        assert (bottom - top, right - left) == (
            rows.last - rows.first,
            columns.last - columns.first,
        )
    assert (owners == 1).all()
    shown = tiles.split_into_tiles(height, width, side, halo, stride)
    assert len({(tile.rows.length, tile.columns.length) for tile in shown}) == 1
    if side == 0 or side >= max(height, width):
        assert len(tiles.split_into_tiles(height, width, side, halo, stride)) == 1


# The gradient.


class Small(backbones.Backbone):
    """Two blocks of a VGG in float64, with random weights."""

    LAYERS = ("block1_conv1", "block1_conv2", "block2_conv1", "block2_pool")

    def __init__(self, pooling: str) -> None:
        keras.utils.set_random_seed(3)
        pool = {
            "max": backbones.pooling.FrozenMaxPooling2D,
            "avg": backbones.pooling.FrozenAveragePooling2D,
        }[pooling]
        image = keras.Input((None, None, 3), dtype="float64", name="image")
        outputs, x = {"image": image}, image
        for name, filters in (("block1_conv1", 5), ("block1_conv2", 6), ("block2_conv1", 7)):
            if name == "block2_conv1":
                x = pool(2, dtype="float64", name="block1_pool")(x)
            convolution = backbones.convolution.FrozenConv2D(
                filters, 3, padding="same", activation="relu", dtype="float64", name=name
            )
            x = convolution(x)
            outputs[name] = keras.layers.Identity(dtype="float64", name=f"{name}_output")(x)
        outputs["block2_pool"] = pool(2, dtype="float64", name="block2_pool")(x)
        super(backbones.Backbone, self).__init__(image, outputs)


SMALL = {pooling: Small(pooling) for pooling in ("max", "avg")}
TILED_LOSSES = [
    *(kind() for kind in losses._LOSSES.values() if kind.additive and not kind().joint),
    losses.Gram("sums_per_pixel"),
    *(losses.TotalVariation(form) for form in config.TV_FORMS[1:]),
]


def name_of(loss) -> str:
    return "-".join([type(loss).__name__, loss.normalization, getattr(loss, "form", "")])


def picture(seed, height, width, dtype=tf.float64):
    return tf.constant(np.random.default_rng(seed).random((1, height, width, 3)), dtype)


def pictures(size, dtype):
    """Returns a picture, its photo and its painting, and the painting's mask.

    Photo and picture have none: they are all alike.
    """
    height, width = size
    mask = tf.cast(picture(3, height + 5, width + 9)[..., :1], dtype)
    image, photo = picture(0, height, width, dtype), picture(1, height, width, dtype)
    return image, photo, picture(2, height + 5, width + 9, dtype), mask


def in_the_whole(terms, backbone, size, dtype):
    """Returns the evaluation of a picture as a whole, whose gradient is TensorFlow's own."""
    image, photo, painting, mask = pictures(size, dtype)
    whole = objective.Objective(backbone, terms)
    targets = {
        **whole.targets(photo, tf.cast(ONES, dtype), "content"),
        **whole.targets(painting, mask, "style"),
    }
    return steps.value_and_gradient(whole, image, targets)


def in_tiles(terms, backbone, size, plan, dtype):
    """Returns the evaluation of the same picture in tiles, with targets made in tiles."""
    image, photo, painting, mask = pictures(size, dtype)
    whole = objective.Objective(backbone, terms)
    tiled = tiled_objective.TiledObjective(whole, plan.cuts, keeps=plan.keeps, run_eagerly=True)
    cut = tiled.cut(*photo.shape[1:3], plan.sides)
    content = tiled.targets(photo, tf.cast(ONES, dtype), cut, "content")
    pieces = tiled.cut(*painting.shape[1:3], plan.sides)
    style = tiled.targets(painting, mask, pieces, "style")
    targets = tiled_objective.TiledTargets({**content.shared, **style.shared}, cut, content.maps)
    return tiled.value_and_gradient(image, targets)


def relative(found, expected) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


SIDES = st.integers(4, 40)
PLANS = st.one_of(
    st.builds(tiles.TilePlan, st.just(()), st.tuples(SIDES), st.booleans()),
    st.builds(
        tiles.TilePlan, st.just(("block1_pool",)), st.tuples(SIDES, st.just(0)), st.booleans()
    ),
    st.builds(tiles.TilePlan, st.just(("block1_pool",)), st.tuples(SIDES, SIDES), st.booleans()),
    st.builds(
        tiles.TilePlan,
        st.just(("block1_pool", "block2_conv1")),
        st.tuples(*[SIDES] * 3),
        st.booleans(),
    ),
)


@settings(max_examples=10, phases=[Phase.generate], **EAGER)
@given(
    st.integers(9, 60),
    st.integers(9, 60),
    PLANS,
    st.sampled_from(["max", "avg"]),
    st.lists(st.sampled_from(Small.LAYERS), min_size=1, max_size=3, unique=True),
)
def test_in_float64_the_gradient_is_that_of_the_whole(height, width, plan, pooling, names):
    terms = [
        objective.Term(f"{kind}/{name}", name, loss, weight)
        for kind, loss, weight in (
            ("content", losses.Content(), 2.0),
            ("style", losses.Gram(), 3.0),
        )
        for name in names
    ]
    terms.append(objective.Term("tv", "image", losses.TotalVariation("nine_point"), 0.5))
    network, size = SMALL[pooling], (height, width)
    whole = in_the_whole(terms, network, size, tf.float64)
    tiled = in_tiles(terms, network, size, plan, tf.float64)
    assert relative(tiled.gradient, whole.gradient) < 1e-12
    np.testing.assert_allclose(tiled.loss, whole.loss, rtol=1e-12)


@pytest.fixture(scope="module")
def vgg16():
    names = ("block1_conv1", "block2_conv1", "block3_conv1", "block4_conv2", "block5_conv1")
    return backbones.build("vgg16", names, pooling="max")


def terms_of(loss):
    names = list(loss.layers) or ["block1_conv1", "block5_conv1"]
    return [objective.Term(f"{name}/x", name, loss, 1.0) for name in names]


@pytest.mark.parametrize("loss", TILED_LOSSES, ids=name_of)
def test_on_vgg16_the_gradient_of_every_loss_is_that_of_the_whole(vgg16, loss):
    on_vgg16_as_the_whole(vgg16, loss, (121, 243), tiles.TilePlan(("block3_pool",), (64, 96)))


@pytest.mark.parametrize(
    ("size", "plan"),
    [
        ((190, 130), tiles.TilePlan((), (96,))),
        ((121, 243), tiles.TilePlan(("block2_pool",), (80, 0))),
        ((121, 243), tiles.TilePlan(("block2_pool", "block3_pool"), (64, 80, 0))),
    ],
    ids=["tiles", "cut-at-once", "two-cuts"],
)
def test_on_vgg16_the_gradient_of_every_plan_is_that_of_the_whole(vgg16, size, plan):
    on_vgg16_as_the_whole(vgg16, losses.Wasserstein2(), size, plan)


def on_vgg16_as_the_whole(vgg16, loss, size, plan):
    """Compares loss and gradient of a picture in tiles with those of the whole."""
    whole = in_the_whole(terms_of(loss), vgg16, size, tf.float32)
    tiled = in_tiles(terms_of(loss), vgg16, size, plan, tf.float32)
    assert relative(tiled.gradient, whole.gradient) < 1e-4
    np.testing.assert_allclose(tiled.loss, whole.loss, rtol=1e-4)


@pytest.mark.parametrize("padding", ["reflect", "replicate"])
def test_what_is_around_the_picture_is_not_around_its_tiles(padding):
    names = ("block1_conv1", "block5_conv1")
    network = backbones.build("vgg16", names, pooling="avg", padding=padding)
    terms = [objective.Term(f"{name}/x", name, losses.Gram(), 1.0) for name in names]
    whole = in_the_whole(terms, network, (190, 130), tf.float32)
    for plan in (tiles.TilePlan((), (96,)), tiles.TilePlan(("block2_pool",), (80, 0))):
        tiled = in_tiles(terms, network, (190, 130), plan, tf.float32)
        assert relative(tiled.gradient, whole.gradient) < 1e-4


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [({"activation_scale": "unit"}, 1e-4), ({"precision": "bfloat16", "pooling": "avg"}, 0.1)],
    ids=["scaled", "bfloat16"],
)
def test_in_tiles_layers_are_exposed_as_they_are_in_the_whole(options, tolerance):
    """Sums of bfloat16 are rounded otherwise in tiles, and that runs through all layers."""
    names = ("block1_conv1", "block2_conv2", "block4_conv1")
    network = backbones.build("vgg16", names, **options)
    terms = [objective.Term(f"{name}/x", name, losses.Gram(), 1.0) for name in names]
    plan, size = tiles.TilePlan(("block2_pool",), (64, 96)), (121, 143)
    whole = in_the_whole(terms, network, size, tf.float32)
    tiled = in_tiles(terms, network, size, plan, tf.float32)
    assert relative(tiled.gradient, whole.gradient) < tolerance


def on_vgg16(network, keeps):
    """Returns an objective in tiles, a picture, and targets for it."""
    terms = [
        objective.Term(f"{name}/x", name, loss, 1.0)
        for name, loss in (
            ("image", losses.TotalVariation("nine_point")),
            ("block1_conv1", losses.Gram()),
            ("block3_conv1", losses.Moments()),
            ("block4_conv2", losses.Content()),
        )
    ]
    photo, image = picture(1, 130, 190, tf.float32), picture(0, 130, 190, tf.float32)
    tiled = tiled_objective.TiledObjective(
        objective.Objective(network, terms), ["block2_pool"], keeps=keeps
    )
    cut = tiled.cut(130, 190, (64, 0))
    content, style = (tiled.targets(photo, ONES, cut, role) for role in ("content", "style"))
    shared = {**content.shared, **style.shared}
    return tiled, image, tiled_objective.TiledTargets(shared, cut, content.maps)


def test_what_is_computed_a_second_time_is_what_would_have_been_kept(vgg16, monkeypatch):
    """To the bit, and so is what is kept until the disk is full, from the third tile on."""
    kept, image, targets = on_vgg16(vgg16, True)
    expected = kept.value_and_gradient(image, targets)
    again, _, _ = on_vgg16(vgg16, False)
    put, count = spill.SpillFile.put, [0]

    def full(self, array):
        count[0] += 1
        if count[0] > 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return put(self, array)

    found = [again.value_and_gradient(image, targets)]
    with monkeypatch.context() as patch:
        patch.setattr(spill.SpillFile, "put", full)
        found.append(kept.value_and_gradient(image, targets))
    assert count[0] > 20
    found.append(kept.value_and_gradient(image, targets))
    for each in found:
        np.testing.assert_array_equal(each.loss, expected.loss)
        np.testing.assert_array_equal(each.gradient, expected.gradient)


def test_the_way_back_takes_a_bit_for_a_value_and_what_is_looked_at(vgg16, monkeypatch):
    """For each position: the sign of each value, and block3_conv1 and block4_conv2 themselves."""
    kept, image, targets = on_vgg16(vgg16, True)
    filed, put = [], spill.SpillFile.put

    def counted(self, array):
        array = np.asarray(array)
        filed.append(array.size / 8 if array.dtype.kind == "b" else array.nbytes)
        return put(self, array)

    monkeypatch.setattr(spill.SpillFile, "put", counted)
    kept.value_and_gradient(image, targets)
    lower, upper = (
        sum(tile.rows.length * tile.columns.length for tile in each) for each in targets.tiles
    )
    # Max pooling keeps which of its inputs are the largest.
    bits = lower * (3 * 64 + 3 * 128 / 4) + upper * (4 * 256 + 2 * 512 / 4)
    features = upper * (256 + 512 / 4)
    assert sum(filed) == pytest.approx(bits / 8 + 4 * features, rel=0.05)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("image", (1, 0)),
        ("block1_conv1", (1, 1)),
        ("block2_conv1", (2, 4)),
        ("block3_conv1", (4, 10)),
        ("block4_conv2", (8, 34)),
        ("block5_conv1", (16, 58)),
    ],
)
def test_the_reach_of_a_layer_comes_from_the_graph(vgg16, name, expected):
    """Counted by hand: a convolution adds its stride, a pooling doubles it."""
    assert vgg16.reach(name) == expected


def test_nothing_beyond_its_reach_moves_an_activation(vgg16):
    image = picture(4, 208, 208, tf.float32).numpy()
    before = vgg16(image)["block5_conv1"][0, 6, 6]
    stride, halo = vgg16.reach("block5_conv1")
    first, last = 6 * stride - halo, 7 * stride - 1 + halo
    for pixel, moves in ((first - 1, False), (first, True), (last, True), (last + 1, False)):
        changed = image.copy()
        changed[:, pixel] += 1000.0
        after = vgg16(changed)["block5_conv1"][0, 6, 6]
        assert bool(np.any(after != before)) is moves, pixel


# A whole run.

SETTINGS = config.StyleTransferConfig(
    backbone="vgg16",
    precision="float32",  # In bfloat16 tiles are rounded otherwise.
    image_size=144,
    levels=2,
    steps=(3, 3),
    content_layers="block2_conv2",
    style_layers=("block1_conv1", "block3_conv1"),
    style_loss="gram",
    style_weight=10.0,
    content_weight=1.0,
    content_decay=1.0,
    color="style",
    init_noise=0.5,
    level_factor=2**0.5,
    tv_weight=0.1,
)


@pytest.fixture(scope="module")
def pair():
    random = np.random.default_rng(7)
    return [
        nst_tf.imaging.resize(np.float32(random.random((6, 8, 3))), height, width)
        for height, width in ((90, 112), (100, 80))
    ]


@pytest.fixture(params=[False, True], ids=["direct", "minimal"])
def minimal(request, monkeypatch):
    """Runs a test without and with minimal filtering, which rounds otherwise in tiles."""
    if not request.param:
        monkeypatch.setattr(convolution, "minimal_filters", lambda: None)
    return request.param


@pytest.mark.parametrize(
    ("changes", "minimal"),
    [
        pytest.param({"optimizer": "adam"}, False, id="direct-adam"),
        pytest.param({"optimizer": "lbfgs"}, False, id="direct-lbfgs"),
        pytest.param({"optimizer": "adam"}, True, id="minimal-adam"),
        pytest.param({"optimizer": "lbfgs"}, True, id="minimal-lbfgs"),
        pytest.param({"optimizer": "lbfgs", "lbfgs_octaves": 3}, True, id="minimal-smoothed"),
        pytest.param({"optimizer": "adam", "laplacian_bands": 4}, True, id="minimal-bands"),
    ],
    indirect=["minimal"],
)
def test_a_tiled_run_makes_the_same_picture(pair, changes, minimal, monkeypatch):
    monkeypatch.setattr(bands, "_BAND", 17 * 112)  # Several bands, of an odd height.
    settings = SETTINGS.replace(**changes, image_size=112, tile_size=0)
    transfer = nst_tf.StyleTransfer(settings)
    in_tiles = nst_tf.StyleTransfer(settings.replace(tile_size=48), transfer.backbone)
    whole, tiled, again = (each.stylize(*pair) for each in (transfer, in_tiles, in_tiles))
    if minimal and changes.get("laplacian_bands"):
        # Where an activation is zero to rounding, its ReLU may be open in one run and closed in
        # the other, and the pixels around it go elsewhere.
        apart = np.abs(tiled - whole)
        assert np.mean(apart > 2e-3) < 1e-4 and np.mean(apart) < 2e-4
    else:
        np.testing.assert_allclose(tiled, whole, atol=2e-3)
    np.testing.assert_array_equal(again, tiled)


def test_a_circular_picture_is_never_cut_into_tiles(pair, monkeypatch):
    transfer = nst_tf.StyleTransfer(SETTINGS.replace(padding="circular"))

    def short_of_memory(*arguments):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")

    monkeypatch.setattr(engine_steps, "compile_step", lambda *_, **__: short_of_memory)
    with pytest.raises(errors.StyleTransferError, match=r"too little for \d+x\d+ pixels\. Lower"):
        transfer.stylize(*pair)


def test_where_memory_runs_out_the_run_goes_on_in_tiles(pair, monkeypatch, caplog):
    """The fifth step, in the midst of the second level, finds no memory for the whole."""
    expected = nst_tf.stylize(*pair, SETTINGS.replace(optimizer="adam")).numpy()
    transfer = nst_tf.StyleTransfer(SETTINGS.replace(optimizer="adam"))
    steps, compile_step = [], engine_steps.compile_step

    def short_of_memory(*arguments, **options):
        step = compile_step(*arguments, **options)

        def taken(*given):
            if len(steps) == 4:
                raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")
            steps.append(step(*given))
            return steps[-1]

        return taken

    monkeypatch.setattr(engine_steps, "compile_step", short_of_memory)
    history = nst_tf.callbacks.History()
    with caplog.at_level("INFO", "nst_tf"):
        picture = transfer.stylize(*pair, [history])
    np.testing.assert_allclose(picture, expected, atol=2e-3)
    assert [(entry["level"], entry["step"]) for entry in history.entries] == [
        (level, step) for level in (0, 1) for step in (1, 2, 3)
    ]
    assert "Memory has run out; going on in tiles of 72 pixels." in caplog.text


def test_memory_that_is_too_little_for_any_tile_is_said(pair, monkeypatch):
    def exhausted(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")

    transfer = nst_tf.StyleTransfer(SETTINGS)
    monkeypatch.setattr(transfer, "_take", exhausted)
    with pytest.raises(errors.StyleTransferError, match=r"too little for 102x82.*image_size"):
        transfer.stylize(*pair)


def test_plans_that_are_handed_on_are_those_that_run(pair, monkeypatch):
    """Whatever memory is free by then; one painting is measured in tiles."""
    transfer = nst_tf.StyleTransfer(SETTINGS.replace(optimizer="adam"))
    whole = transfer.stylize(*pair)
    handed_on = [tiles.WHOLE._replace(style_side=32), tiles.TilePlan((), (64,), True, 48)]
    ends = []

    class Watch(nst_tf.callbacks.Callback):
        def on_step_end(self, step):
            ends.append(step.snapshot().plans)

    def not_again(*_):
        raise AssertionError("memory is planned twice")

    monkeypatch.setattr(memory, "plans", not_again)
    picture = transfer.stylize(*pair, [Watch()], plans=handed_on)
    assert all(plans == handed_on for plans in ends)
    np.testing.assert_allclose(picture, whole, atol=2e-3)
    assert np.any(picture != whole)


# How much memory.


LEVEL = pyramid.Level(2048, 3072, 30)


def plans(backbone, **changes):
    levels = [pyramid.Level(256, 384, 60), LEVEL]
    return memory.plans(
        config.StyleTransferConfig(**{"style_loss": "gram", **changes}),
        backbone.costs(),
        levels,
        False,
    )


def test_tiles_are_taken_only_where_the_limit_asks_for_them(vgg16):
    assert plans(vgg16, tile_size=0) == [tiles.WHOLE, tiles.WHOLE]
    assert plans(vgg16, memory_limit="1TB") == [tiles.WHOLE, tiles.WHOLE]
    settings = config.StyleTransferConfig(style_loss="gram", memory_limit="6GB")
    coarse, fine = plans(vgg16, memory_limit="6GB")
    assert coarse == tiles.WHOLE
    assert fine.tiled
    assert memory.expected(settings, vgg16.costs(), LEVEL, fine) <= 6e9
    assert memory.expected(settings, vgg16.costs(), LEVEL, tiles.WHOLE) > 6e9


def test_a_given_side_is_that_of_the_tiles_of_pixels(vgg16):
    coarse, fine = plans(vgg16, tile_size=1024)
    assert (coarse, fine.sides[0]) == (tiles.WHOLE, 1024)
    assert [plan.sides[0] for plan in plans(vgg16, tile_size=256)] == [256, 256]


def test_more_memory_never_makes_more_work(vgg16):
    limits = ["3GB", "4GB", "6GB", "9GB", "1TB"]
    found = [plans(vgg16, optimizer="adam", memory_limit=limit)[1] for limit in limits]
    work = [memory._work(vgg16.costs(), LEVEL, plan) for plan in found]
    assert work == sorted(work, reverse=True)
    assert work[0] > 1.02 * work[-1]


def test_an_optimizer_that_moves_a_whole_picture_at_once_is_given_room(vgg16):
    """In tiles so small that they take less than its move does."""
    plan, level = tiles.TilePlan(sides=(128,), style_side=128), pyramid.Level(3072, 4096, 30)

    def expected(bands):
        settings = config.StyleTransferConfig(
            style_loss="gram", optimizer="rmsprop", laplacian_bands=bands
        )
        return memory.expected(settings, vgg16.costs(), level, plan)

    pixels = 3072 * 4096
    # A third more of the mean squares (4 bytes a value), and two copies of them and of the guard's
    # good picture (2 bytes), at least.
    assert expected(8) - expected(0) > (4 * 3 / 3 + 2 * (4 * 3 * 4 / 3 + 2 * 3)) * pixels
    assert 3e9 < expected(8) < 4e9


def test_matching_at_the_size_of_the_level_below_is_given_room(vgg16):
    """The second pass of a level is matched beside the whole state of the first."""
    plan, level = tiles.TilePlan(sides=(128,), style_side=128), pyramid.Level(3072, 4096, 30)
    given = memory.Given((3072, 4096), [(512, 512)])

    def expected(matches):
        settings = config.StyleTransferConfig(matches=matches, color="style")
        return memory.expected(settings, vgg16.costs(), level, plan, given)

    state = 12 * 3072 * 4096 * (1 + 1 + 1 + 2 * 10)  # Picture, gradient, direction and ten pairs.
    columns = 4 * 2688 * 16384
    assert expected(2) > state + columns
    assert expected(2) - expected(1) > columns


def test_the_work_of_a_plan_is_counted_by_hand(vgg16):
    """One pass forward and one back over what tiles show, or two forward if nothing is kept."""
    costs, level = vgg16.costs(), pyramid.Level(1024, 1024, 1)
    lower = sum(cost.products for cost in costs if cost.name < "block4")
    upper = sum(cost.products for cost in costs if cost.name > "block4")
    pixels = 1024**2
    assert memory._work(costs, level, tiles.WHOLE) == 2 * (lower + upper) * pixels
    shown = 1.0 * (512 + 64) ** 2 * 4
    for keeps, passes in ((True, 2), (False, 3)):
        plan = tiles.TilePlan((), (512,), keeps)
        assert memory._work(costs, level, plan) == passes * (lower + upper) * shown
        found = memory._work(costs, level, tiles.TilePlan(("block3_pool",), (512, 0), keeps))
        handed_on = memory._LINKED * 256 * 4 / 8**2 * pixels
        assert found == passes * lower * (512 + 24) ** 2 * 4 + 2 * upper * pixels + handed_on


def test_each_section_has_the_largest_tiles_that_fit(vgg16):
    """Of all plans, tried one by one, none that fits takes less work."""
    settings = config.StyleTransferConfig(style_loss="gram", optimizer="adam", memory_limit="3GB")
    costs, level = vgg16.costs(), pyramid.Level(4096, 4096, 30)
    (plan,) = memory.plans(settings, costs, [level], False)
    assert len(plan.cuts) == 2
    pools = ("block1_pool", "block2_pool", "block3_pool", "block4_pool")  # Which depends on oneDNN.
    every = [
        tiles.TilePlan(cuts, sides)
        for count in range(3)
        for cuts in itertools.combinations(pools, count)
        for sides in itertools.product(
            [0, *(side for side in memory._SIDES if side < 3000)], repeat=count + 1
        )
    ]
    fitting = [each for each in every if memory.expected(settings, costs, level, each) <= 3e9]
    assert plan in fitting
    assert min(memory._work(costs, level, each) for each in fitting) == memory._work(
        costs, level, plan
    )


def test_nothing_is_kept_where_there_is_no_room_or_a_gpu(vgg16, monkeypatch):
    settings = config.StyleTransferConfig(style_loss="gram", optimizer="adam", memory_limit="4GB")

    def planned(on_gpu=False):
        (plan,) = memory.plans(settings, vgg16.costs(), [LEVEL], on_gpu)
        assert plan.tiled
        assert memory.expected(settings, vgg16.costs(), LEVEL, plan) <= 4e9
        return plan.keeps

    assert (planned(), planned(on_gpu=True)) == (True, False)
    monkeypatch.setattr(spill, "room", lambda: 3_000_000_000)
    assert not planned()


@pytest.mark.parametrize(
    ("size", "changes"),
    [(512, {}), (1024, {}), (2048, {"memory_limit": "3GB"}), (4096, {"tile_size": 512})],
)
def test_planning_builds_no_config(vgg16, size, changes, monkeypatch):
    settings = config.StyleTransferConfig(
        strength=0.7, image_size=size, **{"style_loss": "gram", **changes}
    )
    levels, costs = pyramid.plan(settings, (300, 451), [(300, 451)]), vgg16.costs()
    built, check = [], config.StyleTransferConfig.__post_init__
    monkeypatch.setattr(
        config.StyleTransferConfig,
        "__post_init__",
        lambda self: (built.append(self), check(self)),
    )
    given = memory.Given((300, 451), [(300, 451)])
    found = memory.plans(settings, costs, levels, False, given)
    assert found[-1].tiled is bool(changes)
    assert not built


def test_a_painting_is_measured_in_tiles_where_it_does_not_fit(vgg16):
    """Of 1536 pixels, for a picture of 128 that is looked at as a whole."""
    costs, level = vgg16.costs(), pyramid.Level(96, 128, 30)
    given = memory.Given((96, 128), [(300, 400), (400, 300)])

    def planned(limit, **changes):
        settings = config.StyleTransferConfig(
            style_scale=12, memory_limit=limit, **{"style_loss": "gram", **changes}
        )
        (plan,) = memory.plans(settings, costs, [level], False, given)
        return plan, memory.expected(settings, costs, level, plan, given)

    wide, most = planned("1TB")
    assert wide == tiles.WHOLE
    limits = [f"{round(share * most / 1e6)}MB" for share in (0.9, 0.5)]
    found = [planned(limit) for limit in limits]
    assert all(not plan.tiled and plan.style_side for plan, _ in found)
    assert found[0][0].style_side > found[1][0].style_side
    assert all(
        taken <= config.read_bytes(limit) for (_, taken), limit in zip(found, limits, strict=True)
    )
    for changes, words in (
        ({"style_loss": "remd"}, "style_loss=remd keeps"),
        ({"tile_size": 0}, "tile_size=0 keeps"),
    ):
        with pytest.raises(errors.ConfigError, match=f"too little.*{words}.*style_scale"):
            planned(limits[1], **changes)


def test_pictures_that_stay_in_memory_count(vgg16):
    costs, level = vgg16.costs(), pyramid.Level(96, 128, 30)
    photo = nst_tf.imaging.Picture(np.zeros((60, 80, 3), np.uint8), np.ones((60, 80), np.float32))
    mask = nst_tf.imaging.Picture(np.full((50, 50, 3), 255, np.uint8))
    shown = sources.Pictures(photo, [mask, mask], content_mask=mask)
    kept = 60 * 80 * 7 + 3 * 50 * 50 * 3 + 2 * 50 * 50 * 4  # Regions are in two orders.
    assert memory.Given.of(shown) == ((60, 80), [(50, 50), (50, 50)], kept)

    def expected(given, **changes):
        changes = {"style_loss": "gram", "color": "style", **changes}
        settings = config.StyleTransferConfig(**changes)
        return memory.expected(settings, costs, level, tiles.WHOLE, given)

    given = memory.Given((60, 80), [(50, 50)])
    more = expected(given._replace(bytes=10**9)) - expected(given)
    assert more == 10**9
    recolored = expected(given, color="match") - expected(given)
    assert recolored == 12 * (60 * 80 + 50 * 50)  # In floating point.
    photo = memory.Given((4000, 4000), [])
    assert expected(photo, color="match") - expected(photo) > 40 * 4000 * 4000  # While it is done.
    large = expected(memory.Given((8000, 9000), [])) - expected(memory.Given())
    assert large > 4 * 8000 * 9000  # A channel in floating point, before it is made smaller.


def test_a_limit_below_any_tile_says_what_it_takes(vgg16):
    with pytest.raises(errors.ConfigError, match=r"memory_limit=1GB.*3072x2048.*GB even in tiles"):
        plans(vgg16, memory_limit="1GB")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"padding": "circular"}, "padding=circular keeps them"),
        ({"style_loss": "remd+moments"}, r"style_loss=remd\+moments keeps them"),
    ],
)
def test_what_is_looked_at_as_a_whole_keeps_to_the_limit_or_is_refused(vgg16, settings, words):
    assert plans(vgg16, **settings) == [tiles.WHOLE, tiles.WHOLE]
    with pytest.raises(errors.ConfigError, match=f"memory_limit=4GB.*{words}"):
        plans(vgg16, memory_limit="4GB", **settings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4GB", 4e9), ("1.5 gb", 1.5e9), ("800MB", 8e8), ("12k", 12e3), ("512", 512), ("lots", 0)],
)
def test_amounts_are_read_as_people_write_them(text, expected):
    assert config.read_bytes(text) == expected


@pytest.mark.parametrize("name", ["tile_size", "memory_limit"])
@pytest.mark.parametrize("value", ["-5", "big", ""])
def test_other_amounts_are_refused_in_words(name, value):
    with pytest.raises(errors.ConfigError, match=f"{name} is '{value}'; expected auto"):
        config.StyleTransferConfig(**{name: value})


ALLOCATES = """
import sys
import psutil, tensorflow as tf
from nst_tf.tiling import memory
if sys.argv[1] == "reserved":
    memory.reserve(2 << 30)
size = psutil.Process().memory_info
before = size().rss
for megabytes in range(40, 300, 20):
    tf.zeros((megabytes << 18,))
print((size().rss - before) >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere oneDNN is off")
def test_the_pool_takes_no_more_than_the_largest_where_its_room_is_reserved():
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "1"}

    def held(how):
        command = [sys.executable, "-c", ALLOCATES, how]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        return int(done.stdout)

    assert held("as it comes") > 400
    assert held("reserved") < 300
