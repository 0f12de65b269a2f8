"""The same checks for every public loss, optimiser and backbone, found by looking.

Whoever adds one gets these checks for nothing. One that is not exported, not registered, or
cannot be built the common way fails the suite.
"""

import importlib
import inspect
import json
import pkgutil
import typing

import keras
import numpy as np
import pytest
import tensorflow as tf

from nst_tf import backbones, config, errors, losses, optimizers
from nst_tf.config import objects, vgg_layers
from nst_tf.tiling import bands

CHANNELS = 4


def modules(package):
    """Returns every module of a package."""
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return [importlib.import_module(f"{package.__name__}.{name}") for name in names]


def concrete(package, base):
    """Returns the classes in the modules of a package that can be instantiated."""
    found = {
        value
        for module in modules(package)
        for value in vars(module).values()
        if isinstance(value, type)
        and not typing.get_args(value)
        and issubclass(value, base)
        and not inspect.isabstract(value)
        and not value.__name__.startswith("_")
    }
    return sorted(found, key=lambda kind: kind.__name__)


LOSS_CLASSES = concrete(losses, losses.Loss)
OPTIMIZER_CLASSES = concrete(optimizers, optimizers.Optimizer)
ARCHITECTURES = [
    value
    for module in modules(backbones)
    for value in vars(module).values()
    if isinstance(value, backbones.Architecture)
]
LOSSES = {
    f"{kind.__name__}-{normalization}": kind(normalization=normalization)
    for kind in LOSS_CLASSES
    for normalization in kind.normalizations
} | {f"TotalVariation-{form}": losses.TotalVariation(form) for form in config.TV_FORMS}

# A joint loss of stacked layers sees another grid than its references; its tests are its own.
SINGLE_LAYERS = {name: loss for name, loss in LOSSES.items() if not (loss.joint and loss.stacked)}

each_loss = pytest.mark.parametrize("loss", SINGLE_LAYERS.values(), ids=SINGLE_LAYERS)


def test_something_was_found():
    assert {losses.Content, losses.Gram, losses.TotalVariation} <= set(LOSS_CLASSES)
    assert {optimizers.Adam, optimizers.LBFGS} <= set(OPTIMIZER_CLASSES)
    assert {"vgg16", "vgg19"} <= {architecture.name for architecture in ARCHITECTURES}


def test_every_loss_is_exported_and_has_a_name():
    named = {type(losses.get(name)) for name in losses._LOSSES}
    assert named == set(LOSS_CLASSES)
    assert {kind.__name__ for kind in LOSS_CLASSES} <= set(losses.__all__)


def test_the_settings_offer_what_the_losses_have():
    for model, known in (
        ("content", config.CONTENT_NORMALIZATIONS),
        ("style", config.STYLE_NORMALIZATIONS),
    ):
        kinds = {name: kind for name, kind in losses._LOSSES.items() if kind.references == (model,)}
        if model == losses.STYLE:
            kinds |= {name: kind for name, kind in losses._LOSSES.items() if kind().joint}
        assert {name: kind.normalizations for name, kind in kinds.items()} == known
    whole = {name for name, kind in losses._LOSSES.items() if not kind.additive}
    assert whole == set(config.WHOLE_LOSSES)
    assert tuple(losses.TotalVariation.degrees) == config.TV_FORMS


@pytest.mark.parametrize("kind", LOSS_CLASSES)
def test_an_unknown_normalization_lists_the_valid_ones(kind):
    with pytest.raises(errors.ConfigError, match=", ".join(kind.normalizations)):
        kind(normalization="none")


def test_every_optimizer_is_exported_and_has_a_name():
    settings = config.StyleTransferConfig()
    named = {type(optimizers.get(name, settings)) for name in optimizers.NAMED}
    assert named == set(OPTIMIZER_CLASSES) - {optimizers.Guarded}  # Which stands around others.
    assert {kind.__name__ for kind in OPTIMIZER_CLASSES} <= set(optimizers.__all__)
    assert set(optimizers.NAMED) == set(config.OPTIMIZERS)
    for name in optimizers.NAMED:
        assert settings.replace(optimizer=name).optimizer == name


def test_every_architecture_has_a_name_layers_and_a_setting():
    for architecture in ARCHITECTURES:
        assert backbones.get(architecture.name) is architecture
        assert architecture.name in vgg_layers.CONVOLUTIONS
        assert architecture.name in config.BACKBONES
    assert set(vgg_layers.CONVOLUTIONS) == {architecture.name for architecture in ARCHITECTURES}


