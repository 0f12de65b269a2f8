"""The smoothing of gradients against matrices of linear interpolation in float64."""

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.optimizers import smoothing

SIZES = [(8, 8), (7, 5), (1, 3), (2, 1), (37, 10)]


def interpolation(length):
    """Returns the matrix that doubles a line and leaves out what is beyond `length`."""
    half = -(-length // 2)
    places = (np.arange(length) + 0.5) / 2 - 0.5
    return np.stack([np.interp(places, np.arange(half), each) for each in np.eye(half)], axis=1)


def expected(gradient, weights):
    """Returns a channel of a gradient smoothed, by matrices."""
    if not weights:
        return gradient
    rows, columns = (interpolation(length) for length in gradient.shape)
    coarser = expected(rows.T @ gradient @ columns, weights[1:])
    return gradient + weights[0] * rows @ coarser @ columns.T


def gradient_of(size):
    return np.random.default_rng(sum(size)).normal(size=(1, *size, 3))


@pytest.mark.parametrize("weights", [(), (1.0,), (0.5, 2.0, 0.25)])
@pytest.mark.parametrize("size", SIZES)
def test_smoothing_is_that_of_a_sum_of_interpolated_pictures(size, weights):
    gradient = gradient_of(size)
    found = smoothing.smoothed(tf.constant(gradient), weights)
    assert found.shape == gradient.shape
    for channel in range(3):
        wanted = expected(gradient[0, :, :, channel], weights)
        np.testing.assert_allclose(found[0, :, :, channel], wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("band", [1, 3, 8, 100])
@pytest.mark.parametrize("size", SIZES)
def test_it_may_be_read_in_any_rows(size, band):
    gradient, weights = gradient_of(size), (1.0, 0.5, 2.0, 0.0)
    whole = smoothing.smoothed(tf.constant(gradient), weights)
    found = smoothing.Smoothed(lambda rows: tf.constant(gradient[:, rows]), size[0], weights, band)
    longer = 1 if size[0] < 10 else 3  # Of many rows, every start and end, a third of the lengths.
    for start in range(size[0]):
        for stop in range(start + 1, size[0] + 1, longer):
            part = found.part(slice(start, stop))
            np.testing.assert_allclose(part, whole[:, start:stop], rtol=1e-10, atol=1e-10)


def test_a_wave_of_twice_the_length_goes_four_times_as_far():
    places = np.arange(256)
    gains = []
    for length in (16, 32):
        wave = np.cos(2 * np.pi * (places + 0.5) / length)
        gradient = np.tile(wave[:, np.newaxis, np.newaxis], (1, 1, 64, 3))
        moved = smoothing.smoothed(tf.constant(gradient), (1.0,) * 6).numpy()
        gains.append((moved * gradient).sum() / (gradient**2).sum())
    np.testing.assert_allclose(gains[1] / gains[0], 4, rtol=0.1)
