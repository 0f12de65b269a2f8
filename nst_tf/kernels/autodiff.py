"""Custom gradients that a process can trace as often as it likes."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Differentiable = Callable[..., tuple[Any, Callable[..., tf.Tensor]]]
"""A function of tensors that returns its outputs and the gradient of the first argument."""


def custom_gradient(function: Differentiable) -> Callable[..., Any]:
    """Returns a function of tensors with a gradient of its own, as `tf.custom_gradient` does.

    Each custom gradient that is traced in a graph stays registered until the process ends, and
    holds the graph. So the function becomes a graph of its own, traced once for each signature
    (dtypes and static shapes), and other graphs call that. What stays is a graph a signature,
    however many graphs call it and come and go.

    Args:
        function: of tensors alone, which captures no other tensor. Returns its outputs, and a
            function from their gradients to that of the first argument; the others have none.
    """

    @functools.wraps(function)
    def padded(*tensors: tf.Tensor) -> tuple[Any, Callable[..., Any]]:
        outputs, gradient = function(*tensors)
        others = [None] * (len(tensors) - 1)
        return outputs, lambda *upstream: (gradient(*upstream), *others)

    differentiable = tf.custom_gradient(padded)
    graph = tf.function(differentiable, autograph=False)

    @tf.autograph.experimental.do_not_convert
    @functools.wraps(function)
    def call(*tensors: tf.Tensor) -> Any:
        if tf.executing_eagerly():
            return differentiable(*tensors)
        traced = _traced(graph, tensors)
        return traced(*tensors) if traced else differentiable(*tensors)

    return call


_LOCK = threading.RLock()
_READY: weakref.WeakSet[Any] = weakref.WeakSet()


def _traced(graph: Any, tensors: Sequence[tf.Tensor]) -> Any:
    """Returns a `tf.function` as a graph for tensors like these, with that of its gradient.

    Both are made at once: TensorFlow makes the second where it is first asked for, and not well if
    two threads ask at the same time.
    """
    specs = [tf.TensorSpec(each.shape, each.dtype) for each in tensors]
    with _LOCK, tf.init_scope():
        if not tf.executing_eagerly():  # A `tf.Graph`, as of TensorFlow 1; there is no way out.
            return None
        traced = graph.get_concrete_function(*specs)
        if traced not in _READY:
            _differentiate(traced, specs)
            _READY.add(traced)
        return traced


def _differentiate(traced: Any, specs: Sequence[tf.TensorSpec]) -> None:
    """Has TensorFlow make the graph of a gradient, which it keeps with that of the function."""
    with tf.Graph().as_default():
        given = [tf.compat.v1.placeholder(each.dtype, each.shape) for each in specs]
        tf.gradients(traced(*given), given[:1])


def copies(features: tf.Tensor, count: int) -> Sequence[tf.Tensor]:
    """Returns `count` copies whose gradients are added up in a fixed order.

    TensorFlow adds up the gradients of several uses in an order that can change from run to
    run, and with three or more of them the last bit of the sum changes with it.
    """
    return [features] if count == 1 else _copies(count)(features)


@functools.cache
def _copies(count: int) -> Callable[[tf.Tensor], Sequence[tf.Tensor]]:
    """Returns what makes so many copies of a tensor."""

    @custom_gradient
    def copied(features: tf.Tensor) -> tuple[Sequence[tf.Tensor], Any]:
        def gradient(*upstream: tf.Tensor) -> tf.Tensor:
            return tf.reduce_sum(tf.stack(upstream), axis=0)

        return [tf.identity(features) for _ in range(count)], gradient

    return copied
