"""The temporal loss of a film."""

from __future__ import annotations

import tensorflow as tf

from nst_tf.losses import Loss, Statistics


class Temporal(Loss):
    """Squared difference from an earlier picture, moved along the optical flow.

    ```
    loss = sum(weights (picture - earlier)²) / values
    ```

    This is equation 7 of Ruder, Dosovitskiy and Brox (2016), "Artistic Style Transfer for Videos".
    The weights are those of the reference: where the flow holds. They do not divide the sum, so a
    small part of the picture that holds counts little.

    Args:
        normalization: `mean`, the formula above.
        reference: name of the earlier picture.
    """

    positional = ("features",)
    normalizations = ("mean",)
    layers = ("image",)

    def __init__(self, normalization: str = "mean", *, reference: str = "previous") -> None:
        super().__init__(normalization)
        self.reference = reference
        self.references = (reference,)

    def statistics(self, features: tf.Tensor, weights: tf.Tensor, target: Statistics) -> Statistics:
        difference = tf.math.squared_difference(features, target["features"])
        return {"error": tf.reduce_sum(weights * difference)}

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        del target
        return statistics["error"] / (3 * statistics["pixels"])
