"""A convolution layer with fixed weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nst_tf.backbones.layer import Layer
from nst_tf.kernels import convolution as kernels


class FrozenConv2D(Layer, keras.layers.Conv2D):
    """Convolution, bias and ReLU of a frozen network.

    ```
    outputs = relu(conv(inputs, kernel) + bias)
    gradient = conv(upstream · [outputs > 0], turned)
    turned = kernel turned by 180°, its channels swapped
    ```

    It is an ordinary `Conv2D` except for its kernels on a CPU. Within `minimal_filtering` they are
    those of `winograd`, where these fit. Otherwise, with an odd kernel, stride 1 and zero padding,
    a convolution is the gradient of the convolution with the turned kernel, so that each can
    replace the other:

    - TensorFlow's own kernel for the gradient unrolls all windows into a matrix: nine times the
      activations in memory, at half the speed of the convolution. There both the forward and the
      backward pass are convolutions.
    - oneDNN without AVX-512 computes gradients two to five times as fast as convolutions of 64 to
      256 channels. There both passes are gradients.
    - oneDNN with AVX-512 computes gradients 1.2 to 1.6 times as fast as convolutions of 256
      channels and more, and about as fast below. There both passes of deep layers are gradients.
    - On other processors, and on GPUs, nothing changes.

    Attributes:
        padding_mode: padding of the input: `zeros`, or a key of `PADDINGS`.
    """

    padding_mode = "zeros"

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._spectrum = kernels.Spectrum()

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Sets kernel and bias, as in Keras."""
        super().set_weights(weights)
        self._spectrum.forget()

    def load_own_variables(self, store: Any) -> None:
        """Sets kernel and bias from a file, as in Keras."""
        super().load_own_variables(store)
        self._spectrum.forget()

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        around = self.kernel_size[0] // 2
        if self.padding_mode == "zeros" or not around:
            return self._convolved(inputs)
        # The rows and columns that see zeros are cut off again.
        outputs = self._convolved(kernels.PADDINGS[self.padding_mode](inputs, around))
        return outputs[:, around:-around, around:-around]

    def _convolved(self, inputs: tf.Tensor) -> tf.Tensor:
        linear = kernels.linear_kernel()
        if linear is None:
            return super().call(inputs)
        kernel, bias = self._weights()
        if self._filters_minimally():
            return kernels.filtered(inputs, kernel, bias, self._spectrum.number)
        return kernels.with_bias_and_relu(linear)(inputs, kernel, bias)

    def _weights(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns kernel and bias in the precision of the layer."""
        kernel, bias = (
            tf.cast(tf.convert_to_tensor(each), self.compute_dtype)
            for each in (self.kernel, self.bias)
        )
        return kernel, bias

    def _input_gradient(self, upstream: tf.Tensor) -> tf.Tensor:
        """Returns the gradient of the inputs, given that of the values before the ReLU."""
        kernel, _ = self._weights()
        if self._filters_minimally():
            nothing = tf.zeros(0)
            return kernels.fill(
                upstream, kernel, nothing, nothing, self._spectrum.number, turned=True
            )
        linear = kernels.linear_kernel() or kernels.as_convolution
        return linear(upstream, kernels.turned_kernel(kernel), kernel)

    def _filters_minimally(self) -> bool:
        """Returns whether `winograd` computes this layer."""
        wanted = kernels.wants_minimal_filtering() and kernels.filters_minimally(self.compute_dtype)
        return wanted and kernels.minimal_filters().fits(self.kernel.shape)

    def switches(self, inputs: tf.Tensor, outputs: tf.Tensor) -> Sequence[tf.Tensor]:
        """Returns where the ReLU is open."""
        del inputs
        return [outputs > 0]

    def backward(
        self, upstream: tf.Tensor, switches: Sequence[tf.Tensor], size: tf.Tensor
    ) -> tf.Tensor:
        """Returns the gradient with respect to the inputs, given where the ReLU is open."""
        passed = upstream * tf.cast(switches[0], upstream.dtype)
        around = self.kernel_size[0] // 2
        if self.padding_mode == "zeros" or not around:
            return self._input_gradient(passed)
        whole = tf.pad(passed, ((0, 0), (around, around), (around, around), (0, 0)))
        inputs = tf.zeros(tf.concat([[1], size, self.kernel.shape[2:3]], axis=0), upstream.dtype)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            padded = kernels.PADDINGS[self.padding_mode](inputs, around)
        return tape.gradient(padded, inputs, self._input_gradient(whole))
