"""Progress for the user: a live bar on a terminal, lines in a log."""

from __future__ import annotations

import sys
import time
from typing import TextIO

import tqdm

from nst_tf.callbacks.callback import Callback, Run, StepEnd, group_terms
from nst_tf.runtime import terminal


class Progress(Callback):
    """Shows level, step, loss, terms, steps per second and the time left.

    Args:
        stream: output stream; standard error if None. A terminal gets a bar, anything else gets
            lines. A stream that fails gets nothing more.
        seconds: seconds between two lines of a log.
    """

    def __init__(self, stream: TextIO | None = None, seconds: float = 5.0) -> None:
        self._stream = terminal.Output(stream or sys.stderr)
        self._seconds = seconds
        self._live = self._stream.isatty()

    def on_begin(self, run: Run) -> None:
        self._run, self._levels = run, run.levels
        # The time left is estimated by pixels, as the work of a step grows with them.
        self._work = [level.height * level.width for level in run.levels]
        self._total = sum(w * level.steps for w, level in zip(self._work, run.levels, strict=True))
        self._before = sum(w * run.taken(level) for level, w in enumerate(self._work))
        self._done = self._before
        self._start = self._shown = time.perf_counter()
        self._bar: tqdm.tqdm | None = None

    def on_level_begin(self, level: int) -> None:
        self._level_start = time.perf_counter()
        if self._live:
            self._close()
            size = f"{self._levels[level].width}x{self._levels[level].height}"
            self._bar = tqdm.tqdm(
                total=self._levels[level].steps,
                initial=self._run.taken(level),
                desc=f"level {level + 1}/{len(self._levels)} {size}",
                unit="step",
                file=self._stream,
                dynamic_ncols=True,
            )

    def on_step_end(self, step: StepEnd) -> None:
        self._done += self._work[step.level]
        if self._bar is not None:
            self._bar.update()
        now = time.perf_counter()
        last = step.step == self._levels[step.level].steps
        due = now - self._shown >= (0.5 if self._live else self._seconds)
        if not (due or last):
            return
        self._shown = now
        here = self._done - self._before
        left = (now - self._start) * (self._total - self._done) / here
        losses = "  ".join(f"{name} {value:.3g}" for name, value in group_terms(step.terms).items())
        losses = f"loss {float(step.loss):.4g} ({losses})"
        if self._bar is not None:
            self._bar.set_postfix_str(f"{losses}, all levels {_clock(left)} left")
            return
        level = self._levels[step.level]
        rate = (step.step - self._run.taken(step.level)) / max(now - self._level_start, 1e-9)
        self._stream.line(
            f"level {step.level + 1}/{len(self._levels)} {level.width}x{level.height}  "
            f"step {step.step}/{level.steps}  {losses}  {rate:.2f} steps/s  {_clock(left)} left"
        )

    def on_end(self, image: object) -> None:
        self._close()

    def on_error(self, error: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
