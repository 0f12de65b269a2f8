"""Custom gradients whose memory does not grow with the number of graphs that use them."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Differentiable = Callable[..., tuple[Any, Callable[..., tf.Tensor]]]
"""A function of tensors that returns its outputs and a function for the first one's gradient."""


def custom_gradient(function: Differentiable) -> Callable[..., Any]:
    """Returns a function of tensors with a custom gradient, as `tf.custom_gradient` does.

    TensorFlow registers each custom gradient that it traces in a graph until the process ends, and
    with it keeps the graph. So here the function becomes a graph of its own, traced once for each
    signature (dtypes and static shapes), and other graphs call that one. Only one graph for each
    signature stays in memory, however many graphs call it.

    Args:
        function: a function of tensors that captures no other tensor. It returns its outputs, and
            a function from their gradients to that of the first argument. The other arguments
            have no gradient.
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
    """Returns the graph of a `tf.function` for tensors like these, its gradient traced as well.

    TensorFlow would trace the gradient at its first use, which is not safe if two threads use it
    at the same time.
    """
    specs = [tf.TensorSpec(each.shape, each.dtype) for each in tensors]
    with _LOCK, tf.init_scope():
        if not tf.executing_eagerly():  # In a `tf.Graph` of TensorFlow 1: no eager context.
            return None
        traced = graph.get_concrete_function(*specs)
        if traced not in _READY:
            _differentiate(traced, specs)
            _READY.add(traced)
        return traced


def _differentiate(traced: Any, specs: Sequence[tf.TensorSpec]) -> None:
    """Makes TensorFlow trace the gradient of a function, which it keeps with the function."""
    with tf.Graph().as_default():
        given = [tf.compat.v1.placeholder(each.dtype, each.shape) for each in specs]
        tf.gradients(traced(*given), given[:1])


def copies(features: tf.Tensor, count: int) -> Sequence[tf.Tensor]:
    """Returns `count` copies whose gradients are added up in a fixed order.

    TensorFlow adds up the gradients of several uses in an order that can change from run to
    run. With three or more uses the last bit of the sum changes with the order.
    """
    return [features] if count == 1 else _copies(count)(features)


@functools.cache
def _copies(count: int) -> Callable[[tf.Tensor], Sequence[tf.Tensor]]:
    """Returns a function that makes `count` copies of a tensor."""

    @custom_gradient
    def copied(features: tf.Tensor) -> tuple[Sequence[tf.Tensor], Any]:
        def gradient(*upstream: tf.Tensor) -> tf.Tensor:
            return tf.reduce_sum(tf.stack(upstream), axis=0)

        return [tf.identity(features) for _ in range(count)], gradient

    return copied
