"""The interface of a layer with a backward pass of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


class Layer:
    """Gives a Keras layer a gradient that needs neither its inputs nor its outputs.

    As weights are fixed, the gradient depends only on which values it passes through: the layer's
    switches.
    """

    name: str
    __call__: Any  # From Keras.

    def switches(self, inputs: tf.Tensor, outputs: tf.Tensor) -> Sequence[tf.Tensor]:
        """Returns which values the gradient passes through, bool, or nothing if it passes all."""
        del inputs, outputs
        return []

    def backward(
        self, upstream: tf.Tensor, switches: Sequence[tf.Tensor], size: tf.Tensor
    ) -> tf.Tensor:
        """Returns the gradient with respect to the inputs.

        Args:
            upstream: the gradient with respect to the outputs.
            switches: result of `switches`.
            size: height and width of the inputs, int32.
        """
        raise NotImplementedError
