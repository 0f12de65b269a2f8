"""Ctrl-C that loses no work."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

from nst_tf.callbacks.callback import Callback, Run

if TYPE_CHECKING:
    import tensorflow as tf


class Interrupt(Callback):
    """Lets Ctrl-C end the run after the current step; a second Ctrl-C does not wait.

    For runs in the main thread, where Python handles signals.

    Attributes:
        pressed: whether Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.pressed = False

    def on_begin(self, run: Run) -> None:
        self._run = run
        self._previous = signal.signal(signal.SIGINT, self._stop)

    def _stop(self, *_: Any) -> None:
        self.pressed = self._run.stopping = True
        self.restore()
        print("\nStopping after this step.", file=sys.stderr, flush=True)

    def on_end(self, image: tf.Tensor) -> None:
        self.restore()

    def restore(self) -> None:
        """Gives Ctrl-C back its former meaning, as the end of the run does."""
        signal.signal(signal.SIGINT, self._previous)
