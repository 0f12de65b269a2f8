"""The distances between colours, a content loss."""

from __future__ import annotations

import tensorflow as tf

from nst_tf.losses.loss import Loss, Statistics, position_weights

_TINY = 1e-12  # Below the square of any difference of two colours in 16 bits.


class ColorDistances(Loss):
    """Difference in how far apart the colours of the places of a picture are.

    ```
    distance of i and j = |colour i - colour j|

    relative:  loss = sum over i and j of |distance - target distance| / sum of target distances
    mean:      loss = mean over i and j of |distance - target distance|
    ```

    This is the optional content loss in the program of Kolkin et al. (2022), "Neural Neighbor
    Style Transfer". The colours may become others, and their contrasts stay. The places are a grid
    of at most 1024 over the picture, and the pixels around each are averaged. The authors
    interpolate between single pixels, on a grid of 32 along the longer side.

    The loss is not a function of sums over positions: it needs the whole picture at once.

    Args:
        normalization: `relative` or `mean`.

    Raises:
        ConfigError: `normalization` is neither.
    """

    references = ("content",)
    normalizations = ("relative", "mean")
    layers = ("image",)
    additive = False
    most_positions = 1024

    def measure(self, features: tf.Tensor, weights: tf.Tensor) -> Statistics:
        del weights
        return {"distances": _distances(features)}

    def statistics(self, features: tf.Tensor, weights: tf.Tensor, target: Statistics) -> Statistics:
        each = position_weights(features, weights)
        pairs = each * each[:, tf.newaxis]
        error = tf.abs(_distances(features) - target["distances"])
        whole = target["distances"] if self.normalization == "relative" else 1.0
        return {"error": tf.reduce_sum(pairs * error), "whole": tf.reduce_sum(pairs * whole)}

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        del target
        return tf.math.divide_no_nan(statistics["error"], statistics["whole"])


def _distances(features: tf.Tensor) -> tf.Tensor:
    """Returns the distance of each two places, `(positions, positions)`."""
    colours = tf.reshape(features, (-1, features.shape[-1]))
    apart = colours[:, tf.newaxis] - colours
    return tf.sqrt(tf.reduce_sum(tf.square(apart), axis=-1) + _TINY)
