"""A convolution with fixed weights, by the fastest kernels that the machine has for it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from nst_tf import backend
from nst_tf.backbones.layer import Layer

_DEEP = 256  # Input channels from which on oneDNN with AVX-512 takes gradients faster.


class FrozenConv2D(Layer, keras.layers.Conv2D):
    """Convolution, bias and ReLU of a network that is not trained.

    ```
    outputs = relu(conv(inputs, kernel) + bias)
    gradient = conv(upstream · [outputs > 0], turned)
    turned = kernel turned by 180°, its channels swapped
    ```

    It is an ordinary `Conv2D` but for the kernels that compute it on a CPU. With an odd kernel,
    stride 1 and zeros around, a convolution is the gradient of the one with the turned kernel, so
    each can stand for the other:

    - TensorFlow's own kernel for the gradient unrolls all windows into a matrix: nine times the
      activations in memory, at half the speed of the convolution. Both are convolutions.
    - oneDNN without AVX-512 takes gradients two to five times as fast as convolutions of 64 to 256
      channels. Both are gradients.
    - oneDNN with AVX-512 takes gradients 1.2 to 1.6 times as fast as convolutions where there are
      256 channels and more, and about as fast below. Deep layers are gradients both ways.
    - On other processors, and on GPUs, nothing is changed.

    Attributes:
        padding_mode: what is around the input: `zeros`, or an entry of `PADDINGS`.
    """

    padding_mode = "zeros"

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        around = self.kernel_size[0] // 2
        if self.padding_mode == "zeros" or not around:
            return self._convolved(inputs)
        # The rows and columns that see zeros are those that are cut off again.
        outputs = self._convolved(PADDINGS[self.padding_mode](inputs, around))
        return outputs[:, around:-around, around:-around]

    def _convolved(self, inputs: tf.Tensor) -> tf.Tensor:
        linear = _linear_kernel()
        if linear is None:
            return super().call(inputs)
        (kernel, turned), bias = self._kernels(), tf.convert_to_tensor(self.bias)

        @tf.custom_gradient
        def convolve(inputs: tf.Tensor) -> tuple[tf.Tensor, object]:
            # In one function, so that TensorFlow fuses the three if it can.
            outputs = tf.nn.relu(tf.nn.bias_add(linear(inputs, kernel, turned), bias))

            def gradient(upstream: tf.Tensor) -> tf.Tensor:
                passed = tf.raw_ops.ReluGrad(gradients=upstream, features=outputs)
                return linear(passed, turned, kernel)

            return outputs, gradient

        return convolve(inputs)

    def _kernels(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the kernel, and the turned one, in the precision of the layer."""
        kernel = tf.cast(tf.convert_to_tensor(self.kernel), self.compute_dtype)
        return kernel, tf.transpose(tf.reverse(kernel, (0, 1)), (0, 1, 3, 2))  # A slice is slow.

    def switches(self, inputs: tf.Tensor, outputs: tf.Tensor) -> Sequence[tf.Tensor]:
        """Returns where the ReLU is open."""
        del inputs
        return [outputs > 0]

    def pull_back(
        self, upstream: tf.Tensor, switches: Sequence[tf.Tensor], size: tf.Tensor
    ) -> tf.Tensor:
        """Returns the gradient with respect to the inputs, given where the ReLU is open."""
        passed = upstream * tf.cast(switches[0], upstream.dtype)
        linear, (kernel, turned) = _linear_kernel() or _as_convolution, self._kernels()
        around = self.kernel_size[0] // 2
        if self.padding_mode == "zeros" or not around:
            return linear(passed, turned, kernel)
        whole = tf.pad(passed, ((0, 0), (around, around), (around, around), (0, 0)))
        inputs = tf.zeros(tf.concat([[1], size, kernel.shape[2:3]], axis=0), upstream.dtype)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            padded = PADDINGS[self.padding_mode](inputs, around)
        return tape.gradient(padded, inputs, linear(whole, turned, kernel))


def _padded(mode: str) -> Callable[[tf.Tensor, int], tf.Tensor]:
    def padded(features: tf.Tensor, around: int) -> tf.Tensor:
        return tf.pad(features, ((0, 0), (around, around), (around, around), (0, 0)), mode)

    return padded


def _wrapped(features: tf.Tensor, around: int) -> tf.Tensor:
    # In two steps, since gradients of three uses are added up in no fixed order.
    longer = tf.concat([features, features[:, :around]], axis=1)
    taller = tf.concat([longer[:, -2 * around : -around], longer], axis=1)
    longer = tf.concat([taller, taller[:, :, :around]], axis=2)
    return tf.concat([longer[:, :, -2 * around : -around], longer], axis=2)


PADDINGS: dict[str, Callable[[tf.Tensor, int], tf.Tensor]] = {
    "reflect": _padded("REFLECT"),
    "replicate": _padded("SYMMETRIC"),  # Which is the same for a single row.
    "circular": _wrapped,
}
"""What can be around a layer instead of zeros: its mirror image, its border, its other side."""

_Linear = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""Convolves inputs with a kernel, given the kernel and the turned one."""


@functools.cache
def _linear_kernel() -> _Linear | None:
    """Returns what convolves fastest on this machine, both ways, or None for the usual."""
    if tf.config.list_physical_devices("GPU"):
        return None
    if not reorders():
        return _as_convolution
    return {"avx2": _as_gradient, "avx512f": _by_channels}.get(backend.vector_instructions())


def reorders() -> bool:
    """Returns whether convolutions copy what they take and give into a layout of their own.

    It is oneDNN that does so, on CPUs.
    """
    from tensorflow.python.framework import test_util  # The only place that tells of oneDNN.

    return bool(test_util.IsMklEnabled()) and not tf.config.list_physical_devices("GPU")


def _as_convolution(inputs: tf.Tensor, kernel: tf.Tensor, turned: tf.Tensor) -> tf.Tensor:
    del turned
    return tf.nn.conv2d(inputs, kernel, 1, "SAME")


def _as_gradient(inputs: tf.Tensor, kernel: tf.Tensor, turned: tf.Tensor) -> tf.Tensor:
    shape = tf.concat([tf.shape(inputs)[:3], kernel.shape[-1:]], axis=0)
    outputs = tf.raw_ops.Conv2DBackpropInput(
        input_sizes=shape, filter=turned, out_backprop=inputs, strides=[1] * 4, padding="SAME"
    )
    outputs.set_shape([*inputs.shape[:3], kernel.shape[-1]])
    return outputs


def _by_channels(inputs: tf.Tensor, kernel: tf.Tensor, turned: tf.Tensor) -> tf.Tensor:
    deep = kernel.shape[2] >= _DEEP
    return (_as_gradient if deep else _as_convolution)(inputs, kernel, turned)
