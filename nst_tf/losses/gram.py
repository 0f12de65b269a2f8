"""The Gram matrix style loss."""

from __future__ import annotations

import tensorflow as tf

from nst_tf.losses.loss import Loss, Statistics, position_count


class Gram(Loss):
    """Squared difference of Gram matrices, relative to the energy of the painting's.

    ```
    gram = sum over positions of (features featuresᵀ) / positions
    loss = sum((gram - target)²) / sum(target²)
    ```

    These are equations 3 and 4 of Gatys, Ecker and Bethge (2016), "Image Style Transfer Using
    Convolutional Neural Networks". The matrix is a mean over positions, so that photo and
    painting may differ in size, and the loss is divided by the energy of the target.
    """

    model = "style"

    def target(self, features: tf.Tensor, weights: tf.Tensor) -> Statistics:
        sums = self.statistics(features, weights, {})
        return {"gram": sums["products"] / sums["positions"]}

    def statistics(self, features: tf.Tensor, weights: tf.Tensor, target: Statistics) -> Statistics:
        del target
        return {
            "products": _products(features, weights),
            "positions": position_count(features, weights),
        }

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        gram = statistics["products"] / statistics["positions"]
        error = tf.reduce_sum(tf.math.squared_difference(gram, target["gram"]))
        return tf.math.divide_no_nan(error, tf.reduce_sum(tf.square(target["gram"])))


def _products(features: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Returns the sum over positions of weight · features featuresᵀ, `(channels, channels)`.

    The gradient with respect to the features is their product with one symmetric matrix.
    Autodiff would make it a sum of two products: twice the work, and one more addend of a sum
    in TensorFlow's backward pass whose order, and so its last bit, may vary from run to run.
    """
    channels = features.shape[-1]

    @tf.custom_gradient
    def products(features: tf.Tensor) -> tuple[tf.Tensor, object]:
        flat = tf.reshape(features, (-1, channels))
        weighted = tf.reshape(weights * features, (-1, channels))

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            symmetric = upstream + tf.transpose(upstream)
            return tf.reshape(tf.matmul(weighted, symmetric), tf.shape(features))

        return tf.matmul(weighted, flat, transpose_a=True), gradient

    return products(features)
