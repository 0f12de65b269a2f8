"""Any functional Keras model as a backbone: its layers, their reach, and exact tiles."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import nst_tf
from nst_tf import backbones, errors, losses, objective
from nst_tf.engine import steps
from nst_tf.records import environment
from nst_tf.tiling import tiled_objective

L = keras.layers


def noise(seed: int, height: int, width: int, dtype: tf.DType = tf.float64) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).random((1, height, width, 3)), dtype)


def trained(model: keras.Model) -> keras.Model:
    """Returns the model with moving statistics that are not those of a new one."""
    random = np.random.default_rng(5)
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization):
            shape = layer.gamma.shape
            layer.set_weights(
                [
                    random.uniform(0.7, 1.3, shape),
                    random.normal(0, 0.2, shape),
                    random.normal(0, 0.2, shape),
                    random.uniform(0.5, 1.5, shape),
                ]
            )
    return model


def residual(dtype: str = "float64") -> keras.Model:
    """A small ResNet: SAME with strides, a dilated convolution, strided shortcuts."""
    keras.utils.set_random_seed(1)
    settings = {"padding": "same", "dtype": dtype}

    def convolved(x, filters, size, **more):
        x = L.Conv2D(filters, size, use_bias=False, **settings, **more)(x)
        return L.BatchNormalization(dtype=dtype)(x)

    def block(x, filters, stride, name, dilation=1):
        y = L.ReLU(dtype=dtype)(convolved(x, filters, 3, strides=stride))
        y = convolved(y, filters, 3, dilation_rate=dilation)
        if stride > 1 or x.shape[-1] != filters:
            x = convolved(x, filters, 1, strides=stride)
        return L.Activation("relu", dtype=dtype, name=name)(L.Add(dtype=dtype)([x, y]))

    image = keras.Input((None, None, 3), dtype=dtype)
    x = convolved(image, 6, 7, strides=2)
    x = L.ReLU(dtype=dtype, name="stem")(x)
    x = L.MaxPooling2D(3, 2, **settings)(x)
    x = block(x, 6, 1, "first")
    x = block(x, 8, 2, "second")
    x = block(x, 8, 1, "third", dilation=2)
    return trained(keras.Model(image, L.GlobalAveragePooling2D(dtype=dtype)(x)))


def valid(dtype: str = "float64") -> keras.Model:
    """Windows that are padded by hand, or not at all, strides of 3, branches and a U-turn."""
    keras.utils.set_random_seed(2)
    image = keras.Input((None, None, 3), dtype=dtype)
    x = L.ZeroPadding2D(((0, 1), (0, 1)), dtype=dtype)(image)
    x = L.Conv2D(5, 3, 2, activation="tanh", dtype=dtype, name="stem")(x)
    y = L.Conv2D(4, (1, 5), padding="same", dtype=dtype)(x)
    z = L.AveragePooling2D(3, 1, "same", dtype=dtype)(x)
    x = L.Concatenate(dtype=dtype, name="joined")([x, y, z])
    x = L.SeparableConv2D(6, 3, activation="swish", dtype=dtype, name="separable")(x)
    x = L.ZeroPadding2D(2, dtype=dtype)(x)
    x = L.Cropping2D(((1, 0), (0, 1)), dtype=dtype)(x)
    x = L.DepthwiseConv2D(4, 3, padding="valid", dtype=dtype, name="depthwise")(x)
    return keras.Model(image, x * 0.5 + 0.1)


def mobile() -> keras.Model:
    keras.utils.set_random_seed(3)
    sizes = {"input_shape": (None, None, 3), "alpha": 0.35}
    return trained(keras.applications.MobileNetV2(weights=None, include_top=False, **sizes))


def to_model(x):
    return keras.applications.mobilenet_v2.preprocess_input(255 * x)


NETWORKS = {
    "residual": (residual, ("stem", "first", "third"), lambda x: 2 * x - 1),
    "valid": (valid, ("stem", "joined", "separable", "depthwise"), None),
    "mobile": (mobile, ("Conv1_relu", "block_3_expand_relu", "block_6_expand_relu"), to_model),
}


@functools.cache
def network(name: str) -> backbones.Backbone:
    model, layers, preprocessing = NETWORKS[name]
    return backbones.Backbone.from_keras(model(), layers, preprocessing, name=name)


# What it exposes.


@pytest.mark.parametrize("name", NETWORKS)
def test_the_activations_are_those_of_the_model(name):
    model, layers, preprocessing = NETWORKS[name]
    original, backbone = model(), network(name)
    image = tf.cast(noise(0, 75, 101), backbone.input.dtype)
    prepared = preprocessing(image) if preprocessing else image
    part = keras.Model(original.input, [original.get_layer(each).output for each in layers])
    expected = dict(zip(layers, part(prepared, training=False), strict=True))
    found = backbone(image)
    assert found.keys() == {"image", *layers}
    np.testing.assert_array_equal(found["image"], image)
    tolerance = 1e-12 if image.dtype == tf.float64 else 1e-5
    for each in layers:
        np.testing.assert_allclose(found[each], expected[each], rtol=tolerance, atol=tolerance)


def test_a_host_that_trains_leaves_it_in_inference_mode():
    backbone, image = network("residual"), noise(0, 40, 40)
    before = backbone.digest
    given = keras.Input((None, None, 3), dtype="float64")
    host = keras.Model(given, backbone(given))
    np.testing.assert_array_equal(host(image, training=True)["third"], backbone(image)["third"])
    assert backbone.digest == before
    assert backbone.trainable_variables == []


def test_the_model_stays_as_it_is():
    model = residual()
    trainable, names = len(model.trainable_variables), [layer.name for layer in model.layers]
    backbone = backbones.Backbone.from_keras(model, ["third"])
    image = noise(0, 40, 40)
    before = backbone(image)["third"]
    assert len(model.trainable_variables) == trainable
    assert [layer.name for layer in model.layers] == names
    assert model.get_layer("third").output.shape == (None, None, None, 8)
    for variable in model.variables:
        variable.assign(tf.zeros_like(variable))
    np.testing.assert_array_equal(backbone(image)["third"], before)


def test_mixed_precision_is_exposed_in_float32():
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    deep = L.Conv2D(4, 3, dtype="mixed_bfloat16", name="deep")(image)
    backbone = backbones.Backbone.from_keras(keras.Model(image, deep), ["deep"])
    assert backbone(noise(0, 9, 9, tf.float32))["deep"].dtype == tf.float32


def test_models_within_the_model_are_looked_into():
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3), dtype="float64")
    inner = keras.Sequential(
        [keras.Input((None, None, 3)), L.Conv2D(4, 3, 2, "same"), L.ReLU()], name="inner"
    )
    inner.dtype_policy = keras.DTypePolicy("float64")
    outer = L.Conv2D(5, 3, padding="same", dtype="float64", name="outer")(inner(image))
    model = keras.Model(image, outer)
    backbone = backbones.Backbone.from_keras(model, ["outer"])
    assert backbone.reach("outer")[0] == 2
    assert not backbone.whole
    picture = noise(0, 21, 30)
    np.testing.assert_allclose(backbone(picture)["outer"], model(picture), rtol=1e-5, atol=1e-6)


def test_errors_name_what_there_is():
    model = residual()
    with pytest.raises(
        errors.ConfigError, match=r"layer of .* 'thrid'.*first, .*Did you mean 'thi"
    ):
        backbones.Backbone.from_keras(model, ["thrid"])
    pooled = model.layers[-1].name
    with pytest.raises(errors.ConfigError, match=f"{pooled}.*cannot be exposed"):
        backbones.Backbone.from_keras(model, [pooled])
    with pytest.raises(errors.ConfigError, match=r"expected a functional keras\.Model"):
        backbones.Backbone.from_keras(lambda x: x, ["first"])
    with pytest.raises(errors.ConfigError, match=r"takes inputs of shape .*preprocessing returns"):
        backbones.Backbone.from_keras(model, ["first"], lambda x: x[..., :1])


def test_a_backbone_has_imagenet_weights_unless_told_otherwise():
    architecture = backbones.get("vgg16")
    backbone = nst_tf.Backbone(["conv1_1"], architecture)
    expected = keras.Model.get_weights(backbones.build("vgg16", ("conv1_1",)))
    for found, each in zip(backbone.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(found, each)
    path = backbone.weight_file.path
    np.testing.assert_array_equal(
        nst_tf.Backbone(["conv1_1"], architecture, path).get_weights()[0], expected[0]
    )
    assert nst_tf.Backbone(["conv1_1"], architecture, None).weight_file is None


# The reach.


@pytest.mark.parametrize("size", [(70, 75), (63, 81), (66, 77)])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_position_depends_on_no_pixel_beyond_its_reach(name, size):
    """And, for some length, on the first or last of them, if only average pooling is in between."""
    backbone = network(name)
    image = tf.cast(noise(1, *size), backbone.input.dtype)
    for layer in NETWORKS[name][1]:
        stride, halo = backbone.reach(layer)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(image)
            features = backbone(image)[layer]
            rows, columns = features.shape[1:3]
            at = rows // 2, columns // 3
            value = tf.reduce_sum(features[0, at[0], at[1]])
        slopes = np.abs(tape.gradient(value, image)[0]).sum(axis=-1)
        for axis, position in enumerate(at):
            touched = np.flatnonzero(slopes.sum(axis=1 - axis))
            assert stride * position - halo <= touched[0]
            assert touched[-1] <= stride * (position + 1) - 1 + halo


def linear(*layers: L.Layer) -> backbones.Backbone:
    """Returns a network without ReLUs or signs, so that every pixel of a window counts."""
    image = keras.Input((None, None, 3), dtype="float64")
    x = image
    for layer in layers:
        x = layer(x)
    model = keras.Model(image, L.Identity(dtype="float64", name="end")(x))
    for variable in model.variables:
        variable.assign(tf.ones_like(variable))
    return backbones.Backbone.from_keras(model, ["end"])


def drawn(random: np.random.Generator) -> L.Layer:
    size, stride, dilation = (int(random.integers(1, most)) for most in (6, 4, 3))
    padding = str(random.choice(["same", "valid"]))
    stride = stride if dilation == 1 else 1
    settings = {"padding": padding, "strides": stride, "dtype": "float64"}
    kinds = [
        lambda: L.Conv2D(2, size, dilation_rate=dilation, **settings),
        lambda: L.DepthwiseConv2D(size, dilation_rate=dilation, **settings),
        lambda: L.AveragePooling2D(size, **settings),
        lambda: L.ZeroPadding2D(size - 1, dtype="float64"),
    ]
    return kinds[random.integers(len(kinds))]()


@pytest.mark.parametrize("seed", range(25))
def test_the_reach_of_random_networks_is_that_of_their_gradients(seed):
    """Over lengths of all phases, the widest that is touched is exactly the reach."""
    random = np.random.default_rng(seed)
    backbone = linear(*(drawn(random) for _ in range(random.integers(1, 4))))
    stride, halo = backbone.reach("end")
    shown = 3 * halo + 8 * stride
    before, after = [], []
    for length in range(shown, shown + stride):
        image = tf.ones((1, length, 40 + 4 * halo, 3), tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(image)
            features = backbone(image)["end"]
            position = features.shape[1] // 2
            value = tf.reduce_sum(features[0, position])
        touched = np.flatnonzero(np.abs(tape.gradient(value, image)[0]).sum(axis=(1, 2)))
        before.append(stride * position - touched[0])
        after.append(touched[-1] - stride * (position + 1) + 1)
    assert max(0, *before, *after) == halo


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_has_as_many_positions_as_the_graph_says(name):
    backbone = network(name)
    for size in [(75, 101), (64, 66), (49, 50)]:
        image = tf.cast(noise(1, *size), backbone.input.dtype)
        features = backbone(image)
        for layer in NETWORKS[name][1]:
            stride, _ = backbone.cells(layer)
            least = backbone._reaches[layer].least
            expected = tuple((length - least) // stride + 1 for length in size)
            assert features[layer].shape[1:3] == expected


# Tiles.


def terms(layers, region: int = 0) -> list[objective.Term]:
    found = []
    for layer in layers:
        found.append(objective.Term(f"content/{layer}", layer, losses.Content(), 2.0))
        found.append(objective.Term(f"style/{layer}", layer, losses.Gram(), 3.0, region))
    found.append(objective.Term("tv", "image", losses.TotalVariation("nine_point"), 0.5))
    return found


def given(size, dtype, masked):
    height, width = size
    image, photo, painting = (
        tf.cast(noise(seed, height + more, width + more), dtype)
        for seed, more in ((0, 0), (1, 0), (2, 7))
    )
    if not masked:
        return image, photo, painting, *[tf.ones((1, 1, 1, 1), dtype)] * 2
    masks = []
    for each in (photo, painting):
        region = np.ones((1, *each.shape[1:3], 2))
        region[:, : height // 3, : width // 2, 1] = 0
        region[:, -5:, :, 1] = 0.25
        masks.append(tf.constant(region, dtype))
    return image, photo, painting, *masks


def in_the_whole(whole, size, dtype, masked=False):
    image, photo, painting, *masks = given(size, dtype, masked)
    targets = objective.merged(
        whole.targets(photo, masks[0], "content"), whole.targets(painting, masks[1], "style")
    )
    return steps.value_and_gradient(whole, image, targets)


def in_tiles(whole, size, side, dtype, masked=False):
    image, photo, painting, *masks = given(size, dtype, masked)
    tiled = tiled_objective.TiledObjective(whole, run_eagerly=True)
    cut = tiled.cut(*size, (side,))
    content = tiled.targets(photo, masks[0], cut, "content")
    pieces = tiled.cut(*painting.shape[1:3], (side,))
    style = tiled.targets(painting, masks[1], pieces, "style")
    shared = objective.merged(content.shared, style.shared)
    targets = tiled_objective.TiledTargets(shared, cut, content.maps)
    return tiled.value_and_gradient(image, targets), len(cut[0])


def relative(found, expected) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize(
    ("size", "masked", "side"),
    [((75, 101), True, 24), ((90, 65), False, 37)],
    ids=["masked", "all"],
)
@pytest.mark.parametrize("name", ["residual", "valid"])
def test_in_float64_the_gradient_in_tiles_is_that_of_the_whole(name, size, masked, side):
    layers = NETWORKS[name][1]
    whole = objective.Objective(network(name), terms(layers, int(masked)))
    expected = in_the_whole(whole, size, tf.float64, masked)
    found, count = in_tiles(whole, size, side, tf.float64, masked)
    assert count > 1
    assert relative(found.gradient, expected.gradient) < 1e-10
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-10)


def test_mobilenet_in_tiles_has_the_gradient_of_the_whole():
    whole = objective.Objective(network("mobile"), terms(NETWORKS["mobile"][1], 1))
    expected = in_the_whole(whole, (75, 101), tf.float32, True)
    found, count = in_tiles(whole, (75, 101), 48, tf.float32, True)
    assert count > 1
    assert relative(found.gradient, expected.gradient) < 1e-5


@pytest.mark.parametrize("seed", range(25, 37))
def test_random_networks_in_tiles_have_the_gradient_of_the_whole(seed):
    random = np.random.default_rng(seed)
    backbone = linear(*(drawn(random) for _ in range(random.integers(1, 5))))
    whole = objective.Objective(backbone, terms(["end"], 1))
    size = backbone.least_side + 40 + seed % 7, backbone.least_side + 52
    if backbone.whole:
        with pytest.raises(errors.ConfigError, match="beyond the border"):
            tiled_objective.TiledObjective(whole)
        return
    expected = in_the_whole(whole, size, tf.float64, True)
    for side in (19, 31):
        found, _ = in_tiles(whole, size, side, tf.float64, True)
        assert relative(found.gradient, expected.gradient) < 1e-10


def test_weights_of_positions_are_means_over_their_pixels():
    """Of a network whose positions are 3 pixels, centred: the first pixels go to the first."""
    weights = np.random.default_rng(0).random((1, 14, 17, 2))
    found = objective.averaged(tf.constant(weights), tf.constant([4, 5]), 3, 1)
    for row, column in ((0, 0), (1, 2), (3, 4)):
        rows = slice(3 * row + 1 if row else 0, 3 * row + 4 if row < 3 else None)
        columns = slice(3 * column + 1 if column else 0, 3 * column + 4 if column < 4 else None)
        expected = weights[0, rows, columns].mean(axis=(0, 1))
        np.testing.assert_allclose(found[0, row, column], expected, rtol=1e-12)


def whole_layers() -> dict[str, list[L.Layer]]:
    class Custom(L.Conv2D):
        pass

    @keras.saving.register_keras_serializable()
    def relative_to_the_largest(x):
        return x / tf.reduce_max(x)

    return {
        "GlobalAveragePooling2D": [],
        "Custom": [Custom(4, 3, padding="same", dtype="float64")],
        "Conv2D": [L.Conv2D(4, 3, padding="same", activation=relative_to_the_largest)],
        "GroupNormalization": [L.GroupNormalization(2)],
        "LayerNormalization": [L.LayerNormalization(axis=[1, 2, 3], scale=False, center=False)],
        "Resizing": [L.Resizing(24, 24)],
    }


@pytest.mark.parametrize("kind", whole_layers())
def test_a_layer_that_may_look_at_the_whole_picture_keeps_it_whole(kind):
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    x = L.Conv2D(4, 3, 2, "same", name="below")(image)
    for layer in whole_layers()[kind]:
        x = layer(x)
    if kind == "GlobalAveragePooling2D":  # Squeeze and excitation.
        x = x * L.Dense(4, "sigmoid")(L.GlobalAveragePooling2D(keepdims=True)(x))
    deep = L.ReLU(name="deep")(x)
    model = keras.Model(image, deep)
    backbone = backbones.Backbone.from_keras(model, ["below", "deep"])
    assert f"({kind})" in backbone.whole
    whole = objective.Objective(backbone, terms(["below", "deep"], 1))
    with pytest.raises(errors.ConfigError, match=rf"takes no tiles: .*\({kind}\)"):
        tiled_objective.TiledObjective(whole)
    evaluated = in_the_whole(whole, (41, 50), tf.float32, True)
    assert np.isfinite(evaluated.gradient).all()
    assert not backbones.Backbone.from_keras(model, ["below"]).whole


def test_preprocessing_that_looks_at_the_whole_picture_keeps_it_whole():
    model = residual("float32")
    standardised = backbones.Backbone.from_keras(
        model, ["stem"], tf.image.per_image_standardization
    )
    assert "(Applied)" in standardised.whole
    layer = backbones.Backbone.from_keras(model, ["stem"], L.Rescaling(2.0, -1.0))
    assert not layer.whole


# A whole run.


def settings(**changes) -> nst_tf.StyleTransferConfig:
    return nst_tf.StyleTransferConfig(
        **{
            "backbone": "custom",
            "content_layers": "first",
            "style_layers": ("stem", "third"),
            "image_size": 75,
            "levels": 1,
            "steps": (4,),
            "device": "cpu",
            **changes,
        }
    )


@functools.cache
def run_network() -> backbones.Backbone:
    return backbones.Backbone.from_keras(
        residual("float32"), ["stem", "first", "third"], lambda x: 2 * x - 1, name="residual"
    )


def painted(config, backbone=None, **more):
    pictures = [noise(seed, 60, 75 - seed, tf.float32)[0].numpy() for seed in (7, 8)]
    engine = nst_tf.StyleTransfer(config, backbone or run_network())
    return engine.stylize(*pictures, **more).numpy()


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_a_run_in_tiles_makes_the_picture_of_the_whole(masked):
    mask = np.zeros((60, 68, 3), np.uint8)
    mask[:, :30] = 255
    more = {"content_mask": mask} if masked else {}
    whole, tiled = (painted(settings(tile_size=side), **more) for side in (0, 24))
    assert whole.shape == (66, 75, 3)
    assert np.isfinite(whole).all()
    np.testing.assert_allclose(tiled, whole, atol=2e-3)


def test_a_run_goes_on_to_the_same_bits_and_with_no_other_weights():
    kept = []

    class Keep(nst_tf.callbacks.Callback):
        def on_step_end(self, step):
            if len(kept) < 2:
                kept.append(step.snapshot())

    finished = painted(settings(), callbacks=[Keep()])
    provenance = kept[-1].provenance["backbone"]
    assert provenance == {"network": "residual", "its weights": run_network().digest}
    np.testing.assert_array_equal(painted(settings(), start=kept[-1]), finished)
    other = residual("float32")
    other.variables[0].assign(1.01 * other.variables[0])
    changed = backbones.Backbone.from_keras(
        other, ["stem", "first", "third"], lambda x: 2 * x - 1, name="residual"
    )
    with pytest.raises(errors.ConfigError, match="its weights"):
        painted(settings(), changed, start=kept[-1])


def test_settings_that_do_not_fit_the_network_are_refused():
    with pytest.raises(errors.ConfigError, match=r"backbone residual exposes 'fist'.*stem, first"):
        painted(settings(content_layers="fist"))
    with pytest.raises(errors.ConfigError, match=r"init=mean.*give mean_colour"):
        painted(settings(init="mean"))
    with pytest.raises(errors.ConfigError, match=r"padding=circular"):
        settings(padding="circular")
    with pytest.raises(errors.ConfigError, match=r"short side of at least"):
        painted(settings(image_size=8))
    whole = backbones.Backbone.from_keras(
        residual("float32"), ["stem", "first", "third"], tf.image.per_image_standardization
    )
    with pytest.raises(errors.ConfigError, match=r"tile_size=24 .*\(Applied\)"):
        painted(settings(tile_size=24, style_loss="gram"), whole)
    assert np.isfinite(painted(settings(style_loss="gram"), whole)).all()


def test_the_costs_are_those_of_the_arrays():
    backbone = network("residual")
    costs = {cost.name: cost for cost in backbone.costs()}
    operations = [each for each in backbone.layers if each.name in costs]
    assert len(operations) == len(costs) > 20
    every = keras.Model(backbone.input, [each.output for each in operations])
    arrays = every(2 * noise(0, 64, 96) - 1)
    for each, array in zip(operations, arrays, strict=True):
        assert 64 * 96 * costs[each.name].bytes == array.numpy().nbytes
    assert backbone.costs()[0].products == 7 * 7 * 3 * 6 / 4
    assert environment.network(backbone)["sha256"] == backbone.digest
