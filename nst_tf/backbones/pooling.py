"""Poolings whose gradient does not need their inputs."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from nst_tf.backbones.layer import Layer


class FrozenAveragePooling2D(Layer, keras.layers.AveragePooling2D):
    """Average pooling with its backward pass."""

    def backward(
        self, upstream: tf.Tensor, switches: Sequence[tf.Tensor], size: tf.Tensor
    ) -> tf.Tensor:
        del switches
        return tf.raw_ops.AvgPoolGrad(
            orig_input_shape=tf.concat([[1], size, upstream.shape[-1:]], axis=0),
            grad=upstream,
            **_windows(self),
        )


class FrozenMaxPooling2D(Layer, keras.layers.MaxPooling2D):
    """Max pooling with its backward pass."""

    def switches(self, inputs: tf.Tensor, outputs: tf.Tensor) -> Sequence[tf.Tensor]:
        largest = tf.raw_ops.MaxPoolGrad(
            orig_input=inputs, orig_output=outputs, grad=tf.ones_like(outputs), **_windows(self)
        )
        return [largest > 0]

    def backward(
        self, upstream: tf.Tensor, switches: Sequence[tf.Tensor], size: tf.Tensor
    ) -> tf.Tensor:
        rows, columns = self.pool_size
        spread = tf.repeat(tf.repeat(upstream, rows, axis=1), columns, axis=2)
        left = size - tf.shape(spread)[1:3]  # Positions that no window reaches.
        spread = tf.pad(spread, ((0, 0), (0, left[0]), (0, left[1]), (0, 0)))
        return spread * tf.cast(switches[0], spread.dtype)


def _windows(layer: keras.layers.Layer) -> dict[str, object]:
    """Returns the windows of a pooling, as arguments of TensorFlow's operations."""
    return {
        "ksize": [1, *layer.pool_size, 1],
        "strides": [1, *layer.strides, 1],
        "padding": layer.padding.upper(),
    }