# Losses.


def activations(seed, height=6, width=5):
    values = np.random.default_rng(seed).gamma(1, 1, (1, height, width, CHANNELS))
    return tf.constant(values, tf.float32)


class Plain(losses.Activations):
    """A network without layers: its activations are the picture itself."""

    layers = ("picture",)
    strides = {"picture": 1}  # noqa: RUF012 (an attribute of the interface)

    def walk(self, picture):
        whole = (slice(0, length) for length in picture.shape[:2])
        yield losses.Patch(*whole, 0, 0, self.whole(picture))

    def whole(self, picture):
        return {"picture": np.ascontiguousarray(picture)[np.newaxis]}

    def weights(self, pixels):
        return {"picture": pixels[np.newaxis, ..., np.newaxis]}

    def sizes(self, height, width):
        return {"picture": (height, width)}


def joint_target(loss, model):
    """Returns the target of a loss of several references, all of them the same."""
    picture = np.asarray(model)[0]
    weights = np.ones(picture.shape[:2], np.float32)
    given = {name: [losses.Reference(picture, weights, Plain())] for name in loss.references}
    (target,) = loss.joint_target(given).values()
    return {name: tf.convert_to_tensor(value) for name, value in target.items()}


def target_of(loss, model, weights):
    return joint_target(loss, model) if loss.joint else loss.target(model, weights)


def value_and_gradient(loss, features, model, weights, target=None):
    target = target or target_of(loss, model, weights)
    with tf.GradientTape() as tape:
        tape.watch(features)
        pixels = tf.cast(tf.size(features[..., 0]), tf.float32)
        statistics = {"pixels": pixels, **loss.statistics(features, weights, target)}
        value = loss.value(statistics, target)
    return value, tape.gradient(value, features)


@each_loss
@pytest.mark.parametrize("masked", [False, True])
def test_a_loss_is_the_same_eagerly_and_in_a_graph_of_any_size(loss, masked):
    features, model = activations(0), activations(1)
    weights = tf.constant(np.random.default_rng(2).random((1, 6, 5, 1)), tf.float32)
    weights = weights if masked else tf.constant(1.0)
    size = tf.TensorSpec((1, None, None, CHANNELS))
    signature = [size, size, tf.TensorSpec((1, None, None, 1) if masked else ())]
    target = joint_target(loss, model) if loss.joint else None  # Never part of a graph.
    graph = tf.function(lambda *arrays: value_and_gradient(loss, *arrays, target), signature)
    eager = value_and_gradient(loss, features, model, weights)
    # An activation that rounding takes to the next bin has the slope of that one.
    rough, least = (1e-3, 1e-5) if isinstance(loss, losses.SlicedWasserstein) else (1e-5, 1e-7)
    for found, expected in zip(graph(features, model, weights), eager, strict=True):
        np.testing.assert_allclose(found, expected, rtol=rough, atol=least)


