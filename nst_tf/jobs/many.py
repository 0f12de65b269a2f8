"""Makes the pictures of many jobs."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

from nst_tf import errors
from nst_tf.imaging import pyramid
from nst_tf.jobs import processes
from nst_tf.jobs.finished import finished
from nst_tf.jobs.job import Job
from nst_tf.jobs.outcome import Outcome
from nst_tf.jobs.worker import Progress, Results, Task, Worker, kept

_SECONDS = 0.2  # Between two looks at whether to stop.


def stylize_many(
    jobs: Iterable[Job],
    *,
    workers: int = 1,
    devices: Sequence[str] = (),
    retries: int = 0,
    keep_finished: bool = False,
    progress: Callable[[Progress], None] = lambda progress: None,
    stopping: Callable[[], bool] = lambda: False,
    set_up: Callable[[], None] | None = None,
) -> Iterator[Outcome]:
    """Makes the pictures of many jobs, and yields the outcome of each as soon as it is known.

        for outcome in nst_tf.stylize_many(jobs):
            print(outcome.job.outputs.picture, outcome.status, outcome.reason)

    Jobs of one network, one painting and one size follow each other, so that they share what was
    computed for the first. A job that fails does not end the others. One worker is this process;
    with several, each is a process of its own, so a program calls this under
    `if __name__ == "__main__":`.

    Args:
        jobs: the jobs.
        workers: number of pictures in the making at a time. Workers share the cores evenly.
        devices: devices such as `GPU:0`, dealt out to the workers in turn; none for the device in
            the settings of each job.
        retries: how often a job is tried again, after all others. A job whose settings are wrong
            or whose loss diverges would fail again, and is not.
        keep_finished: do not make a picture that is there already; see `jobs.finished`.
        progress: receives the progress of each job, twice a second, in any thread.
        stopping: tells whether to stop. Runs end after their step, and are stopped; jobs that are
            not begun have no outcome.
        set_up: function that each worker's process calls before its first job, such as for
            settings of TensorFlow. It can be pickled.

    Yields:
        Outcomes with their `job`. An outcome holds its picture only if that was not written to a
        file. Of several workers, `error` is one of `nst_tf.errors` or None.

    Raises:
        ConfigError: a number is out of range.
        KeyboardInterrupt: it arrived during a step of the only worker, whose outcome is yielded
            first.
    """
    if workers < 1 or retries < 0:
        raise errors.ConfigError(
            f"workers is {workers} and retries {retries}; expected a worker or more, and 0 retries "
            "or more."
        )
    return _outcomes(
        list(jobs), workers, tuple(devices), retries, keep_finished, progress, stopping, set_up
    )


def _outcomes(
    jobs: list[Job],
    workers: int,
    devices: tuple[str, ...],
    retries: int,
    keep_finished: bool,
    progress: Callable[[Progress], None],
    stopping: Callable[[], bool],
    set_up: Callable[[], None] | None,
) -> Iterator[Outcome]:
    todo = []
    for number, job in enumerate(jobs):
        if keep_finished and finished(job):
            yield dataclasses.replace(kept(job), job=job)
        else:
            todo.append(Task(number, job))
    if not todo:
        return
    line = _Line(sorted(todo, key=_order), retries)
    if workers == 1:
        if set_up:
            set_up()
        device = devices[0] if devices else ""
        found = _in_this_process(line, Worker(progress, stopping, device), stopping)
    else:
        shares = processes.shares(min(workers, len(todo)), devices)
        found = _in_processes(line, shares, progress, stopping, set_up)
    with contextlib.closing(found):
        for number, outcome in found:
            yield dataclasses.replace(outcome, job=jobs[number])
            if isinstance(outcome.error, KeyboardInterrupt):
                raise outcome.error


def _order(task: Task) -> tuple[Any, ...]:
    """Returns a key by which tasks of one network, painting and size follow each other."""
    config, given = task.job.config, task.job.inputs
    levels = _levels(task.job)
    if not levels:  # Fails at once, so it comes first.
        return "", (), (), task.number
    network = repr((config.network_name, *config.network.values()))
    sizes = [(level.height, level.width) for level in reversed(levels)]
    paintings = getattr(given, "styles", ())
    names = tuple(each if isinstance(each, str) else str(id(each)) for each in paintings)
    return network, names, tuple(sizes), task.number


def work(job: Job) -> float:
    """Returns the work of a job, in steps times pixels; 0 if its pictures cannot be used."""
    return float(sum(level.height * level.width * level.steps for level in _levels(job)))


def _levels(job: Job) -> Sequence[pyramid.Level]:
    """Returns the levels of a job, by the headers of its pictures; none if these are no good."""
    try:
        return pyramid.plan(job.config, *job.inputs.sizes(job.config))
    except errors.StyleTransferError:
        return ()


class _Line:
    """The tasks that wait for a worker. Every worker may take the task that another would be next.

    Args:
        tasks: the tasks, in their order.
        retries: how often a failed task comes back.
    """

    def __init__(self, tasks: Sequence[Task], retries: int) -> None:
        self._waiting = collections.deque(tasks)
        self._meant: dict[object, Task] = {}
        self._failed: collections.deque[Task] = collections.deque()
        self._tried: collections.Counter[int] = collections.Counter()
        self._retries = retries
        self._lock = threading.Lock()

    def take(self, worker: object) -> tuple[Task, Task | None] | None:
        """Returns the next task of a worker, and the one that it probably takes then; or None."""
        with self._lock:
            task = self._meant.pop(worker, None) or self._next()
            if task is None:
                return None
            following = self._waiting.popleft() if self._waiting else None
            if following:
                self._meant[worker] = following
            return task, following

    def _next(self) -> Task | None:
        if self._waiting:
            return self._waiting.popleft()
        if self._meant:
            return self._meant.popitem()[1]
        return self._failed.popleft() if self._failed else None

    def empty(self) -> None:
        """Drops all tasks that wait."""
        with self._lock:
            self._waiting.clear()
            self._meant.clear()
            self._failed.clear()

    def put_back(self, tasks: Iterable[Task]) -> None:
        """Puts tasks back whose worker ended."""
        with self._lock:
            self._waiting.extend(task._replace(again=True) for task in tasks)

    def tries_again(self, task: Task, outcome: Outcome) -> bool:
        """Returns whether a task is tried again after an outcome, and puts it back then."""
        with self._lock:
            failed = outcome.status == "failed" and not isinstance(
                outcome.error, errors.ConfigError
            )
            if not failed or self._tried[task.number] >= self._retries:
                return False
            self._tried[task.number] += 1
            self._failed.append(task)
            return True


def _in_this_process(
    line: _Line, worker: Worker, stopping: Callable[[], bool]
) -> Generator[tuple[int, Outcome]]:
    """Yields the outcomes of all tasks, made by a worker."""
    try:
        for results in _results(line, worker, stopping):
            yield from results
    finally:
        worker.close()


def _results(
    line: _Line, worker: Worker | processes.Process, stopping: Callable[[], bool]
) -> Iterator[Results]:
    """Has a worker make tasks until there are none; yields the outcomes that are final."""
    open_: dict[int, Task] = {}  # Begun, and without an outcome so far.

    def final(results: Results) -> Results:
        return [
            (number, outcome)
            for number, outcome in results
            if not line.tries_again(open_.pop(number), outcome)
        ]

    while True:
        taken = None if stopping() else line.take(worker)
        try:
            if taken is None:
                if open_:
                    yield final(worker.finish())
                if stopping() or not (taken := line.take(worker)):
                    return
            open_[taken[0].number] = taken[0]
            yield final(worker.run(*taken))
        except processes.Died as death:
            yield from _after(death, line, open_, taken)


def _after(
    death: processes.Died,
    line: _Line,
    open_: dict[int, Task],
    taken: tuple[Task, Task | None] | None,
) -> Iterator[Results]:
    """Puts back the tasks of a process that ended; the one that it was at has failed."""
    current = taken[0] if taken else None
    line.put_back(task for task in open_.values() if task is not current)
    open_.clear()
    if current:
        outcome = Outcome("failed", str(death), error=death)
        if not line.tries_again(current._replace(again=True), outcome):
            yield [(current.number, outcome)]


def _in_processes(
    line: _Line,
    shares: Sequence[processes.Share],
    progress: Callable[[Progress], None],
    stopping: Callable[[], bool],
    set_up: Callable[[], None] | None,
) -> Generator[tuple[int, Outcome]]:
    """Yields the outcomes of all tasks, made by a process for each share of the machine."""
    results, at_work = queue.SimpleQueue[Any](), list[processes.Process]()

    def drive(process: processes.Process) -> None:
        try:
            with contextlib.closing(process):
                for found in _results(line, process, stopping):
                    results.put(found)
        except BaseException as error:
            results.put(error)
        else:
            results.put(None)

    with concurrent.futures.ThreadPoolExecutor(len(shares)) as pool:
        try:
            for share in shares:
                at_work.append(processes.Process(share, progress, set_up))
                pool.submit(drive, at_work[-1])
            yield from _received(results, at_work, stopping)
        finally:
            line.empty()
            for process in at_work:
                process.stop()


def _received(
    results: queue.SimpleQueue[Any],
    at_work: Sequence[processes.Process],
    stopping: Callable[[], bool],
) -> Iterator[tuple[int, Outcome]]:
    """Yields results until each process has sent None; stops them when that is asked for."""
    left, told = len(at_work), False
    while left:
        try:
            found = results.get(timeout=_SECONDS)
        except queue.Empty:
            found = []
        if isinstance(found, BaseException):
            raise found
        left -= found is None
        yield from found or ()
        if not told and stopping():
            told = True
            for process in at_work:
                process.stop()
