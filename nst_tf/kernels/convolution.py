"""Convolution, bias and ReLU with fixed weights, by the fastest kernels of the machine."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 (no later: while the interpreter ends, it cannot be)
import contextlib
import contextvars
import functools
import itertools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf.kernels import autodiff
from nst_tf.runtime import backend

_DEEP = 256  # Input channels from which on oneDNN's gradient kernels are faster on AVX-512.

_FILTERS_MINIMALLY = contextvars.ContextVar("filters minimally", default=False)


@contextlib.contextmanager
def minimal_filtering(wanted: bool = True) -> Iterator[None]:
    """Makes graphs traced in this context compute convolutions by minimal filtering (`winograd`).

    That takes a quarter of the multiplications, and less than half the time on a CPU. Such a graph
    calls functions of this process, so it can be neither saved nor compiled by XLA. On a GPU, in
    other precisions than float32 and without Numba nothing changes.

    Args:
        wanted: whether to filter minimally; False undoes an outer context.
    """
    token = _FILTERS_MINIMALLY.set(wanted)
    try:
        yield
    finally:
        _FILTERS_MINIMALLY.reset(token)


def wants_minimal_filtering() -> bool:
    """Returns whether `minimal_filtering` is in force."""
    return _FILTERS_MINIMALLY.get()


class Spectrum:
    """The transformed kernel of a layer, computed at its first use.

    Graphs refer to it by its number, so that no graph keeps it, or its layer, in memory.
    """

    def __init__(self) -> None:
        self._number = next(_NUMBERS)
        self._values: np.ndarray | None = None
        _SPECTRA[self._number] = self

    def __reduce__(self) -> tuple[Any, ...]:
        return Spectrum, ()  # A copy of a layer has weights of its own.

    @property
    def number(self) -> tf.Tensor:
        """The number of this spectrum for `of`, an int64 scalar."""
        return tf.constant(self._number, tf.int64)

    def forget(self) -> None:
        """Drops the values, to compute them anew from a changed kernel."""
        self._values = None

    @classmethod
    def of(cls, number: int, kernel: np.ndarray) -> np.ndarray:
        """Returns the values of the spectrum with a number, given its kernel."""
        found = _SPECTRA.get(number)
        if found is None:  # The graph has outlived the layer.
            return minimal_filters().spectrum(kernel)
        if found._values is None:
            found._values = minimal_filters().spectrum(kernel)
        return found._values


_NUMBERS = itertools.count()
_SPECTRA: weakref.WeakValueDictionary[int, Spectrum] = weakref.WeakValueDictionary()


@autodiff.custom_gradient
def filtered(
    inputs: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, number: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Returns convolution, bias and ReLU by minimal filtering; `number` is that of the spectrum."""
    nothing = tf.zeros(0)
    outputs = fill(inputs, kernel, bias, nothing, number, turned=False)
    return outputs, lambda up: fill(up, kernel, nothing, outputs, number, turned=True)


def fill(
    inputs: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor,
    gate: tf.Tensor,
    number: tf.Tensor,
    *,
    turned: bool,
) -> tf.Tensor:
    """Returns the outputs of `winograd.convolve` for tensors; an empty bias or gate means None.

    The outputs are in memory of TensorFlow's pool, which saves the page faults of new memory at
    every step. Their dtype is integer until they are filled, so that numeric checks ignore them.
    """
    filters = kernel.shape[2 if turned else 3]
    with tf.control_dependencies([inputs]):  # Allocates no earlier than needed.
        shape = tf.concat([tf.shape(inputs)[:3], [filters]], axis=0)
        outputs = tf.raw_ops.Empty(shape=shape, dtype=tf.int32)
    given = [inputs, outputs, kernel, bias, gate, number, tf.constant(turned)]
    _, token = _registered()
    (filled,) = tf.raw_ops.PyFuncStateless(input=given, token=token, Tout=[tf.int32])
    filled.set_shape([*inputs.shape[:3], filters])
    return tf.bitcast(filled, tf.float32)


@functools.cache
def _registered() -> tuple[tf.Graph, bytes]:
    """Returns the graph that keeps `_convolve` registered, and the token by which graphs call it.

    `tf.numpy_function` registers its function once for every traced graph, until the process
    ends. So all graphs share one registration.
    """
    with tf.Graph().as_default() as graph:
        given = [tf.zeros(()), tf.zeros((), tf.int32)]
        operation = tf.numpy_function(_convolve, given, tf.int32, stateful=False).op
    return graph, operation.get_attr("token")


