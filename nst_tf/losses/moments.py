"""The moments style loss."""

from __future__ import annotations

import tensorflow as tf

from nst_tf.losses.gram import weighted_products
from nst_tf.losses.loss import Loss, Statistics, position_count

_LEAST_SHARE = 1e-6  # Beyond what rounding makes of a covariance of nothing.


class Moments(Loss):
    """Difference of means and of covariances.

    ```
    relative:  loss = |mean - target mean|² / |target mean|²
                      + sum((covariance - target)²) / (sum(target²) + 1e-6 energy²)
    ```

    The moments of equation 6 of Kolkin, Salavon and Shakhnarovich (2019), "Style Transfer by
    Relaxed Optimal Transport and Self-Similarity", with squares in place of their absolute
    values, whose slope jumps where a difference is none, and without units. The energy is the sum
    of the mean squares of the target's channels; it keeps a painting of one colour from dividing
    by nothing. A Gram matrix is the covariance and the product of the means in one; here each
    counts by itself.

    Args:
        normalization: `relative`.

    Raises:
        ConfigError: `normalization` is another.
    """

    model = "style"

    def measure(self, features: tf.Tensor, weights: tf.Tensor) -> Statistics:
        return self.statistics(features, weights, {})

    def summary(self, sums: Statistics) -> Statistics:
        return moments(sums)

    def statistics(self, features: tf.Tensor, weights: tf.Tensor, target: Statistics) -> Statistics:
        del target
        return {
            "sums": tf.reduce_sum(weights * features, axis=(0, 1, 2)),
            "products": weighted_products(features, weights),
            "positions": position_count(features, weights),
        }

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        found = moments(statistics)
        shift = found["mean"] - target["mean"]
        wanted = covariance(target)
        spread = tf.cast(covariance(found) - wanted, tf.float32)
        energy = tf.square(tf.linalg.trace(target["second_moment"]))
        scale = _energy(tf.cast(wanted, tf.float32)) + _LEAST_SHARE * energy
        ratio = tf.math.divide_no_nan
        return ratio(_energy(shift), _energy(target["mean"])) + ratio(_energy(spread), scale)


def moments(sums: Statistics) -> Statistics:
    """Returns mean and second moment, which average over several paintings as they should."""
    positions = sums["positions"]
    return {
        "mean": tf.math.divide_no_nan(sums["sums"], positions),
        "second_moment": tf.math.divide_no_nan(sums["products"], positions),
    }


def covariance(found: Statistics) -> tf.Tensor:
    """Returns the covariance in float64, in which little is lost when energies are subtracted."""
    mean = tf.cast(found["mean"], tf.float64)
    return tf.cast(found["second_moment"], tf.float64) - mean[:, tf.newaxis] * mean[tf.newaxis]


def _energy(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.square(values))
