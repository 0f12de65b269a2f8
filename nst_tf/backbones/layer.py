"""The interface of a layer with a backward pass of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


class Layer:
    """Makes a Keras layer one whose gradient can be had without its inputs and outputs.

    As weights are fixed, all that a gradient depends on is which values it passes through: the
    layer's switches.
    """

    name: str
    __call__: Any  # Keras has it.

    def switches(self, inputs: tf.Tensor, outputs: tf.Tensor) -> Sequence[tf.Tensor]:
        """Returns which values the gradient goes through, bool, or nothing if it is all."""
        del inputs, outputs
        return []

    def backward(
        self, upstream: tf.Tensor, switches: Sequence[tf.Tensor], size: tf.Tensor
    ) -> tf.Tensor:
        """Returns the gradient with respect to the inputs.

        Args:
            upstream: the gradient with respect to the outputs.
            switches: what `switches` returned.
            size: int32, height and width of the inputs.
        """
        raise NotImplementedError
