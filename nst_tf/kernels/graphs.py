"""Functions of tensors as graphs. With `autodiff`, the only `tf.function`s of the package."""

from __future__ import annotations

import collections
import functools
import threading
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from nst_tf.kernels import arrays, convolution

_MOST_GRAPHS = 16  # Graphs of one function, for its most recently used signatures.


def traced(
    function: Callable[..., Any], *, any_size: bool = True, jit_compile: bool = False
) -> Callable[..., Any]:
    """Returns a function of nested tensors or arrays, with a graph for each signature.

    The most recently used graphs are kept.

    Args:
        function: a function of nested tensors.
        any_size: whether one graph serves pictures of all sizes.
        jit_compile: compile the graphs with XLA.
    """
    graphs: collections.OrderedDict[str, Any] = collections.OrderedDict()
    lock = threading.Lock()

    def spec(value: tf.Tensor) -> tf.TensorSpec:
        a_picture = any_size and value.shape.rank == 4
        shape = (1, None, None, value.shape[-1]) if a_picture else value.shape
        return tf.TensorSpec(shape, value.dtype)

    def call(*tensors: Any) -> Any:
        specs = tf.nest.map_structure(spec, tensors)
        key = repr(specs)
        with lock:
            found = graphs.pop(key, None)
            if found is None:  # A `tf.function` of its own, so that it can be dropped.
                compiled = graph(function, jit_compile=jit_compile)
                found = compiled.get_concrete_function(*specs)
            graphs[key] = found
            if len(graphs) > _MOST_GRAPHS:
                graphs.popitem(last=False)
        return found(*tensors)

    return of_tensors(call)


def of_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that takes arrays as well as tensors."""

    def call(*arguments: Any) -> Any:
        return function(*tf.nest.map_structure(arrays.to_tensor, arguments))

    return call


def graph(function: Callable[..., Any], *, jit_compile: bool = False, **options: Any) -> Any:
    """Returns a function as a graph of this process, with the fastest kernels.

    Args:
        function: a function of tensors.
        jit_compile: compile the graph with XLA, which has kernels of its own.
        options: further options of `tf.function`.
    """

    def traced_function(*arguments: Any) -> Any:
        with convolution.minimal_filtering(not jit_compile):
            return function(*arguments)

    return tf.function(named(traced_function), jit_compile=jit_compile, autograph=False, **options)


def named(function: Callable[..., Any], **arguments: Any) -> functools.partial[Any]:
    """Returns a function with some arguments bound.

    TensorFlow counts retracing by the code object of a function. A partial has none, so several
    networks of one process do not count as one function that is traced over and over.
    """
    return functools.partial(function, **arguments)
