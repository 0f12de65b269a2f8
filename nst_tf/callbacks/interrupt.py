"""Ctrl-C, SIGTERM and SIGHUP without loss of work."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

from nst_tf.callbacks.callback import Callback, Run
from nst_tf.runtime import signals, terminal

if TYPE_CHECKING:
    import tensorflow as tf

SIGNALS = signals.SIGNALS
"""Signals that ask a program to end: of Ctrl-C, `kill`, a batch queue, a closed terminal."""


class Interrupt(Callback):
    """Lets Ctrl-C, SIGTERM or SIGHUP end the run after the current step.

    A second signal goes to the handler from before the run, at once. Nothing changes for ignored
    signals, nor outside of the main thread, where Python handles no signals.

    Args:
        hold: hold signals back from the end of the run, or from the second signal, until `restore`
            is called, so that the picture can be saved.

    Attributes:
        signal: number of the first signal received, or 0.
    """

    def __init__(self, hold: bool = False) -> None:
        self.signal = 0
        self._hold = hold
        self._previous: dict[int, Any] = {}

    @property
    def pressed(self) -> bool:
        """Whether the run was asked to end."""
        return bool(self.signal)

    def on_begin(self, run: Run) -> None:
        self.signal, self._run, self._ended = 0, run, False
        self._previous = signals.install(self._came)

    def _came(self, number: int, frame: Any) -> None:
        first, self.signal = not self.signal, self.signal or number
        self._run.stopping = True
        if self._ended:
            terminal.Output(sys.stderr).line("\nThe picture is being saved.")
        elif first:
            terminal.Output(sys.stderr).line("\nStopping after this step.")
        else:
            self._ended = True
            self._handle_as_before(number, frame)

    def _handle_as_before(self, number: int, frame: Any) -> None:
        handler = self._previous[number]
        if callable(handler):
            handler(number, frame)
        else:
            self.restore()
            signal.raise_signal(number)

    def on_end(self, image: tf.Tensor) -> None:
        self._end()

    def on_error(self, error: BaseException) -> None:
        self._end()

    def _end(self) -> None:
        self._ended = True
        if not self._hold:
            self.restore()

    def restore(self) -> None:
        """Restores the signal handlers from before the run."""
        signals.restore(self._previous)
        self._previous = {}
