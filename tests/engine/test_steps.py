"""The objective, its gradient and the compiled step, on the bundled VGG16."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from nst_tf import backbones, config, losses, optimizers
from nst_tf import objective as objectives
from nst_tf.engine import steps
from nst_tf.kernels import graphs
from nst_tf.tiling import tiled_objective

BUNDLED = Path(backbones.__file__).with_name("vgg16_imagenet.h5")
SETTINGS = config.StyleTransferConfig(
    backbone="vgg16",
    weights=str(BUNDLED),
    content_layers=("block4_conv2",),
    style_layers=("block1_conv1", "block3_conv1", "block5_conv1"),
    style_loss="gram",
    color="style",
    init_noise=0.5,
    level_factor=2**0.5,
    style_layer_weights=(1.0, 2.0, 3.0),
    content_weight=1.5,
    style_weight=0.5,
    tv_weight=0.5,
    pooling="max",
    learning_rate=0.02,
)
EVERYWHERE = tf.ones((1, 1, 1, 1))


@pytest.fixture(scope="module")
def objective():
    backbone = backbones.build("vgg16", objectives.used_layers(SETTINGS), path=str(BUNDLED))
    return objectives.Objective(backbone, objectives.terms(SETTINGS, "vgg16"))


@pytest.fixture(scope="module")
def shallow():
    """Returns an objective of few layers, which compiles fast."""
    settings = SETTINGS.replace(
        content_layers=("block2_conv1",), style_layers=("block1_conv1",), style_layer_weights=()
    )
    backbone = backbones.build("vgg16", objectives.used_layers(settings), path=str(BUNDLED))
    return objectives.Objective(backbone, objectives.terms(settings, "vgg16"))


def picture(seed, height=32, width=40):
    values = np.random.default_rng(seed).uniform(0.1, 0.9, (1, height, width, 3))
    return tf.constant(values, tf.float32)


def targets_of(objective, content=0, style=1, height=32, width=40):
    return {
        **objective.targets(picture(content, height, width), EVERYWHERE, "content"),
        **objective.targets(picture(style, 48, 32), EVERYWHERE, "style"),
    }


def begun(optimizer, seed=2, height=32, width=40):
    image = picture(seed, height, width)
    state = optimizer.init(image, 9)
    return tf.Variable(image), {name: tf.Variable(value) for name, value in state.items()}


def adam():
    return optimizers.Adam(0.02)


# The objective.


TERMS = [term.name for term in objectives.terms(SETTINGS, "vgg16")]


@pytest.mark.parametrize("names", [*([name] for name in TERMS), TERMS], ids="+".join)
def test_the_gradient_agrees_with_finite_differences(objective, names):
    chosen = [term for term in objective.terms if term.name in names]
    part = objectives.Objective(objective.backbone, chosen)
    targets = {name: target for name, target in targets_of(objective).items() if name in names}
    evaluate = tf.function(lambda image: steps.value_and_gradient(part, image, targets)[:2])
    image = picture(2)
    gradient = evaluate(image)[1].numpy()
    random, step = np.random.default_rng(3), 3e-3
    found, expected = [], []
    for _ in range(8):
        direction = random.normal(size=image.shape)
        direction = np.float32(direction / np.linalg.norm(direction))
        rise = np.float64(evaluate(image + step * direction)[0])
        fall = np.float64(evaluate(image - step * direction)[0])
        expected.append((rise - fall) / (2 * step))
        found.append(np.sum(np.float64(gradient) * direction))
    # Losses are float32, and a ReLU may turn between the two points.
    assert np.linalg.norm(np.subtract(found, expected)) < 0.03 * np.linalg.norm(expected)


def test_the_weighted_terms_add_up_to_the_loss(objective):
    targets = targets_of(objective)
    evaluation = steps.value_and_gradient(objective, picture(2), targets)
    assert list(evaluation.terms) == TERMS
    np.testing.assert_allclose(evaluation.loss, sum(map(float, evaluation.terms.values())), 1e-6)
    features = objective.backbone(picture(2))
    for term in objective.terms:
        target = targets.get(term.name, {})
        alone = term.loss.value(term.loss.statistics(features[term.layer], 1.0, target), target)
        np.testing.assert_allclose(evaluation.terms[term.name], term.weight * alone, rtol=1e-5)


def test_the_weights_of_the_terms_are_those_of_the_settings():
    weights = {term.name: term.weight for term in objectives.terms(SETTINGS, "vgg16")}
    assert weights == pytest.approx(
        {
            "content/block4_conv2": 1.5,
            "style/block1_conv1": 0.5,
            "style/block3_conv1": 1.0,
            "style/block5_conv1": 1.5,
            "tv": 0.5,
        }
    )


def test_a_term_of_no_weight_costs_no_layer():
    settings = SETTINGS.replace(content_weight=0.0, style_layer_weights=(0.0, 1.0, 0.0))
    assert objectives.used_layers(settings) == ("block3_conv1",)
    names = [term.name for term in objectives.terms(settings, "vgg16")]
    assert names == ["style/block3_conv1", "tv"]


def test_each_model_gives_the_targets_of_its_own_terms(objective):
    content = objective.targets(picture(0), EVERYWHERE, "content")
    style = objective.targets(picture(0), EVERYWHERE, "style")
    assert list(content) == [name for name in TERMS if name.startswith("content/")]
    assert list(style) == [name for name in TERMS if name.startswith("style/")]


def test_the_content_loss_of_the_photo_and_the_style_loss_of_the_painting_are_zero(objective):
    targets = {
        **objective.targets(picture(0), EVERYWHERE, "content"),
        **objective.targets(picture(0), EVERYWHERE, "style"),
    }
    terms = steps.value_and_gradient(objective, picture(0), targets).terms
    assert terms.pop("tv") > 0
    np.testing.assert_allclose(list(terms.values()), 0, atol=1e-6)


def test_a_blend_is_the_weighted_mean_of_the_targets(objective):
    one, other = (objective.targets(picture(seed), EVERYWHERE, "style") for seed in (0, 1))
    blended = objective.blend([one, other], [[3, 1]])
    tf.nest.assert_same_structure(blended, one)
    flat = [tf.nest.flatten(targets) for targets in (blended, one, other)]
    for found, left, right in zip(*flat, strict=True):
        expected = 0.75 * np.float64(left) + 0.25 * np.float64(right)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_share_of_nothing_leaves_a_style_out(objective):
    one = objective.targets(picture(0), EVERYWHERE, "style")
    broken = tf.nest.map_structure(lambda value: value * float("nan"), one)
    tf.nest.map_structure(
        np.testing.assert_array_equal, objective.blend([one, broken], [[2, 0]]), one
    )


def test_a_mask_leaves_out_the_positions_it_covers(objective):
    image = picture(4, 48, 96)
    mask = tf.concat([tf.ones((1, 48, 32, 1)), tf.zeros((1, 48, 64, 1))], axis=2)
    name = "style/block1_conv1"
    loss = next(term.loss for term in objective.terms if term.name == name)
    found = objective.targets(image, mask, "style")[name]
    expected = loss.target(objective.backbone(image)["block1_conv1"][:, :, :32], EVERYWHERE)
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, 1e-4), found, expected)


def test_targets_are_the_same_in_a_graph(objective):
    compiled = steps.compile_targets(objective, "style")
    for height, width in ((32, 40), (48, 33)):
        found = compiled(picture(0, height, width), EVERYWHERE)
        expected = objective.targets(picture(0, height, width), EVERYWHERE, "style")
        flat = zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True)
        for one, other in flat:
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * np.abs(other).max())


# The step.


@pytest.mark.parametrize(("jit_compile", "graphs"), [(False, 1), (True, 2)])
def test_a_step_is_traced_once_but_by_xla_for_each_size(shallow, jit_compile, graphs, monkeypatch):
    values, value = [], shallow.value
    monkeypatch.setattr(shallow, "value", lambda *given: values.append(1) or value(*given))
    step = steps.compile_step(shallow, adam(), jit_compile=jit_compile)
    for content, style in ((0, 1), (5, 6)):
        for size in ((32, 40), (48, 32)):
            targets = targets_of(shallow, content, style, *size)
            for seed in (2, 7):
                image, state = begun(adam(), seed, *size)
                step(image, state, targets)
                step(image, state, targets)
    assert len(values) == graphs


def test_the_graphs_of_the_last_signatures_are_kept(shallow, monkeypatch):
    monkeypatch.setattr(graphs, "_MOST_GRAPHS", 2)
    values, value = [], shallow.value
    monkeypatch.setattr(shallow, "value", lambda *given: values.append(1) or value(*given))
    step = steps.compile_step(shallow, adam(), jit_compile=True)
    pictures = []
    for width in (32, 40, 32, 48, 32, 40):
        image, state = begun(adam(), 2, 32, width)
        step(image, state, targets_of(shallow, 0, 1, 32, width))
        pictures.append(image.numpy())
    assert len(values) == 4  # 40 was used longest ago when 48 came.
    np.testing.assert_array_equal(pictures[5], pictures[1])


@pytest.mark.parametrize("kind", ["adam", "lbfgs"])
@pytest.mark.parametrize("option", ["run_eagerly", "jit_compile"])
def test_every_way_to_run_a_step_does_the_same(shallow, kind, option):
    optimizer = optimizers.get(kind, SETTINGS.replace(lbfgs_history=3))
    targets = targets_of(shallow)
    pictures, values = [], []
    for options in ({}, {option: True}):
        step = steps.compile_step(shallow, optimizer, **options)
        image, state = begun(optimizer)
        for _ in range(3):
            loss, terms = step(image, state, targets)
        pictures.append(image.numpy())
        values.append([float(loss), *map(float, terms.values())])
    np.testing.assert_allclose(values[1], values[0], rtol=1e-4)
    np.testing.assert_allclose(pictures[1], pictures[0], atol=1e-4)
    assert np.abs(pictures[0] - picture(2)).max() > 1e-3


def test_a_step_does_what_the_optimizer_does(shallow):
    image, state = begun(adam())
    before = {name: tf.identity(value) for name, value in state.items()}
    targets = targets_of(shallow)
    expected, after, evaluation = optimizers.step(
        adam(), picture(2), before, lambda at: steps.value_and_gradient(shallow, at, targets)
    )
    loss, _ = steps.compile_step(shallow, adam())(image, state, targets)
    np.testing.assert_allclose(loss, evaluation.loss, rtol=1e-5)
    np.testing.assert_allclose(image, expected, atol=1e-4)
    for name, value in after.items():
        np.testing.assert_allclose(state[name], value, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["adam", "lbfgs"])
def test_a_step_without_a_finite_loss_goes_back_to_the_last_good_picture(shallow, kind):
    optimizer = optimizers.Guarded(optimizers.get(kind, SETTINGS))
    step = steps.compile_step(shallow, optimizer)
    image, state = begun(optimizer)
    targets = targets_of(shallow)
    step(image, state, targets)
    good = image.numpy()  # Which the second step evaluates; L-BFGS then stays, and Adam moves on.
    step(image, state, targets)
    good = image.numpy() if kind == "lbfgs" else good
    broken = tf.nest.map_structure(lambda value: value * float("nan"), targets)
    for failures in (1, 2):
        loss, _ = step(image, state, broken)
        assert np.isnan(loss)
        np.testing.assert_allclose(image, good, atol=5e-5)
        assert state["rollbacks"] == state["failures"] == failures
    assert np.isfinite(step(image, state, targets)[0])
    assert (state["rollbacks"], state["failures"]) == (2, 0)


class Faulty(losses.Loss):
    """A sum whose loss, or whose gradient alone, can be made no number by its target."""

    def statistics(self, features, weights, target):
        return {"sum": tf.reduce_sum(features)}

    def value(self, statistics, target):
        total = statistics["sum"]
        return total + target["fault"] + tf.sqrt(0.0 * total + target["root"])


@pytest.mark.parametrize(
    ("fault", "root"), [(np.nan, 1.0), (np.inf, 1.0), (0.0, 0.0)], ids=["nan", "inf", "gradient"]
)
def test_a_fault_of_the_loss_or_of_the_gradient_alone_is_seen(shallow, fault, root):
    faulty = objectives.Objective(shallow.backbone, [objectives.Term("a", "image", Faulty(), 1.0)])
    optimizer = optimizers.Guarded(adam())
    step = steps.compile_step(faulty, optimizer)

    def targets(fault, root):
        return {"a": {"fault": tf.constant(fault), "root": tf.constant(root)}}

    image, state = begun(optimizer)
    assert np.isfinite(step(image, state, targets(0.0, 1.0))[0])
    assert np.abs(image.numpy() - picture(2)).max() > 1e-3
    assert not np.isfinite(step(image, state, targets(fault, root))[0])
    np.testing.assert_allclose(image, picture(2), atol=5e-4)
    assert state["rollbacks"] == 1
    assert all(np.isfinite(value).all() for value in state.values())


def test_no_sum_of_gradients_depends_on_timing():
    """TensorFlow's AddN may take its inputs in any order; only sums of two do not care."""
    settings = SETTINGS.replace(
        content_layers=("block1_conv1", "block2_conv1"),
        style_layers=("block1_conv1", "block2_conv1"),
        style_layer_weights=(),
    )
    backbone = backbones.build("vgg16", objectives.used_layers(settings), path=str(BUNDLED))
    objective = objectives.Objective(backbone, objectives.terms(settings, "vgg16"))
    targets = targets_of(objective)
    evaluate = tf.function(lambda image: steps.value_and_gradient(objective, image, targets))
    graph = evaluate.get_concrete_function(picture(2)).graph
    sums = [operation for operation in graph.get_operations() if operation.type == "AddN"]
    assert sums
    assert all(len(operation.inputs) == 2 for operation in sums)


