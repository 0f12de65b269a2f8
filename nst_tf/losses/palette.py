"""The palette loss, a style loss."""

from __future__ import annotations

import tensorflow as tf

from nst_tf.losses.relaxed_emd import RelaxedMatching, flat_columns, unit_columns

_TINY = 1e-12  # Below any difference of two colours in 16 bits.


class Palette(RelaxedMatching):
    """Relaxed earth mover's distance between the colours of picture and style.

    ```
    distance of i and j = |colour i - target colour j| / sqrt(3)
    forth = mean over i of the least cost of i and any j
    back = mean over j of the least cost of any i and j
    loss = max(forth, back)

    relative:  cost = distance
    strotss:   cost = distance + 1 - cosine of the angle between the colours
    ```

    This is the colour matching term of Kolkin, Salavon and Shakhnarovich (2019), "Style Transfer by
    Relaxed Optimal Transport and Self-Similarity", and with `strotss` that of their program. Their
    decorrelated colours, the grey axis and two across it, are a rotation of RGB, which leaves
    distances and angles as they are. Places are a grid of at most 2048 over the picture, and the
    pixels around each are averaged.

    As with the authors, a term of this loss yields to the content: where the content weight is
    above the style weight, the weight of the term is divided by their ratio.

    The loss is not a function of sums over positions: it needs the whole picture at once.

    Args:
        normalization: `relative` or `strotss`.

    Raises:
        ConfigError: `normalization` is neither.
    """

    normalizations = ("relative", "strotss")
    layers = ("image",)
    yields = True

    def columns(self, features: tf.Tensor) -> tf.Tensor:
        return flat_columns(features)

    def nearness(self, columns: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
        squares = tf.reduce_sum(tf.square(others), axis=1)
        squares += tf.reduce_sum(tf.square(columns), axis=1, keepdims=True)
        squares -= 2 * tf.matmul(columns, others, transpose_b=True)
        found = -tf.sqrt(tf.maximum(squares, 0.0) / 3)
        if self.normalization == "strotss":
            found += tf.matmul(unit_columns(columns), unit_columns(others), transpose_b=True)
        return found

    def cost(self, columns: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
        found = tf.sqrt((tf.reduce_sum(tf.square(columns - others), axis=1) + _TINY) / 3)
        if self.normalization == "strotss":
            found += 1 - tf.reduce_sum(unit_columns(columns) * unit_columns(others), axis=1)
        return found
