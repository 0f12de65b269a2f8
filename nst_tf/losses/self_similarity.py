"""The self-similarity content loss."""

from __future__ import annotations

import tensorflow as tf

from nst_tf.losses.loss import Loss, Statistics, position_weights
from nst_tf.losses.relaxed_emd import unit_columns

_LEAST_DISTANCE = 1e-5  # Above the rounding error of a distance of 0.


class SelfSimilarity(Loss):
    """Difference in how similar the places of a picture are to each other.

    ```
    distance of i and j = 1 - cosine of the angle between columns i and j
    pattern of i and j = distance of i and j / sum over i of (distance of i and j + 1e-5)

    relative:  loss = sum over i and j of |pattern - target pattern| / positions
    strotss:   loss = sum over i and j of |pattern - target pattern| / positions²
    ```

    This is equation 7 of Kolkin, Salavon and Shakhnarovich (2019), "Style Transfer by Relaxed
    Optimal Transport and Self-Similarity". Places that are alike in the content stay alike, but may
    take other colours and textures altogether. The authors have no 1e-5; it is for pictures that
    are alike all over. A column holds the activations of all content layers at one place. The
    places are a grid of at most 1024 over the picture, and finer layers are averaged around each.

    The loss is not a function of sums over positions: it needs the whole picture at once.

    Args:
        normalization: `relative` or `strotss`.

    Raises:
        ConfigError: `normalization` is neither.
    """

    references = ("content",)
    normalizations = ("relative", "strotss")
    additive = False
    most_positions = 1024

    def measure(self, features: tf.Tensor, weights: tf.Tensor) -> Statistics:
        return {"pattern": _pattern(features, position_weights(features, weights))}

    def statistics(self, features: tf.Tensor, weights: tf.Tensor, target: Statistics) -> Statistics:
        each = position_weights(features, weights)
        error = tf.abs(_pattern(features, each) - target["pattern"])
        return {
            "error": tf.reduce_sum(each * each[:, tf.newaxis] * error),
            "positions": tf.reduce_sum(each),
        }

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        del target
        error, positions = statistics["error"], statistics["positions"]
        powers = 1 if self.normalization == "relative" else 2
        return tf.math.divide_no_nan(error, positions**powers)


def _pattern(features: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Returns distances relative to the sum of their column, `(positions, positions)`."""
    columns = unit_columns(features)
    distances = tf.maximum(0.0, 1 - tf.matmul(columns, columns, transpose_b=True))
    sums = tf.reduce_sum(weights[:, tf.newaxis] * (distances + _LEAST_DISTANCE), axis=0)
    return tf.math.divide_no_nan(distances, sums)
