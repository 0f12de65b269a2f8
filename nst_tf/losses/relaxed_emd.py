"""The relaxed earth mover's distance, a style loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from nst_tf.losses.loss import Loss, Statistics, position_weights

_TINY = 1e-12
_FAR = 1e3  # Larger than any cosine.


class RelaxedEMD(Loss):
    """Relaxed earth mover's distance between hypercolumns of picture and style.

    ```
    cost of i and j = 1 - cosine of the angle between column i and target column j
    forth = mean over i of the least cost of i and any j
    back = mean over j of the least cost of any i and j
    loss = max(forth, back)
    ```

    These are equations 3 to 5 of Kolkin, Salavon and Shakhnarovich (2019), "Style Transfer by
    Relaxed Optimal Transport and Self-Similarity". A column holds the activations of all style
    layers at one place. The authors draw 1024 new places for every step. Here the places are a
    grid of at most 2048 over the whole picture, and finer layers are averaged around each place, so
    that the loss is a function of the picture alone, and every pixel counts. Angles ignore the
    strength of activations, so the authors add `moments`: `style_loss=remd+moments`.

    The loss is not a function of sums over positions: it needs the whole picture at once.

    Args:
        normalization: `relative`, the formula above, which has no units.

    Raises:
        ConfigError: `normalization` is anything else.
    """

    references = ("style",)
    additive = False
    most_positions = 2048

    def measure(self, features: tf.Tensor, weights: tf.Tensor) -> Statistics:
        masses = position_weights(features, weights)
        return {
            "columns": unit_columns(features),
            "masses": tf.math.divide_no_nan(masses, tf.reduce_sum(masses)),
        }

    def blend(self, targets: Sequence[Statistics], shares: np.ndarray) -> Statistics:
        """Returns the columns of all styles, each with its share of the weight."""
        masses = [share * each["masses"] for share, each in zip(shares, targets, strict=True)]
        columns = [each["columns"] for each in targets]
        return {"columns": tf.concat(columns, 0), "masses": tf.concat(masses, 0)}

    def statistics(self, features: tf.Tensor, weights: tf.Tensor, target: Statistics) -> Statistics:
        columns, wanted = unit_columns(features), target["columns"]
        masses, wanted_masses = position_weights(features, weights), target["masses"]
        cosines = tf.matmul(tf.stop_gradient(columns), wanted, transpose_b=True)
        nearest = tf.argmax(cosines - _FAR * _empty(wanted_masses), axis=1)
        nearest_back = tf.argmax(cosines - _FAR * _empty(masses)[:, tf.newaxis], axis=0)
        forth = columns * tf.gather(wanted, nearest)
        back = tf.gather(columns, nearest_back) * wanted
        there = tf.sign(tf.reduce_sum(masses))  # 0 if no position has a weight.
        return {
            "forth": _mean(1 - tf.reduce_sum(forth, axis=1), masses),
            "back": there * _mean(1 - tf.reduce_sum(back, axis=1), wanted_masses),
        }

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        del target
        return tf.maximum(0.0, tf.maximum(statistics["forth"], statistics["back"]))


def unit_columns(features: tf.Tensor) -> tf.Tensor:
    """Returns the columns of a grid with length 1, `(positions, channels)`."""
    flat = tf.reshape(features, (-1, features.shape[-1]))
    return flat * tf.math.rsqrt(tf.reduce_sum(tf.square(flat), axis=1, keepdims=True) + _TINY)


def _empty(masses: tf.Tensor) -> tf.Tensor:
    """Returns 1 where there is no weight, and 0 elsewhere."""
    return tf.cast(masses <= 0, masses.dtype)


def _mean(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    return tf.math.divide_no_nan(tf.reduce_sum(weights * values), tf.reduce_sum(weights))