# Weights of positions.


def test_weights_of_a_layer_are_means_of_those_of_the_pixels():
    weights = tf.constant(np.random.default_rng(0).random((1, 16, 24, 2)), tf.float32)
    expected = weights.numpy().reshape(2, 8, 3, 8, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(objectives.pooled(weights, 8)[0], expected, rtol=1e-6)
    assert objectives.pooled(weights, 1) is weights


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (181, 150), (47, 16)])
def test_every_pixel_counts_towards_a_position_of_every_layer(size):
    for stride in (2, 4, 8, 16):
        shape = (1, size[0] // stride, size[1] // stride, 1)
        ones = objectives.pooled(tf.ones((1, *size, 1)), stride)
        np.testing.assert_array_equal(ones, np.ones(shape))
        for row, column in ((-1, -1), (-1, 0), (0, -1)):
            pixel = np.zeros((1, *size, 1), np.float32)
            pixel[0, row, column] = 1
            found = objectives.pooled(tf.constant(pixel), stride).numpy()
            assert found.shape == shape
            assert found[0, row, column] > 0
            assert np.count_nonzero(found) == 1


def test_weights_pass_through_the_sections_of_a_network_unchanged():
    weights = tf.constant(np.random.default_rng(1).random((1, 47, 61, 1)), tf.float32)
    in_two = objectives.pooled(objectives.pooled(weights, 4), 4)
    np.testing.assert_array_equal(in_two, objectives.pooled(weights, 16))


@pytest.mark.parametrize("cuts", [(), ("block2_pool",), ("block1_conv2", "block1_pool")])
def test_in_tiles_what_poolings_leave_over_counts_as_in_the_whole(cuts):
    """The last tile may have no position of its own at a layer."""
    names, size = ("block1_pool", "block3_conv1"), (67, 97)
    network = backbones.build("vgg16", names, pooling="avg")
    terms = [objectives.Term(f"{each}/1", each, losses.Gram(), 1.0, 1) for each in names]
    whole = objectives.Objective(network, terms)
    photo, image = (tf.random.stateless_uniform((1, *size, 3), (seed, 0)) for seed in (1, 2))
    weights = np.ones((1, *size, 2), np.float32)
    weights[:, :65, :96, 1] = 0
    style = whole.targets(photo, tf.constant(weights), "style")
    targets = {
        name: {**style[name], **each}
        for name, each in whole.targets(photo, tf.constant(weights), "content").items()
    }
    expected = steps.value_and_gradient(whole, image, targets)
    tiled = tiled_objective.TiledObjective(whole, cuts)
    cut = tiled.cut(*size, [16] * (1 + len(cuts)))
    found_style = tiled.targets(photo, tf.constant(weights), cut, "style").shared
    for name, each in found_style.items():
        np.testing.assert_allclose(each["gram"], style[name]["gram"], rtol=1e-4, atol=1e-2)
    maps = tiled.targets(photo, tf.constant(weights), cut, "content").maps
    found = tiled.value_and_gradient(image, tiled_objective.TiledTargets(style, cut, maps))
    assert expected.loss > 0
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-4)
    difference = np.linalg.norm(found.gradient - expected.gradient)
    assert difference < 1e-4 * np.linalg.norm(expected.gradient)
