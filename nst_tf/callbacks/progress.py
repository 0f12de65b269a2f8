"""Progress for the user: a live bar on a terminal, lines in a log."""

from __future__ import annotations

import sys
import time
from typing import TextIO

import tqdm

from nst_tf.callbacks.callback import Callback, Run, StepEnd, group_terms
from nst_tf.runtime import terminal

_OVERHEAD = 1 << 14  # Pixels that take as long as what a step costs whatever its size.


class Progress(Callback):
    """Shows level, step, loss, terms, steps per second and the time left.

    The time left is unknown until two steps of a level are done.

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
        self._work = [level.height * level.width + _OVERHEAD for level in run.levels]
        self._left = sum(
            work * (level.steps - run.taken(at))
            for at, (work, level) in enumerate(zip(self._work, run.levels, strict=True))
        )
        self._pace: float | None = None  # Seconds for a pixel.
        self._shown = time.perf_counter()
        self._bar: tqdm.tqdm | None = None

    def on_level_begin(self, level: int) -> None:
        self._level_start = self._first_end = time.perf_counter()
        self._here = 0  # Steps of this run at this level.
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
        if self._bar is not None:
            self._bar.update()
        now = time.perf_counter()
        self._measure(step, now)
        last = step.step == self._levels[step.level].steps
        due = now - self._shown >= (0.5 if self._live else self._seconds)
        if not (due or last):
            return
        self._shown = now
        losses = "  ".join(f"{name} {value:.3g}" for name, value in group_terms(step.terms).items())
        losses = f"loss {float(step.loss):.4g} ({losses})"
        if self._bar is not None:
            self._bar.set_postfix_str(", all levels ".join([losses, *self._time_left(step)]))
            return
        level = self._levels[step.level]
        rate = self._here / max(now - self._level_start, 1e-9)
        words = [
            f"level {step.level + 1}/{len(self._levels)} {level.width}x{level.height}",
            f"step {step.step}/{level.steps}",
            losses,
            f"{rate:.2f} steps/s",
            *self._time_left(step),
        ]
        self._stream.line("  ".join(words))

    def _measure(self, step: StepEnd, now: float) -> None:
        work = self._work[step.level]
        self._left -= work
        self._here += 1
        if self._here == 1:  # It also traces and compiles.
            self._first_end = now
        else:
            self._pace = (now - self._first_end) / ((self._here - 1) * work)

    def _time_left(self, step: StepEnd) -> list[str]:
        """Returns the time left in words, or nothing if it is not known yet."""
        if self._pace is None and self._left:
            return []
        pace, coming = self._pace or 0.0, len(self._levels) - 1 - step.level
        beginning = self._first_end - self._level_start - pace * self._work[step.level]
        return [f"{_clock(pace * self._left + max(0.0, beginning) * coming)} left"]

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
