"""Makes the pictures of many jobs in one process, one after the other."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nst_tf import callbacks
from nst_tf.jobs import running
from nst_tf.jobs.checking import check
from nst_tf.jobs.finished import finished
from nst_tf.jobs.job import Job
from nst_tf.jobs.outcome import Outcome, of_error
from nst_tf.jobs.planning import Ready, plan, read

if TYPE_CHECKING:
    from nst_tf.engine import transfer

logger = logging.getLogger("nst_tf")

_SECONDS = 0.5  # Between two reports.


class Task(NamedTuple):
    """A job in a list.

    Attributes:
        number: its index in the list.
        job: the job.
        again: whether it was begun before, by a process that ended.
    """

    number: int
    job: Job
    again: bool = False


class Progress(NamedTuple):
    """How far a job is.

    Attributes:
        number: index of the job in its list.
        share: share of its work that is done, 0 to 1.
        level: index of its level, coarse to fine.
        step: number of the last step in that level.
        loss: weighted loss of that step.
    """

    number: int
    share: float
    level: int
    step: int
    loss: float


Results = list[tuple[int, Outcome]]
"""Outcomes by the number of their task."""


class Worker:
    """Runs tasks with one network and one set of compiled steps, as long as they fit.

    The pictures of the next task are read, and those of the last one are written, in threads
    beside the steps.

    Args:
        report: receives the progress of a task, twice a second.
        stopping: tells, after each step, whether to end the run.
        device: device of all jobs; an empty text for that of each job's settings.
    """

    def __init__(
        self,
        report: Callable[[Progress], None] = lambda progress: None,
        stopping: Callable[[], bool] = lambda: False,
        device: str = "",
    ) -> None:
        self._report, self._stopping, self._device = report, stopping, device
        self._reader, self._writer = (
            concurrent.futures.ThreadPoolExecutor(1, f"nst_tf-{name}") for name in ("read", "write")
        )
        self._reading: dict[int, concurrent.futures.Future[Ready | Outcome]] = {}
        self._writing: list[tuple[int, concurrent.futures.Future[Outcome]]] = []
        self._engine: transfer.StyleTransfer | None = None

    def run(self, task: Task, following: Task | None = None) -> Results:
        """Makes the picture of a task.

        Args:
            task: the task.
            following: the task that will probably be next; its pictures are read meanwhile.

        Returns:
            The outcomes that have become known, of earlier tasks or this one. `finish` returns
            those that are still missing.
        """
        reading = self._reading.pop(task.number, None) or self._read(task)
        self._reading.clear()  # Another worker has taken what was read in vain.
        ready = reading.result()
        if following:
            self._reading[following.number] = self._read(following)
        if isinstance(ready, Outcome):
            return [*self.finish(), (task.number, ready)]
        try:
            backbone = running.network_for(ready.config, self._engine)
            planned = plan(ready, backbone)
            self._engine = running.engine_for(planned, self._engine)
        except Exception as error:
            logger.debug("The job cannot be done.", exc_info=error)
            return [*self.finish(), (task.number, of_error(error))]
        watch = _Watch(task.number, self._report, self._stopping)
        made = running.make(planned, self._engine, [watch])
        earlier = self.finish()
        if made.outcome.status == "stopped":  # Its caller will not go on.
            return [*earlier, (task.number, _written(made))]
        self._writing = [(task.number, self._writer.submit(_written, made))]
        return earlier

    def _read(self, task: Task) -> concurrent.futures.Future[Ready | Outcome]:
        if self._device:
            config = task.job.config.replace(device=self._device)
            task = task._replace(job=dataclasses.replace(task.job, config=config))
        return self._reader.submit(_ready, task)

    def finish(self) -> Results:
        """Waits for pictures that are being written, and returns their outcomes."""
        writing, self._writing = self._writing, []
        return [(number, future.result()) for number, future in writing]

    def close(self) -> None:
        """Ends the threads."""
        self._reader.shutdown(cancel_futures=True)
        self._writer.shutdown()


def _ready(task: Task) -> Ready | Outcome:
    """Returns a job with its pictures, or its outcome if there is nothing more to do."""
    try:
        if task.again and finished(task.job):
            return kept(task.job)
        check(task.job)
        return read(task.job)
    except Exception as error:
        logger.debug("The job cannot be done.", exc_info=error)
        return of_error(error)


def kept(job: Job) -> Outcome:
    """Returns the outcome of a job whose finished picture exists."""
    return Outcome("done", path=Path(job.outputs.picture), config=job.config, kept=True)


def _written(made: running.Made) -> Outcome:
    """Writes the files of a job. The outcome of a written picture does not hold its pixels."""
    try:
        found = running.write(made)
    except Exception as error:
        logger.debug("The picture cannot be written.", exc_info=error)
        return of_error(error)
    return dataclasses.replace(found, picture=None) if found.done and found.path else found


class _Watch(callbacks.Callback):
    """Reports the progress of a job, and ends it where that is asked for."""

    def __init__(
        self, number: int, report: Callable[[Progress], None], stopping: Callable[[], bool]
    ) -> None:
        self._number, self._report, self._stopping = number, report, stopping

    def on_begin(self, run: callbacks.Run) -> None:
        self._run, self._told = run, time.monotonic()
        self._work = [level.height * level.width * level.steps for level in run.levels]

    def on_step_end(self, step: callbacks.StepEnd) -> None:
        level = self._run.levels[step.level]
        done = sum(self._work[: step.level]) + level.height * level.width * step.step
        now = time.monotonic()
        if now - self._told >= _SECONDS:
            self._told, share = now, done / sum(self._work)
            loss = float(step.loss)  # Waits for the device, so not at every step.
            self._report(Progress(self._number, share, step.level, step.step, loss))
        if self._stopping():
            self._run.stopping = True
