"""The relaxed earth mover's distance, a style loss."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from nst_tf.losses.loss import Loss, Statistics, position_weights

_TINY = 1e-12
_FAR = 1e3  # Larger than any cosine or distance.


class RelaxedMatching(Loss):
    """Relaxed earth mover's distance between the places of picture and style, for any cost.

    ```
    forth = mean over i of the least cost of i and any j
    back = mean over j of the least cost of any i and j
    loss = max(forth, back)
    ```

    The loss is not a function of sums over positions: it needs the whole picture at once.
    """

    references = ("style",)
    additive = False
    most_positions = 2048

    @abc.abstractmethod
    def columns(self, features: tf.Tensor) -> tf.Tensor:
        """Returns the values to compare at each place of a grid, `(positions, n)`."""

    @abc.abstractmethod
    def nearness(self, columns: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
        """Returns a number for each pair of places that is largest where the cost is least."""

    @abc.abstractmethod
    def cost(self, columns: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
        """Returns the cost of each column and the other at the same index, `(positions,)`."""

    def measure(self, features: tf.Tensor, weights: tf.Tensor) -> Statistics:
        masses = position_weights(features, weights)
        return {
            "columns": self.columns(features),
            "masses": tf.math.divide_no_nan(masses, tf.reduce_sum(masses)),
        }

    def blend(self, targets: Sequence[Statistics], shares: np.ndarray) -> Statistics:
        """Returns the columns of all styles, each with its share of the weight."""
        masses = [share * each["masses"] for share, each in zip(shares, targets, strict=True)]
        columns = [each["columns"] for each in targets]
        return {"columns": tf.concat(columns, 0), "masses": tf.concat(masses, 0)}

    def statistics(self, features: tf.Tensor, weights: tf.Tensor, target: Statistics) -> Statistics:
        columns, wanted = self.columns(features), target["columns"]
        masses, wanted_masses = position_weights(features, weights), target["masses"]
        near = self.nearness(tf.stop_gradient(columns), wanted)
        nearest = tf.argmax(near - _FAR * _empty(wanted_masses), axis=1)
        nearest_back = tf.argmax(near - _FAR * _empty(masses)[:, tf.newaxis], axis=0)
        there = tf.sign(tf.reduce_sum(masses))  # 0 if no position has a weight.
        back = self.cost(tf.gather(columns, nearest_back), wanted)
        return {
            "forth": _mean(self.cost(columns, tf.gather(wanted, nearest)), masses),
            "back": there * _mean(back, wanted_masses),
        }

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        del target
        return tf.maximum(0.0, tf.maximum(statistics["forth"], statistics["back"]))


class RelaxedEMD(RelaxedMatching):
    """Relaxed earth mover's distance between hypercolumns of picture and style.

    ```
    cost of i and j = 1 - cosine of the angle between column i and target column j
    forth = mean over i of the least cost of i and any j
    back = mean over j of the least cost of any i and j

    relative:  loss = max(forth, back)
    strotss:   loss = max(forth, back) + mean over channels of |mean - target mean|
                      + mean over pairs of channels of |covariance - target covariance|
    ```

    These are equations 3 to 5 of Kolkin, Salavon and Shakhnarovich (2019), "Style Transfer by
    Relaxed Optimal Transport and Self-Similarity", and with `strotss` also their moments, equation
    6, as their program has them. A column holds the activations of all style layers at one place.
    The authors draw 1024 new places for every step. Here the places are a grid of at most 2048 over
    the whole picture, and finer layers are averaged around each place, so that the loss is a
    function of the picture alone, and every pixel counts. Angles ignore the strength of
    activations, which is what the moments are for. `style_loss=remd+moments` has them without
    units, and layer by layer.

    The loss is not a function of sums over positions: it needs the whole picture at once.

    Args:
        normalization: `relative`, which has no units, or `strotss`.

    Raises:
        ConfigError: `normalization` is neither.
    """

    normalizations = ("relative", "strotss")

    def columns(self, features: tf.Tensor) -> tf.Tensor:
        return unit_columns(features)

    def nearness(self, columns: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
        return tf.matmul(columns, others, transpose_b=True)

    def cost(self, columns: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
        return 1 - tf.reduce_sum(columns * others, axis=1)

    def measure(self, features: tf.Tensor, weights: tf.Tensor) -> Statistics:
        found = super().measure(features, weights)
        if self.normalization == "relative":
            return found
        return {**found, **_moments(features, found["masses"])}

    def blend(self, targets: Sequence[Statistics], shares: np.ndarray) -> Statistics:
        """Returns the columns of all styles, and the moments of all columns."""
        found = super().blend(targets, shares)
        if self.normalization == "relative":
            return found
        means = [each["mean"] for each in targets]
        mean = sum(share * each for share, each in zip(shares, means, strict=True))
        spreads = [each["covariance"] + _product(each["mean"] - mean) for each in targets]
        covariance = sum(share * each for share, each in zip(shares, spreads, strict=True))
        return {**found, "mean": mean, "covariance": covariance}

    def statistics(self, features: tf.Tensor, weights: tf.Tensor, target: Statistics) -> Statistics:
        found = super().statistics(features, weights, target)
        if self.normalization == "relative":
            return found
        masses = position_weights(features, weights)
        total = tf.reduce_sum(masses)
        own = _moments(features, tf.math.divide_no_nan(masses, total))
        apart = [tf.reduce_mean(tf.abs(own[name] - target[name])) for name in own]
        return {**found, "moments": tf.sign(total) * tf.add_n(apart)}

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        return super().value(statistics, target) + statistics.get("moments", 0.0)


def unit_columns(features: tf.Tensor) -> tf.Tensor:
    """Returns the columns of a grid with length 1, `(positions, channels)`."""
    flat = flat_columns(features)
    return flat * tf.math.rsqrt(tf.reduce_sum(tf.square(flat), axis=1, keepdims=True) + _TINY)


def flat_columns(features: tf.Tensor) -> tf.Tensor:
    """Returns the columns of a grid, `(positions, channels)`."""
    return tf.reshape(features, (-1, features.shape[-1]))


def _moments(features: tf.Tensor, shares: tf.Tensor) -> Statistics:
    """Returns mean and covariance of the columns, given each one's share of the weight."""
    flat, shares = flat_columns(features), shares[:, tf.newaxis]
    mean = tf.reduce_sum(shares * flat, axis=0)
    apart = flat - mean
    return {"mean": mean, "covariance": tf.matmul(apart, shares * apart, transpose_a=True)}


def _product(values: tf.Tensor) -> tf.Tensor:
    return values[:, tf.newaxis] * values


def _empty(masses: tf.Tensor) -> tf.Tensor:
    """Returns 1 where there is no weight, and 0 elsewhere."""
    return tf.cast(masses <= 0, masses.dtype)


def _mean(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    return tf.math.divide_no_nan(tf.reduce_sum(weights * values), tf.reduce_sum(weights))
