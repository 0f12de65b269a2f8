"""The Wasserstein-2 style loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from nst_tf.kernels import autodiff
from nst_tf.losses.loss import Statistics
from nst_tf.losses.moments import Moments, covariance, moments


class Wasserstein2(Moments):
    """Squared Wasserstein-2 distance of the activations, as if they were normally distributed.

    ```
    distance = |mean - target mean|² + trace(C + T - 2 (T^½ C T^½)^½)

    relative:  loss = distance / mean energy of the target's positions
    mean:      loss = distance / channels
    ```

    C and T are the covariances of the channels over the positions of picture and style, plus
    `epsilon` times the identity. This is the distance between Gaussians of Dowson and Landau
    (1982), equation 4. Unlike Gram matrices it compares means by themselves, which brings over
    the colours of the style. `epsilon` is in squared activations; in the relative form it is
    relative to the mean square of the target's activations.

    Args:
        normalization: `relative` or `mean`.
        epsilon: variance that keeps the gradient of the square root bounded.

    Raises:
        ConfigError: `normalization` is neither.
    """

    normalizations = ("relative", "mean")

    def __init__(self, normalization: str = "relative", epsilon: float = 1e-4) -> None:
        super().__init__(normalization)
        self.epsilon = epsilon

    def summary(self, sums: Statistics) -> Statistics:
        return self._with_root(super().summary(sums))

    def blend(self, targets: Sequence[Statistics], shares: np.ndarray) -> Statistics:
        return self._with_root(super().blend(targets, shares))

    def _with_root(self, target: Statistics) -> Statistics:
        """Returns a target with the root R of its covariance R Rᵀ, so that no step computes it."""
        values, vectors = tf.linalg.eigh(covariance(target))
        ridge = self.epsilon * self._unit(target)
        # Rounding leaves eigenvalues of 0 on either side of it.
        root = vectors * tf.sqrt(tf.maximum(values, 0.0) + ridge)
        return {**target, "root": root}

    def _unit(self, target: Statistics) -> tf.Tensor:
        """Returns the unit of squared activations."""
        if self.normalization == "mean":
            return tf.constant(1.0, tf.float64)
        return tf.linalg.trace(target["second_moment"]) / target["mean"].shape[-1]

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        found, unit, root = moments(statistics), self._unit(target), target["root"]
        channels = root.shape[-1]
        ridge = self.epsilon * unit
        shift = tf.reduce_sum(tf.math.squared_difference(found["mean"], target["mean"]))
        spread = covariance(found) + ridge * tf.eye(channels, dtype=tf.float64)
        distance = shift + tf.maximum(_covariance_distance(spread, root, ridge), 0.0)
        return tf.cast(tf.math.divide_no_nan(distance, unit * channels), tf.float32)


def _covariance_distance(found: tf.Tensor, root: tf.Tensor, least: tf.Tensor) -> tf.Tensor:
    """Returns trace(C + T - 2 (T^½ C T^½)^½) for two covariances C and T, float64.

    With T = R Rᵀ, the matrix Rᵀ C R has the eigenvalues of T^½ C T^½. The gradient with respect
    to C is the identity less R (Rᵀ C R)^-½ Rᵀ, so that no root is differentiated.

    Args:
        found: the covariance C.
        root: the root R of T.
        least: lower bound of the eigenvalues of C and T, except for rounding.
    """
    return tf.reduce_sum(tf.square(root)) + _spread(found, root, least)


@autodiff.custom_gradient
def _spread(
    found: tf.Tensor, root: tf.Tensor, least: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Returns trace(C - 2 (Rᵀ C R)^½), given the arguments of `_covariance_distance`."""
    product = tf.matmul(root, found @ root, transpose_a=True)
    sound = tf.math.is_finite(tf.reduce_sum(product))  # Otherwise there are no eigenvalues.
    product = tf.where(sound, product + tf.transpose(product), 0.0) / 2
    values, vectors = tf.linalg.eigh(product)
    values = tf.maximum(values, tf.square(least))

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        sides = root @ vectors
        inverse = tf.math.divide_no_nan(tf.constant(1.0, values.dtype), tf.sqrt(values))
        slope = tf.matmul(sides * inverse, sides, transpose_b=True)
        return upstream * (tf.eye(root.shape[-1], dtype=values.dtype) - slope)

    return tf.linalg.trace(found) - 2 * tf.reduce_sum(tf.sqrt(values)), gradient