def _convolve(
    inputs: np.ndarray,
    outputs: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray,
    gate: np.ndarray,
    number: np.ndarray,
    turned: np.ndarray,
) -> np.ndarray:
    """Fills `outputs` with the convolution of each input, and returns it."""
    spectrum, filled = Spectrum.of(int(number), kernel), outputs.view(np.float32)
    for i in range(len(inputs)):
        minimal_filters().convolve(
            inputs[i],
            spectrum,
            filled[i],
            bias=bias if bias.size else None,
            gate=gate[i] if gate.size else None,
            turned=bool(turned),
        )
    return outputs


@functools.cache
def with_bias_and_relu(linear: Linear) -> Callable[..., tf.Tensor]:
    """Returns convolution, bias and ReLU by a kernel of TensorFlow, as a function of tensors."""

    @autodiff.custom_gradient
    def convolution(
        inputs: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        turned = turned_kernel(kernel)
        # One after the other, so that TensorFlow can fuse the three.
        outputs = tf.nn.relu(tf.nn.bias_add(linear(inputs, kernel, turned), bias))

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            passed = tf.raw_ops.ReluGrad(gradients=upstream, features=outputs)
            return linear(passed, turned, kernel)

        return outputs, gradient

    return convolution


def turned_kernel(kernel: tf.Tensor) -> tf.Tensor:
    """Returns a kernel turned by 180°, its channels swapped."""
    return tf.transpose(tf.reverse(kernel, (0, 1)), (0, 1, 3, 2))  # A slice would be slow.


def _padded(mode: str) -> Callable[[tf.Tensor, int], tf.Tensor]:
    def padded(features: tf.Tensor, around: int) -> tf.Tensor:
        return tf.pad(features, ((0, 0), (around, around), (around, around), (0, 0)), mode)

    return padded


def _wrapped(features: tf.Tensor, around: int) -> tf.Tensor:
    # In two steps: gradients of three uses of a tensor would add up in no fixed order.
    longer = tf.concat([features, features[:, :around]], axis=1)
    taller = tf.concat([longer[:, -2 * around : -around], longer], axis=1)
    longer = tf.concat([taller, taller[:, :, :around]], axis=2)
    return tf.concat([longer[:, :, -2 * around : -around], longer], axis=2)


PADDINGS: dict[str, Callable[[tf.Tensor, int], tf.Tensor]] = {
    "reflect": _padded("REFLECT"),
    "replicate": _padded("SYMMETRIC"),  # The same for a border of one pixel.
    "circular": _wrapped,
}
"""Paddings other than zeros: the mirror image, the repeated border, the opposite side."""

Linear = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""Convolves inputs with a kernel, given the inputs, the kernel and the turned kernel."""


def filters_minimally(precision: str) -> bool:
    """Returns whether this machine supports `minimal_filtering` in a precision."""
    return precision == "float32" and minimal_filters() is not None


def precision(name: str) -> str:
    """Returns a precision, with `auto` for the faster one: `bfloat16` with AMX, else `float32`.

    GPUs have not been measured, and get `float32`.
    """
    if name != "auto":
        return name
    return "bfloat16" if backend.multiplies_in_bfloat16() and uses_onednn() else "float32"


def filtering_threads() -> int:
    """Returns the number of threads of minimal filtering, 0 where it is not supported."""
    return minimal_filters().THREADS if minimal_filters() else 0


@functools.cache
def minimal_filters() -> Any:
    """Returns the module `winograd`, or None where this machine does not support it."""
    if linear_kernel() is None or not backend.vector_instructions():
        return None
    try:
        from nst_tf.kernels import winograd
    except ImportError:  # Numba does not support this Python yet, or is disabled.
        return None
    return winograd


@functools.cache
def linear_kernel() -> Linear | None:
    """Returns the fastest `Linear` of this machine, or None for Keras's own convolution."""
    if tf.config.list_physical_devices("GPU"):
        return None
    if not uses_onednn():
        return as_convolution
    return {"avx2": _as_gradient, "avx512f": _by_channels}.get(backend.vector_instructions())


def uses_onednn() -> bool:
    """Returns whether convolutions run in oneDNN, on CPUs.

    oneDNN copies inputs and outputs into a layout of its own.
    """
    from tensorflow.python.framework import test_util  # The only place that reports oneDNN.

    return bool(test_util.IsMklEnabled()) and not tf.config.list_physical_devices("GPU")


def as_convolution(inputs: tf.Tensor, kernel: tf.Tensor, turned: tf.Tensor) -> tf.Tensor:
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
    return (_as_gradient if deep else as_convolution)(inputs, kernel, turned)
