"""A convolution with fixed weights, whose gradient takes no more memory than it."""

from __future__ import annotations

import functools

import keras
import tensorflow as tf


class FrozenConv2D(keras.layers.Conv2D):
    """Convolution, bias and ReLU of a network that is not trained.

    ```
    outputs = relu(conv(inputs, kernel) + bias)
    gradient = conv(upstream · [outputs > 0], kernel turned by 180°, channels swapped)
    ```

    It is an ordinary `Conv2D` but for the gradient with respect to its inputs. Where
    TensorFlow runs on a CPU without oneDNN, its own kernel for that gradient unrolls all windows
    into a matrix: nine times the activations in memory, at half the speed of the forward
    convolution. The same gradient as a forward convolution (odd kernel, stride 1, zeros around)
    takes neither. oneDNN and GPUs have a good kernel for it, which they keep.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        if not _is_unrolled():
            return super().call(inputs)
        kernel, bias = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias)

        @tf.custom_gradient
        def convolve(inputs: tf.Tensor) -> tuple[tf.Tensor, object]:
            # In one function, so that TensorFlow fuses the three.
            outputs = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(inputs, kernel, 1, "SAME"), bias))

            def gradient(upstream: tf.Tensor) -> tf.Tensor:
                passed = tf.raw_ops.ReluGrad(gradients=upstream, features=outputs)
                turned = tf.transpose(kernel[::-1, ::-1], (0, 1, 3, 2))
                return tf.nn.conv2d(passed, turned, 1, "SAME")

            return outputs, gradient

        return convolve(inputs)


@functools.cache
def _is_unrolled() -> bool:
    """Returns whether TensorFlow would unroll the windows to take the gradient."""
    from tensorflow.python.framework import test_util  # The only place that tells.

    return not (tf.config.list_physical_devices("GPU") or test_util.IsMklEnabled())
