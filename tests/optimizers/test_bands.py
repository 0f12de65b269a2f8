"""Optimisers on the bands of a Laplacian pyramid, against true band variables in float64."""

import numpy as np
import pytest
import tensorflow as tf

from nst_tf import config, errors, optimizers
from nst_tf.optimizers import smoothing

SIZES = [(16, 8), (7, 5), (13, 24), (3, 2), (1, 1)]
each_size = pytest.mark.parametrize("size", SIZES)


def interpolation(length):
    """Returns the matrix that doubles a line and leaves out what is beyond `length`."""
    half = -(-length // 2)
    places = (np.arange(length) + 0.5) / 2 - 0.5
    return np.stack([np.interp(places, np.arange(half), each) for each in np.eye(half)], axis=1)


def enlargements(size, count):
    """Returns, for each band that counts, the matrices from its rows and columns to the picture."""
    found = [(np.eye(size[0]), np.eye(size[1]))]
    while len(found) <= count and max(size) > 2:
        found.append(tuple(u @ interpolation(n) for u, n in zip(found[-1], size, strict=True)))
        size = tuple(-(-n // 2) for n in size)
    return found


def enlarged(band, matrices):
    rows, columns = matrices
    return np.einsum("ai,bj,nijc->nabc", rows, columns, band)


def shared(gradient, matrices):
    rows, columns = matrices
    return np.einsum("ai,bj,nabc->nijc", rows, columns, gradient)


def wave(picture):
    """Returns the gradient of a wavy function of a picture, whose steepness varies."""
    steepness = np.linspace(0.2, 3, picture.size).reshape(picture.shape)
    return steepness * np.cos(6 * picture) + picture - 0.5


def adam(gradient, first, second, step):
    """Kingma and Ba (2015), algorithm 1, with NNST's constants."""
    first = 0.9 * first + 0.1 * gradient
    second = 0.999 * second + 0.001 * gradient**2
    move = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return 0.002 * move, first, second


def rmsprop(gradient, first, second, step):
    """`torch.optim.RMSprop` with its default constants."""
    second = 0.99 * second + 0.01 * gradient**2
    return 0.002 * gradient / (np.sqrt(second) + 1e-8), first, second


NNST = config.StyleTransferConfig(
    optimizer="adam",
    laplacian_bands=8,
    learning_rate=0.002,
    adam_beta_2=0.999,
    adam_epsilon=1e-8,
    final_rate=1.0,
    average=0.0,
    clip_pixels=False,
)
CASES = [
    (adam, NNST),
    (adam, NNST.replace(laplacian_bands=3)),
    (rmsprop, config.StyleTransferConfig.preset("strotss")),
    (rmsprop, config.StyleTransferConfig.preset("strotss", laplacian_bands=0)),
]


def ended(start, rule, count, steps):
    """Returns the picture after steps on true bands, a Laplacian pyramid of the start."""
    matrices = enlargements(start.shape[1:3], count)
    bands = [np.zeros_like(shared(start, each)) for each in matrices]
    bands[-1] += start.mean()
    bands[0] += start - sum(map(enlarged, bands, matrices))
    moments = [(0.0, 0.0)] * len(bands)
    for step in range(1, steps + 1):
        gradient = wave(sum(map(enlarged, bands, matrices)))
        for band, each in enumerate(matrices):
            move, *moments[band] = rule(shared(gradient, each), *moments[band], step)
            bands[band] = bands[band] - move
    return sum(map(enlarged, bands, matrices))


@pytest.mark.parametrize(("rule", "settings"), CASES)
@each_size
def test_the_steps_are_those_of_the_bands_themselves(size, rule, settings):
    start = np.random.default_rng(sum(size)).random((1, *size, 3))
    optimizer = optimizers.get(settings.optimizer, settings)
    image, state = tf.constant(start, tf.float32), optimizer.init(tf.constant(start), 9)
    state = {name: tf.cast(value, tf.float32) for name, value in state.items()}

    def evaluate(image):
        gradient = tf.constant(wave(image.numpy().astype(np.float64)), tf.float32)
        return optimizers.Evaluation(tf.constant(1.0), gradient, {})

    for _ in range(9):
        image, state, _ = optimizers.step(optimizer, image, state, evaluate)
    expected = ended(start, rule, settings.laplacian_bands, 9)
    assert np.abs(expected - start).max() > 0.01
    np.testing.assert_allclose(image, expected, atol=2e-5)


@pytest.mark.parametrize("count", [0, 1, 4])
@each_size
def test_the_picture_is_the_sum_of_its_enlarged_bands(size, count):
    random = np.random.default_rng(count)
    shapes = [each.shape for each in smoothing.no_bands(tf.zeros((1, *size, 3)), count)]
    assert len(shapes) == count + 1
    bands = [random.normal(size=shape) for shape in shapes]
    expected = sum(map(enlarged, bands, enlargements(size, count)))
    found = smoothing.sum_of_bands(list(map(tf.constant, bands)))
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("count", [0, 1, 4])
@each_size
def test_the_gradient_of_a_band_is_the_adjoint_of_its_enlargement(size, count):
    gradient = np.random.default_rng(count).normal(size=(1, *size, 3))
    found = smoothing.band_gradients(tf.constant(gradient), count)
    assert len(found) == count + 1
    for band, each in zip(found, enlargements(size, count), strict=False):
        np.testing.assert_allclose(band, shared(gradient, each), atol=1e-12)


def test_a_level_of_bands_begins_with_new_moments():
    optimizer = optimizers.Adam(bands=2)
    image, larger = tf.fill((1, 8, 6, 3), 0.5), tf.fill((1, 16, 12, 3), 0.5)
    evaluation = optimizers.Evaluation(tf.constant(1.0), tf.ones_like(image), {})
    _, state = optimizer.update(image, optimizer.init(image, 5), evaluation)
    assert tf.reduce_max(tf.abs(state["first_moment/2"])) > 0
    carried, fresh = optimizer.carried_state(state, larger, 5), optimizer.init(larger, 5)
    assert carried.keys() == fresh.keys()
    for name, value in fresh.items():
        np.testing.assert_array_equal(carried[name], value)


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adam", "laplacian_bands": 4},
        {"optimizer": "rmsprop", "laplacian_bands": 4},
        {"optimizer": optimizers.Adam(bands=4)},
    ],
)
def test_bands_have_a_border(settings):
    with pytest.raises(errors.ConfigError, match=r"padding=circular.*laplacian_bands"):
        config.StyleTransferConfig(padding="circular", **settings)
