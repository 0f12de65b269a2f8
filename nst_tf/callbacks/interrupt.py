"""Ctrl-C and SIGTERM that lose no work."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

from nst_tf.callbacks.callback import Callback, Run

if TYPE_CHECKING:
    import tensorflow as tf

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""What asks a program to end: Ctrl-C, and what a batch queue or `kill` sends."""


class Interrupt(Callback):
    """Lets Ctrl-C or SIGTERM end the run after the current step; a second one does not wait.

    For runs in the main thread, where Python handles signals.

    Attributes:
        signal: number of the signal that came, or 0.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def pressed(self) -> bool:
        """Whether the run was asked to end."""
        return bool(self.signal)

    def on_begin(self, run: Run) -> None:
        self._run = run
        self._previous = {number: signal.signal(number, self._stop) for number in SIGNALS}

    def _stop(self, number: int, *_: Any) -> None:
        self.signal = number
        self._run.stopping = True
        self.restore()
        print("\nStopping after this step.", file=sys.stderr, flush=True)

    def on_end(self, image: tf.Tensor) -> None:
        self.restore()

    def restore(self) -> None:
        """Gives the signals back their former meaning, as the end of the run does."""
        for number, previous in self._previous.items():
            signal.signal(number, previous)
