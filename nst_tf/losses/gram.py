"""The Gram matrix style loss."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from nst_tf.kernels import autodiff
from nst_tf.losses.loss import Loss, Statistics, position_count


class Gram(Loss):
    """Squared difference of Gram matrices.

    ```
    gram = sum over positions of (features featuresᵀ) / positions
    error = sum((gram - target)²)

    relative:       loss = error / sum(target²)
    mean:           loss = error / channels²
    gatys:          loss = error / (4 channels²)
    johnson:        loss = error / channels⁴
    sums:           loss = error positions² / channels²
    sums_per_value: loss = error positions / channels³
    sums_per_pixel: loss = error positions² / (4 · 3² pixels²)
    ```

    The matrix is equation 3 of Gatys, Ecker and Bethge (2016), "Image Style Transfer Using
    Convolutional Neural Networks", taken as a mean over positions, so that picture and style
    may differ in size. The relative form has no units. The others are published forms, written
    in terms of that mean:

    - `gatys` is equation 4 there, 1 / (4 channels² positions²) times the error of the sums.
    - `johnson` divides the matrix by positions and channels and takes the mean square
      (Johnson, Alahi and Fei-Fei, 2016, section 3.2, with a mean for their sum).
    - `sums` is the mean square of the sums, and `sums_per_value` divides that by the number of
      activations.
    - `sums_per_pixel` compares sums too, but divides by the size of the picture, not of the layer.

    Args:
        normalization: one of the names above.

    Raises:
        ConfigError: `normalization` is none of these.
    """

    references = ("style",)
    normalizations = (
        "relative",
        "mean",
        "gatys",
        "johnson",
        "sums",
        "sums_per_value",
        "sums_per_pixel",
    )

    def measure(self, features: tf.Tensor, weights: tf.Tensor) -> Statistics:
        return self.statistics(features, weights, {})

    def summary(self, sums: Statistics) -> Statistics:
        positions = sums["positions"]
        # A sum over nothing is 0, and so is its mean.
        return {"gram": sums["products"] / tf.where(positions > 0, positions, 1)}

    def statistics(self, features: tf.Tensor, weights: tf.Tensor, target: Statistics) -> Statistics:
        del target
        return {
            "products": weighted_products(features, weights),
            "positions": position_count(features, weights),
        }

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        gram = self.summary(statistics)["gram"]
        # Scaled before squaring: squares of published sums exceed the range of float32.
        scaled = (gram - target["gram"]) * self._root_scale(statistics, target)
        return tf.reduce_sum(tf.square(scaled))

    def _root_scale(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        """Returns the square root of the ratio of loss to error."""
        channels = float(target["gram"].shape[-1])
        positions = statistics["positions"]
        if self.normalization == "relative":
            energy = tf.reduce_sum(tf.square(target["gram"]))
            return tf.sqrt(tf.math.divide_no_nan(1.0, energy))
        return {
            "mean": lambda: 1 / channels,
            "gatys": lambda: 1 / (2 * channels),
            "johnson": lambda: 1 / channels**2,
            "sums": lambda: positions / channels,
            "sums_per_value": lambda: tf.sqrt(positions / channels**3),
            "sums_per_pixel": lambda: positions / (2 * 3 * statistics["pixels"]),
        }[self.normalization]()


def weighted_products(features: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Returns the sum over positions of weight · features featuresᵀ, `(channels, channels)`.

    The gradient with respect to the features is their product with one symmetric matrix.
    Autodiff would make it a sum of two products: twice the work, and one more addend of a sum
    in TensorFlow's backward pass. The order of that sum, and so its last bit, may vary from run
    to run.
    """
    return _products(features, tf.convert_to_tensor(weights, features.dtype))


@autodiff.custom_gradient
def _products(
    features: tf.Tensor, weights: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    channels = features.shape[-1]
    flat = tf.reshape(features, (-1, channels))
    weighted = tf.reshape(weights * features, (-1, channels))

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        symmetric = upstream + tf.transpose(upstream)
        return tf.reshape(tf.matmul(weighted, symmetric), tf.shape(features))

    return tf.matmul(weighted, flat, transpose_a=True), gradient
