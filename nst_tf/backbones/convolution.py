"""A convolution with fixed weights, by the fastest kernels that the machine has for it."""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nst_tf import backend
from nst_tf.backbones.layer import Layer

_DEEP = 256  # Input channels from which on oneDNN with AVX-512 takes gradients faster.

_FILTERS_MINIMALLY = contextvars.ContextVar("filters minimally", default=False)


@contextlib.contextmanager
def minimal_filtering(wanted: bool = True) -> Iterator[None]:
    """Has graphs that are traced here compute convolutions with a quarter of the multiplications.

    It takes less than half the time on a CPU (`winograd`). Such a graph calls functions of this
    process, so it can be neither saved nor compiled by XLA. On a GPU, in other precisions than
    float32 and without Numba nothing is changed.

    Args:
        wanted: whether to do so; False undoes it within.
    """
    token = _FILTERS_MINIMALLY.set(wanted)
    try:
        yield
    finally:
        _FILTERS_MINIMALLY.reset(token)


class FrozenConv2D(Layer, keras.layers.Conv2D):
    """Convolution, bias and ReLU of a network that is not trained.

    ```
    outputs = relu(conv(inputs, kernel) + bias)
    gradient = conv(upstream · [outputs > 0], turned)
    turned = kernel turned by 180°, its channels swapped
    ```

    It is an ordinary `Conv2D` but for the kernels that compute it on a CPU. Within
    `minimal_filtering` those of `winograd` do where they fit. Else, with an odd kernel,
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
    _spectrum: np.ndarray | None = None

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Sets kernel and bias, as of Keras."""
        super().set_weights(weights)
        self._spectrum = None

    def load_own_variables(self, store: Any) -> None:
        """Sets kernel and bias from a file, as of Keras."""
        super().load_own_variables(store)
        self._spectrum = None

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        around = self.kernel_size[0] // 2
        if self.padding_mode == "zeros" or not around:
            return self._convolved(inputs)
        # The rows and columns that see zeros are those that are cut off again.
        outputs = self._convolved(PADDINGS[self.padding_mode](inputs, around))
        return outputs[:, around:-around, around:-around]

    def _convolved(self, inputs: tf.Tensor) -> tf.Tensor:
        if _linear_kernel() is None:
            return super().call(inputs)
        forth, back = self._ways()

        @tf.custom_gradient
        def convolve(inputs: tf.Tensor) -> tuple[tf.Tensor, object]:
            outputs = forth(inputs)
            return outputs, lambda upstream: back(upstream, outputs)

        return convolve(inputs)

    def _ways(self) -> tuple[Callable[..., tf.Tensor], Callable[..., tf.Tensor]]:
        """Returns functions of tensors: the way forth, and the way back.

        The way back takes what is upstream of the ReLU and, where that is behind it, the outputs.
        """
        kernel, bias = (
            tf.cast(tf.convert_to_tensor(each), self.compute_dtype)
            for each in (self.kernel, self.bias)
        )
        if self._filters_minimally():
            nothing = tf.zeros(0)

            def filtered(inputs: tf.Tensor) -> tf.Tensor:
                return self._filtered(inputs, kernel, bias, nothing, turned=False)

            def filtered_back(upstream: tf.Tensor, outputs: tf.Tensor = nothing) -> tf.Tensor:
                return self._filtered(upstream, kernel, nothing, outputs, turned=True)

            return filtered, filtered_back
        linear = _linear_kernel() or _as_convolution
        turned = tf.transpose(tf.reverse(kernel, (0, 1)), (0, 1, 3, 2))  # A slice is slow.

        def forth(inputs: tf.Tensor) -> tf.Tensor:
            # In one function, so that TensorFlow fuses the three if it can.
            return tf.nn.relu(tf.nn.bias_add(linear(inputs, kernel, turned), bias))

        def back(upstream: tf.Tensor, outputs: tf.Tensor | None = None) -> tf.Tensor:
            if outputs is not None:
                upstream = tf.raw_ops.ReluGrad(gradients=upstream, features=outputs)
            return linear(upstream, turned, kernel)

        return forth, back

    def _filters_minimally(self) -> bool:
        """Returns whether `winograd` computes this layer."""
        wanted = _FILTERS_MINIMALLY.get() and filters_minimally(self.compute_dtype)
        return wanted and _winograd().fits(self.kernel.shape)

    def _filtered(
        self, inputs: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, gate: tf.Tensor, turned: bool
    ) -> tf.Tensor:
        """Returns `winograd.convolve` of tensors, of which bias and gate may be empty."""
        filters = kernel.shape[2 if turned else 3]

        def fill(*arrays: np.ndarray) -> np.ndarray:
            inputs, outputs, kernel, bias, gate = arrays
            if self._spectrum is None:
                self._spectrum = _winograd().spectrum(kernel)
            for i in range(len(inputs)):
                _winograd().convolve(
                    inputs[i],
                    self._spectrum,
                    outputs[i],
                    bias=bias if bias.size else None,
                    gate=gate[i] if gate.size else None,
                    turned=turned,
                )
            return outputs

        with tf.control_dependencies([inputs]):  # So that it takes no memory before.
            shape = tf.concat([tf.shape(inputs)[:3], [filters]], axis=0)
            outputs = tf.raw_ops.Empty(shape=shape, dtype=tf.float32)
        given = [inputs, outputs, kernel, bias, gate]
        filled = tf.numpy_function(fill, given, tf.float32, stateful=False)
        filled.set_shape([*inputs.shape[:3], filters])
        return filled

    def switches(self, inputs: tf.Tensor, outputs: tf.Tensor) -> Sequence[tf.Tensor]:
        """Returns where the ReLU is open."""
        del inputs
        return [outputs > 0]

    def pull_back(
        self, upstream: tf.Tensor, switches: Sequence[tf.Tensor], size: tf.Tensor
    ) -> tf.Tensor:
        """Returns the gradient with respect to the inputs, given where the ReLU is open."""
        passed = upstream * tf.cast(switches[0], upstream.dtype)
        _, back = self._ways()
        around = self.kernel_size[0] // 2
        if self.padding_mode == "zeros" or not around:
            return back(passed)
        whole = tf.pad(passed, ((0, 0), (around, around), (around, around), (0, 0)))
        inputs = tf.zeros(tf.concat([[1], size, self.kernel.shape[2:3]], axis=0), upstream.dtype)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            padded = PADDINGS[self.padding_mode](inputs, around)
        return tape.gradient(padded, inputs, back(whole))


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


def filters_minimally(precision: str) -> bool:
    """Returns whether this machine can, in this precision, do what `minimal_filtering` asks for."""
    return precision == "float32" and _winograd() is not None


def filtering_threads() -> int:
    """Returns how many threads filter minimally, none where it is not done."""
    return _winograd().THREADS if _winograd() else 0


@functools.cache
def _winograd() -> Any:
    """Returns the module of that name, if it can be of use on this machine."""
    if _linear_kernel() is None or not backend.vector_instructions():
        return None
    try:
        from nst_tf.backbones import winograd
    except ImportError:  # Numba is late for new versions of Python.
        return None
    return winograd


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
