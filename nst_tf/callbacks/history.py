"""A record of every step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from nst_tf.callbacks.callback import Callback, Run, StepEnd

if TYPE_CHECKING:
    import tensorflow as tf


class History(Callback):
    """Records level, step, loss, terms and time of every step.

    Losses stay on the device until `entries` is read, so recording does not slow the steps. If the
    run goes on from a snapshot, the record includes the steps before it.

    Attributes:
        run: the recorded run; set by `on_begin`.
    """

    run: Run

    def __init__(self) -> None:
        self._read: list[dict[str, Any]] = []
        self._unread: list[tuple[int, int, tf.Tensor, dict[str, tf.Tensor], float]] = []
        self._start = time.perf_counter()

    def on_begin(self, run: Run) -> None:
        self.run = run
        self._read, self._unread = [dict(entry) for entry in run.history], []
        before = self._read[-1]["seconds"] if self._read else 0.0
        self._start = time.perf_counter() - before

    def on_step_end(self, step: StepEnd) -> None:
        seconds = time.perf_counter() - self._start
        self._unread.append((step.level, step.step, step.loss, step.terms, seconds))

    @property
    def entries(self) -> list[dict[str, Any]]:
        """One dict per step: `level`, `step`, `loss`, `terms`, and `seconds` since the start.

        The time between a run and its continuation is not counted.
        """
        for level, step, loss, terms, seconds in self._unread:
            entry = {
                "level": level,
                "step": step,
                "loss": float(loss),
                "terms": {name: float(value) for name, value in terms.items()},
                "seconds": round(seconds, 4),
            }
            self._read.append(entry)
        self._unread = []
        return list(self._read)
