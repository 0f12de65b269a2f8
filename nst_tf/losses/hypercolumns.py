"""Hypercolumns: activations of several layers at the same places of a picture, stacked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

JOIN = "+"
"""Separator between the names of stacked layers."""


def stack(maps: Sequence[tf.Tensor], size: tf.Tensor, most_positions: int) -> tf.Tensor:
    """Returns activations on one grid over the picture, stacked along the channels.

    Args:
        maps: feature map of each layer, `(1, height, width, channels)`, at its own resolution.
        size: height and width of the picture, in pixels.
        most_positions: most positions of the grid, which has the proportions of the picture.

    Returns:
        `(1, rows, columns, channels of all)`. A layer with more positions than the grid is averaged
        around each grid position; a layer with fewer is interpolated.
    """
    length = tf.cast(size, tf.float32)
    scale = tf.minimum(1.0, tf.sqrt(most_positions / tf.reduce_prod(length)))
    grid = tf.maximum(1, tf.cast(tf.floor(length * scale), tf.int32))
    # A picture that is hardly more than a line would have too many positions along it.
    grid = tf.maximum(1, tf.minimum(grid, most_positions // tf.reverse(grid, [0])))
    return tf.concat([_resampled(each, grid[0], grid[1], _shares) for each in maps], axis=-1)


def between(maps: Sequence[tf.Tensor], height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Returns activations on one grid, stacked along the channels.

    Each is interpolated linearly between the two nearest positions, with the first and the last
    position of the grid at those of the layer, and divided by its number of channels.

    Args:
        maps: feature map of each layer, `(1, height, width, channels)`, at its own resolution.
        height: rows of the grid.
        width: columns of the grid.

    Returns:
        `(1, height, width, channels of all)`.
    """
    found = [_resampled(each, height, width, _hats) / each.shape[-1] for each in maps]
    return tf.concat(found, axis=-1)


def _resampled(
    features: tf.Tensor,
    height: tf.Tensor,
    width: tf.Tensor,
    shares: Callable[[tf.Tensor, tf.Tensor, tf.DType], tf.Tensor],
) -> tf.Tensor:
    """Returns a layer on another grid: two matrix products, whose gradients are such products."""
    rows, columns = tf.unstack(tf.shape(features)[1:3])
    channels = features.shape[-1]
    flat = tf.reshape(features, (rows, columns * channels))
    found = tf.matmul(shares(rows, height, features.dtype), flat)
    found = tf.reshape(found, (height, columns, channels))
    return tf.matmul(shares(columns, width, features.dtype), found)[tf.newaxis]


def _shares(before: tf.Tensor, after: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns the share of each of `before` positions in each of `after` positions.

    It falls off linearly from the centre of a new position to the centre of the next new one, or
    of the next old one where old positions are further apart.
    """
    ratio = tf.cast(before, dtype) / tf.cast(after, dtype)
    centres = (tf.cast(tf.range(after), dtype) + 0.5) * ratio - 0.5
    # The border repeats: a centre beyond the last position moves to that position.
    centres = tf.clip_by_value(centres, 0.0, tf.cast(before, dtype) - 1)
    distance = tf.abs(centres[:, tf.newaxis] - tf.cast(tf.range(before), dtype))
    shares = tf.nn.relu(1 - distance / tf.maximum(ratio, 1.0))
    return shares / tf.reduce_sum(shares, axis=1, keepdims=True)


def _hats(before: tf.Tensor, after: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns the share of each of `before` positions in each of `after` positions between them."""
    gaps = tf.maximum(tf.cast(after, dtype) - 1, 1.0)
    places = tf.cast(tf.range(after), dtype) * (tf.cast(before, dtype) - 1) / gaps
    return tf.nn.relu(1 - tf.abs(places[:, tf.newaxis] - tf.cast(tf.range(before), dtype)))
