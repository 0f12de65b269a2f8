"""What a host program may have set or be about to do, and how work is kept out of its reach."""

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
_MOST_SECONDS = 60.0  # That the end of a program waits for a step to end.


def undisturbed(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Decorates a function that computes eagerly, which the scopes of a host may not allow.

    Scopes of Keras in which layers compute their activations twice count for nothing within.

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


# The end of the interpreter. A thread that is a daemon is not waited for, and TensorFlow ends the
# process with an error where such a thread is at work in it by then.

_leaving = threading.Event()
_changed = threading.Condition()
_working: set[int] = set()


def leave_if_over() -> None:
    """Ends the work of this thread, for good, if the interpreter is about to exit.

    To be called between two steps. Nobody is there any more to see the picture.
    """
    if _leaving.is_set() and threading.current_thread().daemon:
        _ends()
        threading.Event().wait()


@contextlib.contextmanager
def _at_work() -> Iterator[None]:
    """Has the interpreter wait, before it exits, until this thread comes to `leave_if_over`."""
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
