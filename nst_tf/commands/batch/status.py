"""What a batch tells while it runs: a bar or lines for the user, lines of JSON for programs."""

from __future__ import annotations

import contextlib
import datetime
import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tqdm

from nst_tf import errors, jobs
from nst_tf.commands import console
from nst_tf.commands.batch.table import Entry
from nst_tf.runtime import terminal

_SECONDS = 5.0  # Between two lines of JSON about progress.
_LONGEST_WORDS = 60  # Characters of a job's name in the bar.


class Status:
    """Follows a batch.

    Args:
        entries: all jobs.
        path: file that receives lines of JSON, after those that it has.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, entries: Sequence[Entry], path: Path) -> None:
        self._entries, self._path = entries, path
        self._numbers = {id(entry.job): number for number, entry in enumerate(entries)}
        self._work = [max(1.0, jobs.work(entry.job)) for entry in entries]
        self._shares = [0.0] * len(entries)
        self._kept = 0.0  # Work that earlier runs did.
        self._running: dict[int, jobs.Progress] = {}
        self._counts = {"done": 0, "failed": 0}
        self._lock = threading.Lock()
        self._begin = self._told = time.monotonic()
        self._stream = terminal.Output(sys.stderr)
        self._bar: tqdm.tqdm | None = None
        try:
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (closed by `shown`)
        except (OSError, ValueError) as error:
            raise errors.OutputError(
                f"{path}: cannot be written ({errors.reason(error)})."
            ) from error

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Shows the bar, on a terminal, and writes first and last line of JSON."""
        self._tell("begin", jobs=len(self._entries))
        if self._stream.isatty():
            self._bar = tqdm.tqdm(
                total=len(self._entries), unit="picture", file=self._stream, dynamic_ncols=True,
                bar_format="{n_fmt}/{total_fmt} |{bar}| {postfix}",
            )  # fmt: skip
        try:
            yield
        finally:
            if self._bar is not None:
                self._bar.close()
            self._tell("end", **self._counts)
            self._file.close()

    def progress(self, found: jobs.Progress) -> None:
        """Takes note of the progress of a job; called in any thread."""
        with self._lock:
            self._running[found.number] = found
            self._shares[found.number] = found.share
            if time.monotonic() - self._told >= _SECONDS:
                self._told = time.monotonic()
                self._tell("progress", **self._standing())
            self._show()

    def outcome(self, number: int, outcome: jobs.Outcome, name: str) -> None:
        """Takes note of the outcome of a job."""
        with self._lock:
            self._running.pop(number, None)
            self._shares[number] = 1.0
            self._counts["done" if outcome.done else "failed"] += 1
            if outcome.kept:
                self._kept += self._work[number]
            else:
                self._tell(
                    "job", output=name, status=outcome.status, reason=outcome.reason,
                    seconds=round(outcome.seconds, 3), **self._standing(),
                )  # fmt: skip
            if self._bar is not None:
                self._bar.update()
                if not outcome.done:
                    self._bar.write(f"{self._entries[number].label}: {outcome.reason}", sys.stderr)
            elif not outcome.kept:
                self._line(number, outcome, name)
            self._show()

    def _line(self, number: int, outcome: jobs.Outcome, name: str) -> None:
        at, total = sum(self._counts.values()), len(self._entries)
        how = f"{name} in {outcome.seconds:.0f} s" if outcome.done else outcome.reason.rstrip(".")
        words = f"[{at}/{total}] {self._entries[number].label}: {how}{self._left_in_words()}"
        console.say(words)

    def _show(self) -> None:
        if self._bar is None:
            return
        failed = f"{self._counts['failed']} failed" if self._counts["failed"] else ""
        now = [
            f"{Path(self._entries[number].name).stem[:_LONGEST_WORDS]} {each.share:.0%}"
            for number, each in sorted(self._running.items())
        ]
        left = self._left_in_words().removeprefix("; ")
        self._bar.set_postfix_str(", ".join(filter(None, [failed, left, *now])))

    def _seconds_left(self) -> float | None:
        """Returns an estimate of the seconds left, or None before anything is done."""
        done = sum(map(float.__mul__, self._shares, self._work)) - self._kept
        left = sum(self._work) - self._kept - done
        seconds = time.monotonic() - self._begin
        return seconds / done * left if done > 0 else None

    def _left_in_words(self) -> str:
        left = self._seconds_left()
        if left is None or left < 1:
            return ""
        minutes, seconds = divmod(round(left), 60)
        hours, minutes = divmod(minutes, 60)
        clock = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
        return f"; {clock} left"

    def _standing(self) -> dict[str, Any]:
        left = self._seconds_left()
        running = [
            {"output": self._entries[number].name, **each._asdict()}
            for number, each in sorted(self._running.items())
        ]
        return {
            "jobs": len(self._entries),
            **{f"jobs_{name}": count for name, count in self._counts.items()},
            "seconds_left": None if left is None else round(left, 1),
            "running": running,
        }

    def _tell(self, event: str, **facts: Any) -> None:
        """Appends a line of JSON. A failure ends the lines, not the batch."""
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        with contextlib.suppress(OSError, ValueError):
            self._file.write(json.dumps({"time": now, "event": event, **facts}) + "\n")
            self._file.flush()
