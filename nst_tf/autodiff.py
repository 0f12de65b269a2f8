"""Custom gradients that a process can trace as often as it likes."""

from __future__ import annotations

import functools
from collections.abc import Callable
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

    @functools.wraps(function)
    def call(*tensors: tf.Tensor) -> Any:
        if tf.executing_eagerly():
            return differentiable(*tensors)
        specs = [tf.TensorSpec(each.shape, each.dtype) for each in tensors]
        with tf.init_scope():
            # Within a `tf.Graph`, as of TensorFlow 1, there is no way out of it.
            traced = graph.get_concrete_function(*specs) if tf.executing_eagerly() else None
        return traced(*tensors) if traced else differentiable(*tensors)

    return call
