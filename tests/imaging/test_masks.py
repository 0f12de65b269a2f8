"""Masks: what is understood of them, and what they do to a picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import nst_tf
from nst_tf import backbones, config, errors, objective
from nst_tf.engine import value_and_gradient
from nst_tf.imaging import inputs, masks
from nst_tf.tiling.tiled_objective import TiledObjective, TiledTargets

RED, GREEN, BLUE, WHITE, BLACK = np.float32([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (0, 0, 0)])
QUICK = config.StyleTransferConfig(
    backbone="vgg16",
    image_size=64,
    levels=1,
    steps=4,
    style_layers=("block1_conv1", "block2_conv1"),
    style_loss="gram",
    style_weight=10.0,
    content_weight=1.0,
    color="style",
    init_noise=0.5,
    level_factor=2**0.5,
    content_layers=("block2_conv1",),
)
RANDOM = np.random.default_rng(0)
PHOTO, PAINTING, OTHER = RANDOM.random((3, 64, 64, 3), np.float32)


def halves(left, right, side=64):
    """Returns a mask with a sharp edge down the middle."""
    mask = np.empty((side, side, 3), np.float32)
    mask[:, : side // 2], mask[:, side // 2 :] = left, right
    return mask


def as_jpeg(mask):
    buffer = io.BytesIO()
    Image.fromarray(np.uint8(np.rint(255 * mask))).save(buffer, "JPEG", quality=60)
    return np.float32(Image.open(buffer)) / 255


# What is understood.


def test_grey_is_one_region_with_its_soft_edge():
    ramp = np.linspace(0, 1, 32, dtype=np.float32)[None, :, None].repeat(8, 0).repeat(3, 2)
    found = masks.read(ramp, "mask")
    assert found.colors == ("#ffffff",)
    np.testing.assert_allclose(found.maps[..., 0], ramp[..., 0], atol=1e-6)
    assert found.shares == pytest.approx([0.5])


@pytest.mark.parametrize("lossy", [False, True])
def test_each_colour_is_a_region_and_black_is_none(lossy):
    mask = np.concatenate([halves(RED, BLUE), halves(BLACK, GREEN)])
    found = masks.read(as_jpeg(mask) if lossy else mask, "mask")
    order = {color: index for index, color in enumerate(found.colors)}
    assert set(order) == {"#ff0000", "#0000ff", "#00ff00"}
    for color, (rows, columns) in {
        "#ff0000": (slice(4, 60), slice(4, 28)),
        "#0000ff": (slice(4, 60), slice(36, 60)),
        "#00ff00": (slice(68, 124), slice(36, 60)),
    }.items():
        own = found.maps[..., order[color]]
        assert own[rows, columns].min() > 0.95, color
        assert own.mean() == pytest.approx(0.25, abs=0.01)
    assert found.inside[70:, 4:28].max() < 0.05


def test_soft_edge_between_colours_belongs_to_both():
    place = np.linspace(0, 1, 101, dtype=np.float32)[None, :, None]
    edge = (1 - place) * RED + place * BLUE
    mask = np.concatenate(
        [np.tile(RED, (40, 300, 1)), edge.repeat(40, 0), np.tile(BLUE, (40, 300, 1))], 1
    )
    found = masks.read(mask, "mask")
    assert sorted(found.colors) == ["#0000ff", "#ff0000"]
    np.testing.assert_allclose(found.maps.sum(axis=2), 1, atol=1e-5)
    np.testing.assert_allclose(found.maps[:, 350], 0.5, atol=0.02)
    assert (np.diff(found.maps[0, :, found.colors.index("#0000ff")]) >= -1e-6).all()


def test_a_small_region_counts_and_an_edge_does_not():
    mask = np.tile(BLUE, (200, 200, 1))
    mask[20:40, 20:40] = RED  # One percent.
    mask[20:40, 40] = (RED + BLUE) / 2
    assert sorted(masks.read(mask, "mask").colors) == ["#0000ff", "#ff0000"]


def test_white_can_be_a_colour_among_others():
    found = masks.read(halves(WHITE, RED), "mask")
    assert sorted(found.colors) == ["#ff0000", "#ffffff"]


def with_alpha(colours, alpha):
    """Returns the regions of a mask file with transparency."""
    rgba = np.dstack([colours, np.broadcast_to(alpha, colours.shape[:2])])
    buffer = io.BytesIO()
    Image.fromarray(np.uint8(np.rint(255 * rgba))).save(buffer, "PNG")
    picture = nst_tf.imaging.load(buffer)
    return masks.read(picture.rgb, "mask", picture.alpha)


def test_white_on_transparent_is_a_region_and_transparent_is_none():
    alpha = np.zeros((40, 40))
    alpha[10:20, 10:20], alpha[10:20, 20] = 1, 0.6
    found = with_alpha(np.ones((40, 40, 3)), alpha)
    assert found.colors == ("#ffffff",)
    np.testing.assert_allclose(found.maps[..., 0], alpha, atol=1e-6)


def test_two_colours_on_transparent_are_two_regions():
    alpha = np.zeros((64, 64))
    alpha[:32] = 1
    alpha[:16, :16] = 0.6
    found = with_alpha(halves(RED, BLUE), alpha)
    assert sorted(found.colors) == ["#0000ff", "#ff0000"]
    red, blue = (found.maps[..., found.colors.index(each)] for each in ("#ff0000", "#0000ff"))
    np.testing.assert_allclose(red[:, :32], alpha[:, :32], atol=1e-6)
    np.testing.assert_allclose(blue[:, 32:], alpha[:, 32:], atol=1e-6)
    assert not red[:, 32:].any() and not blue[:, :32].any()


def test_transparency_of_masks_reaches_the_run():
    flat = halves(WHITE, BLACK)
    clear = np.dstack([halves(WHITE, WHITE), flat[..., 0]])
    found, expected = (
        inputs.match_masks(QUICK, 1, nst_tf.imaging.load(each), [nst_tf.imaging.load(each)])
        for each in (clear, flat)
    )
    assert found.shares == expected.shares == pytest.approx((0.5, 0.5))
    np.testing.assert_array_equal(found.regions, expected.regions)
    np.testing.assert_array_equal(found.style_regions[0], expected.style_regions[0])


def test_black_alone_is_refused():
    with pytest.raises(errors.ConfigError, match="content mask is black"):
        masks.read(np.zeros((8, 8, 3), np.float32), "content mask")


def test_regions_are_paired_by_colour():
    content, style = masks.read(halves(RED, BLUE), "a"), masks.read(halves(BLUE, RED), "b")
    (row,) = masks.pair(content, [style])
    assert [style.colors[place] for place in row] == list(content.colors)


def test_colour_of_one_side_is_an_error_with_both_sides():
    content, style = masks.read(halves(RED, BLUE), "a"), masks.read(halves(GREEN, BLUE), "b")
    with pytest.raises(errors.ConfigError) as caught:
        masks.pair(content, [style])
    for word in ("#ff0000", "#00ff00", "#0000ff (50.0%)", "content mask", "style mask"):
        assert word in str(caught.value)


def test_overlay_shows_the_regions():
    regions = masks.read(halves(RED, BLACK), "mask")
    grey = np.full((64, 64, 3), 0.5, np.float32)
    shown = masks.overlay(grey, regions)
    assert (shown[:, :30, 0] > shown[:, :30, 1] + 0.3).all()
    assert (shown[:, 40:] < 0.5).all()


# What they do: by the formula.


def test_statistics_of_a_region_are_those_of_its_positions():
    settings = QUICK.replace(content_weight=0, tv_weight=0)
    shares = (0.5, 0.5)
    network = backbones.build("vgg16", objective.used_layers(settings), pooling="avg")
    whole = objective.Objective.from_config(settings, network, shares)
    mask = masks.read(halves(RED, BLUE), "mask")
    given = inputs.prepare(
        settings, nst_tf.imaging.load(PHOTO), [nst_tf.imaging.load(PAINTING)],
        nst_tf.imaging.load(halves(RED, BLUE)),
    )  # fmt: skip
    weights = tf.constant(given.content_weights(64, 64))
    image = tf.constant(PHOTO[np.newaxis])
    found = whole.targets(image, tf.constant(given.style_weights(0, 64, 64)) * weights, "style")
    features = network(image)
    for term in whole.terms:
        activations = np.float64(features[term.layer][0])
        stride = network.reach(term.layer)[0]
        side = mask.maps[::stride, ::stride, term.region - 1].astype(bool)
        own = activations[side]
        expected = own.T @ own / len(own)
        np.testing.assert_allclose(found[term.name]["gram"], expected, rtol=1e-4, atol=1e-2)
    assert [term.weight for term in whole.terms] == pytest.approx([2.5] * 4)


@pytest.mark.parametrize("cuts", [(), ("block1_pool",), ("block1_conv2", "block1_pool")])
def test_regions_in_tiles_are_those_of_the_whole(cuts):
    settings = QUICK.replace(outside="style")
    mask = np.concatenate([halves(RED, BLUE)[:, :48], np.tile(BLACK, (64, 24, 1))], 1)
    given = inputs.prepare(
        settings, nst_tf.imaging.load(PHOTO), [nst_tf.imaging.load(PAINTING)],
        nst_tf.imaging.load(mask), [nst_tf.imaging.load(halves(BLUE, RED))],
    )  # fmt: skip
    assert len(given.matched.shares) == 3
    network = backbones.build("vgg16", objective.used_layers(settings), pooling="avg")
    whole = objective.Objective.from_config(settings, network, given.matched.shares)
    size = (72, 88)
    photo, image = (tf.constant(RANDOM.random((1, *size, 3), np.float32)) for _ in range(2))
    content, style = given.content_weights(*size), given.style_weights(0, 64, 64)
    styles = whole.blend([whole.targets(tf.constant(PAINTING[None]), tf.constant(style), "style")],
                         given.matched.blends)  # fmt: skip
    targets = objective.merged(whole.targets(photo, tf.constant(content), "content"), styles)
    expected = value_and_gradient(whole, image, targets)

    tiled = TiledObjective(whole, cuts)
    pieces = tiled.cut(*size, [32] * (1 + len(cuts)))
    assert len(pieces[0]) > 1
    parts = tiled.targets(photo, tf.constant(content), pieces, "content")
    found = tiled.value_and_gradient(
        image, TiledTargets({**parts.shared, **styles}, pieces, parts.maps)
    )
    assert float(found.loss) == pytest.approx(float(expected.loss), rel=1e-5)
    difference = found.gradient - expected.gradient.numpy()
    assert np.linalg.norm(difference) < 1e-4 * np.linalg.norm(expected.gradient)


def test_weights_of_a_region_can_be_differentiated_numerically():
    settings = QUICK.replace(style_layers=("block1_conv1",), content_weight=0, tv_weight=0)
    given = inputs.prepare(
        settings, nst_tf.imaging.load(PHOTO), [nst_tf.imaging.load(PAINTING)],
        nst_tf.imaging.load(halves(WHITE, BLACK)),
    )  # fmt: skip
    network = backbones.build("vgg16", objective.used_layers(settings), pooling="avg")
    whole = objective.Objective.from_config(settings, network, given.matched.shares[:1])
    weights = tf.constant(given.content_weights(64, 64)[..., :2])
    styles = whole.targets(tf.constant(PAINTING[None]), tf.ones((1, 64, 64, 2)), "style")
    targets = objective.merged(whole.targets(tf.constant(PHOTO[None]), weights, "content"), styles)
    gradient = value_and_gradient(whole, tf.constant(PHOTO[None]), targets).gradient.numpy()
    assert np.abs(gradient[:, :, :30]).max() > 0
    assert np.abs(gradient[:, :, 34:]).max() == 0, "the outside has no style"


# What they do: in a picture.


def test_outside_of_the_mask_the_photo_is_kept():
    settings = QUICK.replace(outside="keep", steps=20)
    found = nst_tf.stylize(PHOTO, PAINTING, settings, content_mask=halves(WHITE, BLACK)).numpy()
    np.testing.assert_allclose(found[:, 32:], PHOTO[:, 32:], atol=1e-6)
    assert np.abs(found[:, :32] - PHOTO[:, :32]).mean() > 0.01


def test_a_mask_of_everything_changes_nothing():
    everywhere = np.ones((64, 64, 3), np.float32)
    plain = nst_tf.stylize(PHOTO, PAINTING, QUICK).numpy()
    masked = nst_tf.stylize(
        PHOTO, PAINTING, QUICK, content_mask=everywhere, style_masks=everywhere
    ).numpy()
    np.testing.assert_allclose(masked, plain, atol=2e-3)


def test_each_region_takes_its_own_style():
    red, green = np.tile(RED, (64, 64, 1)), np.tile(GREEN, (64, 64, 1))
    styles = [0.2 + 0.6 * red, 0.2 + 0.6 * green]
    settings = QUICK.replace(steps=30, content_weight=0.01, init_noise=0)
    found = nst_tf.stylize(
        PHOTO, styles, settings, content_mask=halves(RED, BLUE),
        style_masks=[np.tile(RED, (64, 64, 1)), np.tile(BLUE, (64, 64, 1))],
    ).numpy()  # fmt: skip
    left, right = found[8:56, 8:24].mean((0, 1)), found[8:56, 40:56].mean((0, 1))
    assert left[0] > left[1] + 0.1, left
    assert right[1] > right[0] + 0.1, right


def test_style_mask_alone_limits_what_is_learnt():
    painting = np.concatenate([PAINTING[:, :32], np.zeros((64, 32, 3), np.float32)], 1)
    settings = QUICK.replace(steps=20, content_weight=0.1)
    found = nst_tf.stylize(PHOTO, painting, settings, style_masks=halves(WHITE, BLACK)).numpy()
    plain = nst_tf.stylize(PHOTO, painting, settings).numpy()
    assert found.mean() > plain.mean() + 0.01, "black is no part of the style"


@pytest.mark.parametrize(
    ("changes", "arguments", "words"),
    [
        ({"outside": "keep"}, {}, ["outside=keep", "content mask"]),
        ({}, {"style_masks": [PAINTING, PAINTING]}, ["2 style masks", "1 style pictures"]),
    ],
)
def test_masks_that_do_not_fit_are_refused(changes, arguments, words):
    with pytest.raises(errors.ConfigError) as caught:
        nst_tf.stylize(PHOTO, PAINTING, QUICK.replace(**changes), **arguments)
    for word in words:
        assert word in str(caught.value)


def test_blend_that_leaves_a_region_without_style_is_refused():
    settings = QUICK.replace(style_blend=(1, 0))
    with pytest.raises(errors.ConfigError, match="style_blend"):
        nst_tf.stylize(
            PHOTO, [PAINTING, OTHER], settings, content_mask=halves(RED, BLUE),
            style_masks=[np.tile(RED, (64, 64, 1)), np.tile(BLUE, (64, 64, 1))],
        )  # fmt: skip
