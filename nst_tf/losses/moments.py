"""The moments style loss."""

from __future__ import annotations

import tensorflow as tf

from nst_tf.losses.gram import weighted_products
from nst_tf.losses.loss import Loss, Statistics, position_count

_LEAST_SHARE = 1e-6  # Above the rounding error of a covariance of 0.


class Moments(Loss):
    """Difference of means and of covariances.

    ```
    relative:  loss = |mean - target mean|² / |target mean|²
                      + sum((covariance - target)²) / (sum(target²) + 1e-6 energy²)
    ```

    These are the moments of equation 6 of Kolkin, Salavon and Shakhnarovich (2019), "Style
    Transfer by Relaxed Optimal Transport and Self-Similarity", without units, and with squares in
    place of absolute values, whose slope jumps at 0. The energy is the sum of the mean squares of
    the target's channels; it prevents a division by 0 for a style of one colour. A Gram matrix is
    the sum of the covariance and the product of the means; here each counts by itself.

    A covariance is a second moment less the product of the means. In a picture of one colour the
    two cancel. So the sums are float64, and the products are those of differences from the mean
    of the picture, or of the tile.

    Args:
        normalization: `relative`.

    Raises:
        ConfigError: `normalization` is anything else.
    """

    references = ("style",)

    def measure(self, features: tf.Tensor, weights: tf.Tensor) -> Statistics:
        return self.statistics(features, weights, {})

    def summary(self, sums: Statistics) -> Statistics:
        return moments(sums)

    def statistics(self, features: tf.Tensor, weights: tf.Tensor, target: Statistics) -> Statistics:
        del target
        positions = position_count(features, weights)
        sums = tf.reduce_sum(weights * features, axis=(0, 1, 2))
        mean = tf.math.divide_no_nan(sums, positions)
        apart = weighted_products(features - tf.stop_gradient(mean), weights)
        positions, mean = _double(positions), _double(mean)
        return {
            "sums": positions * mean,
            "products": _double(apart) + positions * _square(mean),
            "positions": positions,
        }

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        found, wanted = moments(statistics), covariance(target)
        shift, spread = found["mean"] - target["mean"], covariance(found) - wanted
        energy = tf.square(tf.linalg.trace(target["second_moment"]))
        ratio, scale = tf.math.divide_no_nan, _energy(wanted) + _LEAST_SHARE * energy
        loss = ratio(_energy(shift), _energy(target["mean"])) + ratio(_energy(spread), scale)
        return tf.cast(loss, tf.float32)


def moments(sums: Statistics) -> Statistics:
    """Returns mean and second moment, both of which may be averaged over several styles."""
    positions = sums["positions"]
    return {
        "mean": tf.math.divide_no_nan(sums["sums"], positions),
        "second_moment": tf.math.divide_no_nan(sums["products"], positions),
    }


def covariance(found: Statistics) -> tf.Tensor:
    """Returns the covariance, float64, given the mean and the second moment."""
    return found["second_moment"] - _square(found["mean"])


def _double(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(values, tf.float64)


def _square(mean: tf.Tensor) -> tf.Tensor:
    return mean[:, tf.newaxis] * mean


def _energy(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.square(values))