@each_loss
@pytest.mark.parametrize("level", [None, 0.0, 1e-3, 1.0, 1e3])
@pytest.mark.parametrize("model_level", [None, 0.0, 1.0])
def test_a_loss_and_its_gradient_are_finite(loss, level, model_level):
    features = activations(3) if level is None else tf.fill((1, 6, 5, CHANNELS), level)
    model = activations(4) if model_level is None else tf.fill((1, 6, 5, CHANNELS), model_level)
    value, gradient = value_and_gradient(loss, features, model, tf.constant(1.0))
    assert value.dtype == tf.float32
    assert value.shape == ()
    assert value >= 0
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    "loss",
    [loss for loss in SINGLE_LAYERS.values() if loss.additive],
    ids=lambda loss: type(loss).__name__,
)
def test_the_statistics_of_two_halves_add_up_to_those_of_the_whole(loss):
    features = activations(5, 6, 8)
    weights = np.random.default_rng(6).random((1, 6, 8, 1)).astype(np.float32)
    target = target_of(loss, activations(7, 6, 8), tf.constant(1.0))
    left, right = weights.copy(), weights.copy()
    left[:, :, 3:], right[:, :, :3] = 0, 0
    parts = [loss.statistics(features, tf.constant(half), target) for half in (left, right)]
    added = tf.nest.map_structure(tf.add, *parts)
    whole = loss.statistics(features, tf.constant(weights), target)
    assert added.keys() == whole.keys()
    for name in whole:
        np.testing.assert_allclose(added[name], whole[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [type(loss) for loss in SINGLE_LAYERS.values() if loss.references])
def test_the_loss_of_the_model_itself_is_zero(kind):
    # In the mean of a cell its quarter turns are the same.
    loss = kind(orientations="upright") if kind is losses.Neighbours else kind()
    model = activations(8)
    value, _ = value_and_gradient(loss, model, model, tf.constant(1.0))
    np.testing.assert_allclose(value, 0, atol=1e-6)


# Optimisers.


def bowl(centre):
    """Returns an objective whose lowest point is `centre`, steeper in some places."""
    steepness = tf.constant(np.linspace(0.5, 3, int(tf.size(centre))), tf.float32)
    steepness = tf.reshape(steepness, centre.shape)

    def evaluate(image):
        difference = image - centre
        loss = tf.reduce_sum(steepness * difference**2)
        return optimizers.Evaluation(loss, 2 * steepness * difference, {"bowl": loss})

    return evaluate


def picture(seed, height=6, width=5):
    values = np.random.default_rng(seed).random((1, height, width, 3))
    return tf.constant(values, tf.float32)


def built(kind):
    """Returns an optimiser of a class, with the settings that it has by itself."""
    return kind(optimizers.LBFGS()) if kind is optimizers.Guarded else kind()


SPECIAL = ("bands", "octaves")


def named(optimizer):
    inner = getattr(optimizer, "optimizer", None)
    more = (
        named(inner) if inner else " ".join(each for each in SPECIAL if getattr(optimizer, each, 0))
    )
    return type(optimizer).__name__ + (f"({more})" if more else "")


ALONE = [built(kind) for kind in OPTIMIZER_CLASSES]
ALONE += [optimizers.LBFGS(octaves=2), optimizers.Adam(bands=2), optimizers.RMSprop(bands=2)]
ALL = [*ALONE, *map(optimizers.Guarded, ALONE)]
each_optimizer = pytest.mark.parametrize("optimizer", ALONE, ids=named)
each_guarded = pytest.mark.parametrize("optimizer", ALL, ids=named)
IN_PARTS = [optimizer for optimizer in ALL if not optimizer.whole]


@pytest.mark.parametrize("optimizer", IN_PARTS, ids=named)
@pytest.mark.parametrize("fault", [0.0, 1e3, np.nan])
def test_an_optimizer_may_be_shown_one_half_after_the_other(optimizer, fault):
    if np.isnan(fault) and not isinstance(optimizer, optimizers.Guarded):
        pytest.skip("only a guard looks at the loss")
    optimizer, image, evaluate = optimizers.summed(optimizer), picture(0), bowl(picture(1))
    image, state = walk(optimizer, evaluate, image, optimizer.init(image, 9), 5)
    point = optimizer.point(image, state)
    evaluation = evaluate(point)
    smoothed = tf.random.stateless_normal(point.shape, (1, 2))
    evaluation = evaluation._replace(loss=evaluation.loss + fault, smoothed=smoothed)

    def shown(rows):
        parts = {
            name: value[:, rows] if value.shape == image.shape else value
            for name, value in state.items()
        }
        part = evaluation._replace(
            gradient=evaluation.gradient[:, rows], smoothed=evaluation.smoothed[:, rows]
        )
        return image[:, rows], parts, part

    halves = [shown(slice(0, 2)), shown(slice(2, 6))]
    points = [optimizer.point(*half[:2]) for half in halves]
    np.testing.assert_array_equal(tf.concat(points, 1), point)
    sums = tf.nest.map_structure(tf.add, *(optimizer.sums(*half) for half in halves))
    for name, value in optimizer.sums(image, state, evaluation).items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(sums[name], value, rtol=1e-4, atol=1e-5 * scale)
    moved, after = optimizer.update_with_sums(image, state, evaluation, sums)
    found = [optimizer.update_with_sums(*half, sums) for half in halves]
    np.testing.assert_array_equal(tf.concat([part for part, _ in found], 1), moved)
    for name, value in after.items():
        parts = [state[name] for _, state in found]
        whole = tf.concat(parts, 1) if value.shape == image.shape else parts[-1]
        np.testing.assert_array_equal(whole, value)
    results = [optimizer.result(*half) for half in found]
    np.testing.assert_array_equal(tf.concat(results, 1), optimizer.result(moved, after))


class InTiles:
    """An objective that looks at the picture part by part."""

    def __init__(self, evaluate):
        self._evaluate = evaluate

    def value_and_gradient(self, image, targets):
        rows = [image.part(slice(top, top + 2), slice(None)) for top in range(0, 6, 2)]
        evaluation = self._evaluate(tf.concat(rows, 1))
        return evaluation._replace(gradient=evaluation.gradient.numpy())


@each_guarded
@pytest.mark.parametrize("run_eagerly", [False, True])
def test_steps_in_bands_are_those_of_the_whole_picture(optimizer, run_eagerly, monkeypatch):
    """To the bit, but where sums over bands are rounded otherwise than those of the whole."""
    monkeypatch.setattr(bands, "_BAND", 4 * 5)
    start, evaluate = picture(0), bowl(picture(1))
    image, state = walk(optimizer, evaluate, start, optimizer.init(start, 9), 6)
    found_image = tf.Variable(start)
    found = {name: tf.Variable(value) for name, value in optimizer.init(start, 9).items()}
    step = bands.compile_tiled_step(optimizer, run_eagerly=run_eagerly)
    for _ in range(6):
        step(InTiles(evaluate), found_image, found, None)
    inner = getattr(optimizer, "optimizer", optimizer)
    exact = not isinstance(inner, optimizers.SummedOptimizer)
    rough, least = (0, 0) if exact else (1e-3, 1e-4)
    np.testing.assert_allclose(found_image, image, rough, least)
    for name, value in state.items():
        np.testing.assert_allclose(found[name], value, rough, least, err_msg=name)


@each_guarded
def test_an_optimizer_is_described_by_its_settings(optimizer):
    again = type(optimizer).from_config(optimizer.get_config())
    assert again == optimizer
    assert hash(again) == hash(optimizer)
    description = objects.describe(optimizer)
    assert description["class"] == type(optimizer).__name__
    assert json.loads(json.dumps(description)) == description == objects.describe(again)


def walk(optimizer, evaluate, image, state, steps):
    for _ in range(steps):
        image, state, _ = optimizers.step(optimizer, image, state, evaluate)
    return image, state


def shapes(state):
    return {name: (value.shape, value.dtype) for name, value in state.items()}


@each_optimizer
def test_an_optimizer_lowers_the_loss(optimizer):
    evaluate, image = bowl(picture(1)), picture(0)
    moved, state = walk(optimizer, evaluate, image, optimizer.init(image, 40), 40)
    assert evaluate(optimizer.result(moved, state)).loss < 0.5 * evaluate(image).loss


@each_optimizer
def test_a_step_is_the_same_eagerly_and_in_a_graph(optimizer):
    evaluate, image = bowl(picture(1)), picture(0)
    image, state = walk(optimizer, evaluate, image, optimizer.init(image, 9), 3)
    graph = tf.function(lambda image, state: optimizers.step(optimizer, image, state, evaluate))
    found, expected = graph(image, state), optimizers.step(optimizer, image, state, evaluate)
    tf.nest.assert_same_structure(found, expected)
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@each_optimizer
def test_a_state_that_was_saved_goes_on_bit_for_bit(optimizer, tmp_path):
    evaluate, image = bowl(picture(1)), picture(0)
    image, state = walk(optimizer, evaluate, image, optimizer.init(image, 9), 4)
    kept = {name: tf.Variable(value) for name, value in state.items()}
    path = tf.train.Checkpoint(image=tf.Variable(image), state=kept).save(str(tmp_path / "run"))

    fresh = optimizer.init(picture(5), 9)
    found = {name: tf.Variable(value) for name, value in fresh.items()}
    found_image = tf.Variable(picture(5))
    checkpoint = tf.train.Checkpoint(image=found_image, state=found)
    checkpoint.restore(path).assert_consumed()
    restored = {name: tf.identity(value) for name, value in found.items()}

    expected = optimizers.step(optimizer, image, state, evaluate)
    resumed = optimizers.step(optimizer, tf.identity(found_image), restored, evaluate)
    for one, other in zip(tf.nest.flatten(resumed), tf.nest.flatten(expected), strict=True):
        np.testing.assert_array_equal(one, other)


@each_optimizer
@pytest.mark.parametrize("centre", [-2.0, 3.0])
def test_pixels_stay_between_0_and_1(optimizer, centre):
    image = picture(0)
    evaluate = bowl(tf.fill(image.shape, centre))
    state = optimizer.init(image, 15)
    for _ in range(15):
        image, state, _ = optimizers.step(optimizer, image, state, evaluate)
        for pixels in (image, optimizer.result(image, state)):
            assert tf.reduce_min(pixels) >= 0
            assert tf.reduce_max(pixels) <= 1


@each_optimizer
def test_a_state_keeps_its_shapes_from_step_to_step(optimizer):
    image = picture(0)
    state = optimizer.init(image, 9)
    _, later = walk(optimizer, bowl(picture(1)), image, state, 3)
    assert shapes(later) == shapes(state)


@each_optimizer
def test_a_carried_state_serves_a_larger_picture(optimizer):
    image, larger = picture(0), picture(2, 11, 9)
    _, state = walk(optimizer, bowl(picture(1)), image, optimizer.init(image, 9), 4)
    carried = optimizer.carried_state(state, larger, 7)
    assert shapes(carried) == shapes(optimizer.init(larger, 7))
    evaluate = bowl(picture(3, 11, 9))
    moved, later = walk(optimizer, evaluate, larger, carried, 15)
    assert shapes(later) == shapes(carried)
    assert evaluate(optimizer.result(moved, later)).loss < evaluate(larger).loss


@each_optimizer
def test_before_any_step_the_result_is_the_picture(optimizer):
    image, larger = picture(0), picture(2, 11, 9)
    state = optimizer.init(image, 9)
    np.testing.assert_array_equal(optimizer.result(image, state), image)
    _, state = walk(optimizer, bowl(picture(1)), image, state, 4)
    carried = optimizer.carried_state(state, larger, 7)
    np.testing.assert_array_equal(optimizer.result(larger, carried), larger)


@each_optimizer
def test_one_optimizer_serves_two_pictures_at_once(optimizer):
    starts, ends = [picture(0), picture(1)], []
    evaluates = [bowl(picture(2)), bowl(picture(3))]
    for start, evaluate in zip(starts, evaluates, strict=True):
        state = optimizer.init(start, 9)
        ends.append(walk(optimizer, evaluate, start, state, 4)[0])
    pairs = [(start, optimizer.init(start, 9)) for start in starts]
    for _ in range(4):
        pairs = [walk(optimizer, e, *pair, 1) for e, pair in zip(evaluates, pairs, strict=True)]
    for (image, _), expected in zip(pairs, ends, strict=True):
        np.testing.assert_array_equal(image, expected)


# Backbones.


@pytest.fixture(scope="module", params=ARCHITECTURES, ids=lambda a: a.name)
def backbone(request):
    """A network with random weights that exposes all its layers."""
    keras.utils.set_random_seed(0)
    return backbones.Backbone(vgg_layers.names(request.param.name), request.param, None)


@pytest.mark.parametrize(("height", "width"), [(64, 32), (45, 37)])
def test_each_layer_has_the_stride_that_its_name_says(backbone, height, width):
    outputs = backbone(picture(0, height, width))
    for name in vgg_layers.names(backbone.architecture.name):
        stride = vgg_layers.stride(name)
        assert outputs[name].shape[:3] == (1, height // stride, width // stride), name


def test_a_backbone_gives_the_layers_asked_for_and_the_image_in_float32(backbone):
    image = picture(0, 33, 47)
    outputs = backbone(image)
    assert set(outputs) == {*vgg_layers.names(backbone.architecture.name), backbones.backbone.IMAGE}
    assert all(value.dtype == tf.float32 for value in outputs.values())
    np.testing.assert_array_equal(outputs["image"], image)


def test_a_backbone_is_frozen(backbone):
    assert not backbone.trainable
    assert backbone.trainable_variables == []
    convolutions = [layer for layer in backbone.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) == sum(vgg_layers.CONVOLUTIONS[backbone.architecture.name])


def test_a_backbone_is_the_same_eagerly_and_in_a_graph(backbone):
    image = picture(0, 32, 48)
    found, expected = tf.function(backbone)(image), backbone(image)
    for name, value in expected.items():
        scale = float(tf.reduce_max(tf.abs(value)))
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("level", [None, 0.0, 0.5, 1.0])
def test_the_gradient_through_a_backbone_is_finite(backbone, level):
    image = picture(0, 32, 32) if level is None else tf.fill((1, 32, 32, 3), level)
    with tf.GradientTape() as tape:
        tape.watch(image)
        deepest = backbone(image)[vgg_layers.names(backbone.architecture.name)[-1]]
        total = tf.reduce_sum(deepest)
    assert np.isfinite(tape.gradient(total, image)).all()
    assert total > 0
