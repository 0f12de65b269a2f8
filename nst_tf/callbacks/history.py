"""A record of every step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from nst_tf.callbacks.callback import Callback, Run, StepEnd

if TYPE_CHECKING:
    import tensorflow as tf


class History(Callback):
    """Records level, step, loss, terms and time of every step.

    Losses stay on the device until `entries` is read, so recording does not slow the steps.

    Attributes:
        run: the run that was recorded, from its beginning.
    """

    run: Run

    def __init__(self) -> None:
        self._steps: list[tuple[int, int, tf.Tensor, dict[str, tf.Tensor], float]] = []
        self._start = time.perf_counter()

    def on_begin(self, run: Run) -> None:
        self.run = run
        self._steps = []
        self._start = time.perf_counter()

    def on_step_end(self, step: StepEnd) -> None:
        seconds = time.perf_counter() - self._start
        self._steps.append((step.level, step.step, step.loss, step.terms, seconds))

    @property
    def entries(self) -> list[dict[str, Any]]:
        """One dict a step: `level`, `step`, `loss`, `terms`, and `seconds` since the start."""
        return [
            {
                "level": level,
                "step": step,
                "loss": float(loss),
                "terms": {name: float(value) for name, value in terms.items()},
                "seconds": round(seconds, 4),
            }
            for level, step, loss, terms, seconds in self._steps
        ]
