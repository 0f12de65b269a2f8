"""The networks against the source of their weights, against Keras, and at their edges."""

import runpy
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from nst_tf import backbones, errors
from nst_tf.backbones import pooling, preprocessing
from nst_tf.backbones.convolution import FrozenConv2D
from nst_tf.config import vgg_layers
from nst_tf.kernels import convolution
from nst_tf.runtime import backend

DATA = Path(__file__).parents[1] / "data"
BUNDLED = Path(backbones.__file__).with_name("vgg16_imagenet.h5")
REFERENCE = np.load(DATA / "vgg16_reference.npz")
LINEAR_KERNELS = [
    convolution.as_convolution,
    convolution._as_gradient,
    convolution._by_channels,
]


def relative_error(found, expected):
    found, expected = np.float64(found), np.float64(expected)
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def picture(seed=0, height=32, width=48):
    values = np.random.default_rng(seed).random((1, height, width, 3))
    return tf.constant(values, tf.float32)


def bundled(*names, **options):
    return backbones.build("vgg16", names, path=str(BUNDLED), **options)


# Against the source of the weights.


@pytest.fixture(scope="module")
def bundled_features():
    """Returns the activations of the bundled VGG16 on the picture of the reference."""
    pixels = runpy.run_path(str(DATA / "make_vgg16_reference.py"))["picture"]()
    return bundled(*REFERENCE.files)(tf.constant(pixels[np.newaxis], tf.float32))


def test_the_reference_covers_every_convolution():
    expected = [name for name in vgg_layers.names("vgg16") if "conv" in name]
    assert sorted(REFERENCE.files) == sorted(expected)
    assert all(REFERENCE[name].any() for name in expected)


@pytest.mark.parametrize("name", REFERENCE.files)
def test_the_bundled_vgg16_sees_what_its_source_sees(bundled_features, name):
    found, expected = bundled_features[name][0].numpy(), REFERENCE[name]
    assert found.shape == expected.shape
    assert relative_error(found, expected) < 1e-3


# Against keras.applications.


@pytest.fixture(scope="module", params=["vgg16", "vgg19"])
def twins(request):
    """Returns a backbone and the Keras model of the same random weights, biases included."""
    architecture, random = backbones.get(request.param), np.random.default_rng(0)
    original = architecture.application(include_top=False, weights=None)
    backbone = backbones.Backbone(vgg_layers.names(request.param), architecture, None)
    for layer in original.layers:
        if isinstance(layer, keras.layers.Conv2D):
            shapes = [array.shape for array in layer.get_weights()]
            spread = np.sqrt(2 / np.prod(shapes[0][:3]))
            layer.set_weights([random.normal(0, spread, shape) for shape in shapes])
            backbone.get_layer(layer.name).set_weights(layer.get_weights())
    outputs = {name: original.get_layer(name).output for name in vgg_layers.names(request.param)}
    return backbone, keras.Model(original.input, outputs)


def preprocessed(image, name):
    module = {"vgg16": keras.applications.vgg16, "vgg19": keras.applications.vgg19}[name]
    return module.preprocess_input(255 * image.numpy())


def test_a_backbone_gives_the_features_of_the_keras_model(twins):
    backbone, original = twins
    image = picture()
    expected = original(preprocessed(image, backbone.architecture.name))
    found = backbone(image)
    for name, value in expected.items():
        assert relative_error(found[name], value) < 1e-5, name


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_preprocessing_is_that_of_keras(name):
    architecture = backbones.get(name)
    backbone = backbones.Backbone(["block1_conv1"], architecture, None)
    kernel = np.zeros((3, 3, 3, 64), np.float32)
    kernel[1, 1, :, :3] = np.eye(3)
    # Lifted above zero, so that the ReLU lets every value through.
    backbone.get_layer("block1_conv1").set_weights([kernel, np.full(64, 200, np.float32)])
    found = backbone(picture())["block1_conv1"][..., :3] - 200
    np.testing.assert_allclose(found, preprocessed(picture(), name), atol=1e-4)


# Pooling and precision.


