"""Activations of several layers at the same places of a picture, stacked."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

JOIN = "+"
"""Stands between the names of layers that are stacked."""


def stack(maps: Sequence[tf.Tensor], size: tf.Tensor, most_positions: int) -> tf.Tensor:
    """Returns activations on one grid over the picture, stacked along the channels.

    Args:
        maps: of each layer, `(1, height, width, channels)`, at its own resolution.
        size: height and width of the picture.
        most_positions: of the grid, which has the proportions of the picture.

    Returns:
        `(1, rows, columns, channels of all)`. A layer with more positions than the grid is averaged
        around each of them, one with fewer is interpolated.
    """
    length = tf.cast(size, tf.float32)
    scale = tf.minimum(1.0, tf.sqrt(most_positions / tf.reduce_prod(length)))
    grid = tf.maximum(1, tf.cast(tf.floor(length * scale), tf.int32))
    # A picture that is hardly more than a line would have too many along it.
    grid = tf.maximum(1, tf.minimum(grid, most_positions // tf.reverse(grid, [0])))
    return tf.concat([_resampled(each, grid[0], grid[1]) for each in maps], axis=-1)


def _resampled(features: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Returns a layer on another grid, by two matrix products, whose gradients are such, too."""
    rows, columns = tf.unstack(tf.shape(features)[1:3])
    channels = features.shape[-1]
    flat = tf.reshape(features, (rows, columns * channels))
    found = tf.matmul(_shares(rows, height, features.dtype), flat)
    found = tf.reshape(found, (height, columns, channels))
    return tf.matmul(_shares(columns, width, features.dtype), found)[tf.newaxis]


def _shares(before: tf.Tensor, after: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns the share that each of `before` positions has in each of `after` positions.

    It falls off linearly from the centre of the new position to that of the next one, or of the
    next old one where these are further apart.
    """
    ratio = tf.cast(before, dtype) / tf.cast(after, dtype)
    centres = (tf.cast(tf.range(after), dtype) + 0.5) * ratio - 0.5
    # As if the border were repeated: a centre beyond the last position is at it.
    centres = tf.clip_by_value(centres, 0.0, tf.cast(before, dtype) - 1)
    distance = tf.abs(centres[:, tf.newaxis] - tf.cast(tf.range(before), dtype))
    shares = tf.nn.relu(1 - distance / tf.maximum(ratio, 1.0))
    return shares / tf.reduce_sum(shares, axis=1, keepdims=True)
