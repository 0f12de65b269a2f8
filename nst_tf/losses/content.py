"""The content loss."""

from __future__ import annotations

import tensorflow as tf

from nst_tf.losses.loss import Loss, Statistics, position_count


class Content(Loss):
    """Squared difference of activations.

    ```
    error = sum((features - target)²)

    relative:  loss = error / sum(target²)
    mean:      loss = error / values
    sum:       loss = error
    gatys:     loss = error / 2
    ```

    The last is equation 1 of Gatys, Ecker and Bethge (2016), "Image Style Transfer Using
    Convolutional Neural Networks". The relative form has no units: 1 is the loss of a picture
    without activations.

    Args:
        normalization: `relative`, `mean`, `sum` or `gatys`.

    Raises:
        ConfigError: `normalization` is none of these.
    """

    references = ("content",)
    positional = ("features",)
    normalizations = ("relative", "mean", "sum", "gatys")

    def measure(self, features: tf.Tensor, weights: tf.Tensor) -> Statistics:
        return {"energy": tf.reduce_sum(weights * tf.square(self.response(features)))}

    def statistics(self, features: tf.Tensor, weights: tf.Tensor, target: Statistics) -> Statistics:
        response = self.response(features)
        difference = tf.math.squared_difference(response, target["features"])
        values = position_count(response, weights) * response.shape[-1]
        return {"error": tf.reduce_sum(weights * difference), "values": values}

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        error = statistics["error"]
        if self.normalization == "relative":
            return tf.math.divide_no_nan(error, target["energy"])
        if self.normalization == "mean":
            return tf.math.divide_no_nan(error, statistics["values"])
        return 0.5 * error if self.normalization == "gatys" else error
