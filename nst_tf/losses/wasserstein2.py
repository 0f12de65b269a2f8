"""The Wasserstein-2 style loss."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from nst_tf import autodiff
from nst_tf.losses.loss import Statistics
from nst_tf.losses.moments import Moments, covariance, moments

_TINY = 1e-20  # For the covariance of a black painting.


class Wasserstein2(Moments):
    """Squared Wasserstein-2 distance of activations, both taken for normal distributions.

    ```
    distance = |mean - target mean|² + trace(C + T - 2 (T^½ C T^½)^½)

    relative:  loss = distance / mean energy of the target's positions
    mean:      loss = distance / channels
    ```

    C and T are the covariances of the channels over the positions of picture and painting, to
    which `epsilon` times the identity is added. This is the distance between Gaussians of
    Dowson and Landau (1982), equation 4. Unlike Gram matrices it compares means by themselves,
    which brings the painting's colours over. `epsilon` is in squared activations; in the
    relative form it is relative to the mean square of the target's activations.

    Args:
        normalization: `relative` or `mean`.
        epsilon: keeps the gradient of the square root bounded.

    Raises:
        ConfigError: `normalization` is neither.
    """

    normalizations = ("relative", "mean")

    def __init__(self, normalization: str = "relative", epsilon: float = 1e-4) -> None:
        super().__init__(normalization)
        self.epsilon = epsilon

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        found = moments(statistics)
        channels = target["mean"].shape[-1]
        unit = tf.constant(1.0)
        if self.normalization == "relative":
            unit = tf.linalg.trace(target["second_moment"]) / channels
        shift = tf.reduce_sum(tf.math.squared_difference(found["mean"], target["mean"]))
        ridge = tf.cast(self.epsilon * unit, tf.float64) * tf.eye(channels, dtype=tf.float64)
        spread = _covariance_distance(covariance(found) + ridge, covariance(target) + ridge)
        distance = shift + tf.cast(tf.maximum(spread, 0.0), tf.float32)
        return tf.math.divide_no_nan(distance, unit * channels)


def _covariance_distance(found: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Returns trace(C + T - 2 (T^½ C T^½)^½) for covariances C, found, and T in float64.

    With T = L Lᵀ, its Cholesky factors, Lᵀ C L has the eigenvalues of T^½ C T^½, so that no root of
    T is needed. The gradient with respect to C is the identity less L (Lᵀ C L)^-½ Lᵀ, so that none
    need be differentiated either.
    """
    size = tf.shape(target)[0]
    factor = tf.linalg.cholesky(target + _TINY * tf.eye(size, dtype=tf.float64))
    return tf.linalg.trace(target) + _spread(found, factor)


@autodiff.custom_gradient
def _spread(
    found: tf.Tensor, factor: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Returns trace(C - 2 (Lᵀ C L)^½), given C and L."""
    product = tf.matmul(factor, found @ factor, transpose_a=True)
    values, vectors = tf.linalg.eigh(0.5 * (product + tf.transpose(product)))
    values = tf.maximum(values, 0.0)

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        inverse = tf.where(values > 0, tf.math.rsqrt(tf.maximum(values, 1e-300)), 0.0)
        sides = factor @ vectors
        slope = tf.matmul(sides * inverse, sides, transpose_b=True)
        return upstream * (tf.eye(tf.shape(found)[0], dtype=tf.float64) - slope)

    return tf.linalg.trace(found) - 2 * tf.reduce_sum(tf.sqrt(values)), gradient
