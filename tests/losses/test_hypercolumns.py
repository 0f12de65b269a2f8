"""Hypercolumns: layers of different resolutions on one grid."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from nst_tf.losses import hypercolumns


def layer(seed, height, width, channels):
    values = np.random.default_rng(seed).random((1, height, width, channels))
    return tf.constant(values, tf.float32)


def resampled(features, height, width):
    """Pillow's triangle filter, channel by channel."""
    found = [
        Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR)
        for channel in np.moveaxis(features[0].numpy(), -1, 0)
    ]
    return np.stack(found, axis=-1)[np.newaxis]


@pytest.mark.parametrize(
    ("size", "most", "grid"), [((48, 64), 192, (12, 16)), ((48, 64), 99999, (48, 64))]
)
def test_every_layer_is_resampled_to_the_grid(size, most, grid):
    maps = [layer(0, 48, 64, 2), layer(1, 24, 32, 3), layer(2, 3, 4, 1)]
    found = hypercolumns.stack(maps, tf.constant(size), most)
    expected = np.concatenate([resampled(each, *grid) for each in maps], axis=-1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(333, 512), (1, 4000), (90, 90)])
def test_the_grid_has_the_proportions_of_the_picture_and_not_too_many_positions(height, width):
    found = hypercolumns.stack([layer(0, 5, 7, 1)], tf.constant((height, width)), 500)
    rows, columns = found.shape[1:3]
    assert rows * columns <= 500
    assert abs(np.log(rows / columns) - np.log(height / width)) < 0.1 or rows == 1


def test_a_flat_layer_stays_flat():
    found = hypercolumns.stack([tf.fill((1, 37, 23, 2), 0.7)], tf.constant((370, 230)), 50)
    np.testing.assert_allclose(found, np.full(found.shape, 0.7), rtol=1e-6)
