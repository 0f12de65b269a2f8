"""Signals that ask a program to end: of Ctrl-C, `kill` and a closed terminal."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Windows has no SIGHUP."""


def install(handler: Callable[[int, Any], object]) -> dict[int, Any]:
    """Sets the handler of all `SIGNALS`, and returns the previous handlers, for `restore`.

    Ignored signals stay ignored, as `nohup` and shells with background jobs ask for. Outside of the
    main thread, where Python handles no signals, nothing is set.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    kept = (signal.SIG_IGN, None)  # None stands for a handler not set from Python.
    found = [number for number in SIGNALS if signal.getsignal(number) not in kept]
    return {number: signal.signal(number, handler) for number in found}


def restore(previous: Mapping[int, Any]) -> None:
    """Sets the handlers that `install` returned."""
    for number, handler in previous.items():
        signal.signal(number, handler)


def ignore() -> None:
    """Makes this process ignore all `SIGNALS`."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def held() -> Iterator[list[int]]:
    """Holds signals back; yields a list to which arriving signals are appended."""
    came: list[int] = []
    previous = install(lambda number, _: came.append(number))
    try:
        yield came
    finally:
        restore(previous)
