"""Isolation from a host program: its scopes, and the exit of its interpreter."""

from __future__ import annotations

import atexit
import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import keras
import tensorflow as tf

from nst_tf import errors

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_MOST_SECONDS = 60.0  # The longest wait for a step at the exit.


def undisturbed(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Decorates a function that needs eager execution, outside of the host's scopes.

    Within it, `keras.RematScope`, in which layers recompute their activations, is switched off.

    Raises:
        ConfigError: the call is within a `tf.function`, a `tf.Graph` or the scope of a
            distribution strategy.
    """

    @functools.wraps(function)
    def call(*arguments: _Parameters.args, **named: _Parameters.kwargs) -> _Result:
        _require_eager()
        with keras.RematScope(mode=None), _at_work():
            return function(*arguments, **named)

    return tf.autograph.experimental.do_not_convert(call)


def _require_eager() -> None:
    if tf.distribute.has_strategy():
        raise errors.ConfigError(
            "nst_tf works on one device, and this is the scope of a distribution strategy; call it "
            "outside of strategy.scope(), and choose a device with device='GPU:1'."
        )
    if not tf.executing_eagerly():
        raise errors.ConfigError(
            "nst_tf computes eagerly, and this is within a tf.function or a tf.Graph, or eager "
            "execution is off; call it outside of them."
        )


# The exit of the interpreter. Python does not wait for daemon threads, and TensorFlow aborts the
# process if such a thread still computes then.

_leaving = threading.Event()
_changed = threading.Condition()
_working: set[int] = set()


def leave_if_over() -> None:
    """Blocks this thread for ever if it is a daemon and the interpreter is about to exit.

    Call it between two steps. No one can use the picture any more.
    """
    if _leaving.is_set() and threading.current_thread().daemon:
        _ends()
        threading.Event().wait()


@contextlib.contextmanager
def _at_work() -> Iterator[None]:
    """Makes the interpreter wait, at its exit, until this thread calls `leave_if_over`."""
    thread = threading.get_ident()
    if thread in _working:
        yield
        return
    leave_if_over()
    _working.add(thread)
    try:
        yield
    finally:
        _ends()


def _ends() -> None:
    with _changed:
        _working.discard(threading.get_ident())
        _changed.notify_all()


@atexit.register
def _wait() -> None:
    _leaving.set()
    with _changed:
        _changed.wait_for(lambda: not _working, timeout=_MOST_SECONDS)