def test_average_pooling_takes_the_mean_of_every_square():
    outputs = bundled("block1_conv2", "block1_pool", "block2_conv1", pooling="avg")(picture())
    before = np.float64(outputs["block1_conv2"][0])
    squares = before.reshape(16, 2, 24, 2, 64)
    np.testing.assert_allclose(outputs["block1_pool"][0], squares.mean((1, 3)), rtol=1e-4)

    backbone = bundled("block2_conv1")
    kernel, bias = map(np.float64, backbone.get_layer("block2_conv1").get_weights())
    padded = np.pad(squares.mean((1, 3)), ((1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (0, 1))
    expected = np.maximum(np.einsum("hwcij,ijco->hwo", windows, kernel, optimize=True) + bias, 0)
    assert relative_error(outputs["block2_conv1"][0], expected) < 1e-5


def test_average_pooling_leaves_no_maximum_behind():
    backbone = bundled("block5_conv1", pooling="avg")
    layers = backbone.layers
    assert not any(isinstance(layer, keras.layers.MaxPooling2D) for layer in layers)
    assert sum(isinstance(layer, keras.layers.AveragePooling2D) for layer in layers) == 4


def test_bfloat16_gives_float32_that_is_close():
    names = ("block1_conv1", "block3_conv1", "block5_conv1")
    exact, rough = bundled(*names), bundled(*names, precision="bfloat16")
    expected, found = exact(picture()), rough(picture())
    np.testing.assert_array_equal(found["image"], picture())
    for name in names:
        assert found[name].dtype == tf.float32
        assert 1e-5 < relative_error(found[name], expected[name]) < 0.05, name
        assert rough.get_layer(name).kernel.dtype == "float32"


def test_building_in_bfloat16_leaves_the_policy_of_keras_alone():
    before = keras.config.dtype_policy().name
    bundled("block1_conv1", precision="bfloat16")
    assert keras.config.dtype_policy().name == before


# Layers.


@pytest.mark.parametrize(
    ("names", "deepest"),
    [
        (["block1_conv1"], "block1_conv1"),
        (["block3_conv2", "block1_conv2"], "block3_conv2"),
        (["block2_pool"], "block2_pool"),
        (["block5_conv1", "block4_conv2"], "block5_conv1"),
    ],
)
def test_a_backbone_ends_at_the_deepest_layer_asked_for(names, deepest):
    backbone = bundled(*names)
    kept = [layer.name for layer in backbone.layers if layer.name.startswith("block")]
    kept = [name for name in kept if not name.endswith("_output")]
    every = vgg_layers.names("vgg16")
    assert kept == every[: every.index(deepest) + 1]
    assert set(backbone(picture())) == {"image", *names}


def test_it_is_frozen_within_a_model_that_is_trained():
    image, backbone = keras.Input((None, None, 3)), bundled("block2_conv1")
    assert not any(layer.trainable for layer in backbone.layers)
    features = backbone(image)
    pooled = keras.layers.GlobalAveragePooling2D()(features["block2_conv1"])
    model = keras.Model(image, [keras.layers.Dense(2)(pooled), features["image"]])
    assert [variable.shape for variable in model.trainable_variables] == [(128, 2), (2,)]
    pictures = tf.concat([picture(seed) for seed in range(3)], axis=0)
    numbers, same = model(pictures)
    assert numbers.shape == (3, 2)
    np.testing.assert_array_equal(same, pictures)


def test_no_layers_leave_the_image():
    np.testing.assert_array_equal(bundled()(picture())["image"], picture())


@pytest.mark.parametrize("alias", ["block4_conv2", "conv4_2", "relu4_2"])
def test_a_layer_may_be_spelled_in_three_ways(alias):
    assert set(bundled(alias)(picture())) == {"image", "block4_conv2"}


@pytest.mark.parametrize(
    ("name", "near"),
    [("block4_conv9", "block4_conv"), ("blok3_conv1", "block3_conv1"), ("conv3_4", "block3_conv")],
)
def test_an_unknown_layer_names_the_nearest(name, near):
    with pytest.raises(errors.ConfigError, match=f"expected one of.*Did you mean '{near}"):
        bundled(name)


def test_an_unknown_backbone_names_the_nearest():
    with pytest.raises(errors.ConfigError, match="Did you mean 'vgg1"):
        backbones.get("vgg18")


def test_a_backbone_without_weights_differs_from_the_bundled_one():
    blank = backbones.Backbone(["block1_conv1"], backbones.get("vgg16"), None)
    found, expected = (model(picture())["block1_conv1"] for model in (blank, bundled("conv1_1")))
    assert relative_error(found, expected) > 0.1


def test_the_memory_of_the_activations_is_that_of_their_arrays():
    backbone = bundled("block4_conv1")
    names = [name for name in vgg_layers.names("vgg16") if name < "block4_conv2"]
    outputs = bundled(*names)(picture(0, 64, 48))
    expected = sum(value.numpy().nbytes for name, value in outputs.items() if name != "image")
    assert 64 * 48 * sum(cost.bytes for cost in backbone.costs()) == expected


@pytest.mark.parametrize("linear", LINEAR_KERNELS)
@pytest.mark.parametrize(("kernel", "filters"), [(3, 5), (1, 4), (5, 2)])
def test_a_frozen_convolution_is_an_ordinary_one_by_either_kernel(
    kernel, filters, linear, monkeypatch
):
    monkeypatch.setattr(convolution, "linear_kernel", lambda: linear)
    monkeypatch.setattr(convolution, "_DEEP", 4)  # Between the channels of the two sides.
    settings = {"padding": "same", "activation": "relu", "bias_initializer": "random_normal"}
    frozen = FrozenConv2D(filters, kernel, **settings)
    ordinary = keras.layers.Conv2D(filters, kernel, **settings)
    picture = tf.random.stateless_normal((1, 7, 9, 3), (1, 2))
    upstream = tf.random.stateless_normal((1, 7, 9, filters), (3, 4))
    frozen(picture), ordinary(picture)
    ordinary.set_weights(frozen.get_weights())

    def taken(layer):
        with tf.GradientTape() as tape:
            tape.watch(picture)
            outputs = layer(picture)
        return outputs, tape.gradient(outputs, picture, upstream)

    for found, expected in zip(taken(frozen), taken(ordinary), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        assert np.abs(found).max() > 0.1


@pytest.mark.parametrize(
    ("vectors", "onednn", "expected"),
    [
        ("avx2", True, convolution._as_gradient),
        ("avx512f", True, convolution._by_channels),
        ("", True, None),
        ("avx512f", False, convolution.as_convolution),
    ],
)
def test_kernels_go_by_the_processor_and_by_onednn(vectors, onednn, expected, monkeypatch):
    monkeypatch.setattr(backend, "vector_instructions", lambda: vectors)
    monkeypatch.setattr(convolution, "uses_onednn", lambda: onednn)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    assert convolution.linear_kernel.__wrapped__() is expected


# The way back without the way forth.


def pulled_back(layer, inputs, upstream):
    """Returns the gradient by the layer's switches alone, and by TensorFlow."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs)
    switches = layer.switches(inputs, outputs)
    assert all(each.dtype == tf.bool for each in switches)
    found = layer.backward(upstream, switches, tf.shape(inputs)[1:3])
    return found, tape.gradient(outputs, inputs, upstream)


@pytest.mark.parametrize("linear", [*LINEAR_KERNELS, None])
@pytest.mark.parametrize("mode", ["zeros", *convolution.PADDINGS])
def test_a_convolution_is_gone_back_through_by_its_switches(mode, linear, monkeypatch):
    monkeypatch.setattr(convolution, "linear_kernel", lambda: linear)
    monkeypatch.setattr(convolution, "_DEEP", 4)
    layer = FrozenConv2D(5, 3, padding="same", activation="relu", bias_initializer="random_normal")
    layer.padding_mode = mode
    inputs = tf.random.stateless_normal((1, 7, 9, 3), (1, 2))
    found, expected = pulled_back(layer, inputs, tf.random.stateless_normal((1, 7, 9, 5), (3, 4)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(found).max() > 0.1


@pytest.mark.parametrize(
    ("frozen", "ordinary"),
    [
        (pooling.FrozenAveragePooling2D, keras.layers.AveragePooling2D),
        (pooling.FrozenMaxPooling2D, keras.layers.MaxPooling2D),
    ],
)
@pytest.mark.parametrize("size", [(8, 6), (7, 9), (2, 2)])
def test_a_pooling_is_gone_back_through_by_its_switches(frozen, ordinary, size):
    """Whole numbers, so that some windows have several maxima, and odd sizes have a rest."""
    inputs = tf.constant(np.random.default_rng(1).integers(0, 3, (1, *size, 4)), tf.float32)
    upstream = tf.random.stateless_normal((1, size[0] // 2, size[1] // 2, 4), (3, 4))
    found, _ = pulled_back(frozen(2), inputs, upstream)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = ordinary(2)(inputs)
    np.testing.assert_array_equal(found, tape.gradient(outputs, inputs, upstream))


def test_preprocessing_is_that_of_keras_and_is_gone_back_through():
    architecture = backbones.get("vgg16")
    layer = preprocessing.Preprocessing(architecture.mean)
    image = picture(0, 5, 4)
    expected = keras.applications.vgg16.preprocess_input(255 * np.array(image))
    np.testing.assert_allclose(layer(image), expected, atol=1e-4)
    found, expected = pulled_back(layer, image, tf.random.stateless_normal((1, 5, 4, 3), (3, 4)))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "cuts", [(), ("block1_pool",), ("block3_pool",), ("block1_pool", "block3_pool")]
)
def test_sections_in_a_row_are_the_network(cuts):
    names = ("block1_conv1", "block3_conv1", "block4_conv2")
    backbone = backbones.build("vgg16", names, pooling="avg")
    segments = backbones.split(backbone, cuts)
    assert len(segments) == len(cuts) + 1
    picture = tf.random.stateless_uniform((1, 40, 56, 3), (5, 6))
    found, link = {}, picture
    for segment in segments:
        outputs = segment(link)
        link = outputs.pop(backbones.LINK, None)
        found |= outputs
    assert found.keys() == backbone.output.keys()
    for name, expected in backbone(picture).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-6)
    stride, halo = 1, 0
    for name, segment in zip(
        [backbones.LINK] * len(cuts) + ["block4_conv2"], segments, strict=True
    ):
        deep, far = segment.reach(name)
        stride, halo = stride * deep, halo + stride * far
    assert (stride, halo) == backbone.reach("block4_conv2")


# What is around a picture.


@pytest.mark.parametrize("linear", [*LINEAR_KERNELS, None])
@pytest.mark.parametrize(
    ("mode", "numpy_mode"), [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")]
)
def test_padding_is_that_of_numpy(mode, numpy_mode, linear, monkeypatch):
    monkeypatch.setattr(convolution, "linear_kernel", lambda: linear)
    monkeypatch.setattr(convolution, "_DEEP", 4)
    layer = FrozenConv2D(5, 3, padding="same", activation="relu")
    layer.padding_mode = mode
    picture = tf.random.stateless_normal((1, 7, 9, 3), (1, 2))
    upstream = np.random.default_rng(3).normal(size=(1, 7, 9, 5))
    with tf.GradientTape() as tape:
        tape.watch(picture)
        found = layer(picture)
    kernel, bias = layer.get_weights()
    around = np.pad(picture, ((0, 0), (1, 1), (1, 1), (0, 0)), numpy_mode)
    windows = np.lib.stride_tricks.sliding_window_view(np.float64(around), (3, 3), (1, 2))
    expected = np.maximum(np.einsum("bhwcij,ijco->bhwo", windows, kernel) + bias, 0)
    np.testing.assert_allclose(found, expected, atol=1e-5)

    # The gradient, along a random direction, by finite differences in float64.
    direction = np.float64(tf.random.stateless_normal(picture.shape, (5, 6)))

    def value(step):
        moved = np.pad(
            np.float64(picture) + step * direction, ((0, 0), (1, 1), (1, 1), (0, 0)), numpy_mode
        )
        seen = np.lib.stride_tricks.sliding_window_view(moved, (3, 3), (1, 2))
        outputs = np.maximum(np.einsum("bhwcij,ijco->bhwo", seen, np.float64(kernel)) + bias, 0)
        return (outputs * upstream).sum()

    slope = (value(1e-6) - value(-1e-6)) / 2e-6
    gradient = np.float64(tape.gradient(found, picture, np.float32(upstream)))
    assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-3)


def test_a_periodic_picture_can_be_shifted():
    names = ("block1_conv2", "block3_conv1", "block4_conv1")
    backbone = backbones.build("vgg16", names, pooling="avg", padding="circular")
    image = picture(0, 48, 64)
    shifted = backbone(tf.roll(image, (16, 24), (1, 2)))
    for name, features in backbone(image).items():
        stride = backbone.reach(name)[0]
        expected = tf.roll(features, (16 // stride, 24 // stride), (1, 2))
        np.testing.assert_allclose(shifted[name], expected, rtol=1e-4, atol=2e-2)
