"""The content loss."""

from __future__ import annotations

import tensorflow as tf

from nst_tf.losses.loss import Loss, Statistics


class Content(Loss):
    """Squared difference of activations, relative to the energy of the photo's.

    ```
    loss = sum((features - target)²) / sum(target²)
    ```

    This is equation 1 of Gatys, Ecker and Bethge (2016), "Image Style Transfer Using
    Convolutional Neural Networks", divided by the energy of the target, so that 1 is the loss
    of a picture without any activation.
    """

    model = "content"

    def target(self, features: tf.Tensor, weights: tf.Tensor) -> Statistics:
        return {"features": features, "energy": tf.reduce_sum(weights * tf.square(features))}

    def statistics(self, features: tf.Tensor, weights: tf.Tensor, target: Statistics) -> Statistics:
        difference = tf.math.squared_difference(features, target["features"])
        return {"error": tf.reduce_sum(weights * difference)}

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        return tf.math.divide_no_nan(statistics["error"], target["energy"])
