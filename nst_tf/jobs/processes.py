"""Workers in processes of their own."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import logging.handlers
import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import pebble

from nst_tf import errors
from nst_tf.jobs.outcome import Outcome
from nst_tf.jobs.worker import Progress, Results, Task, Worker
from nst_tf.runtime import limits, signals

logger = logging.getLogger("nst_tf")

CONTEXT = multiprocessing.get_context("spawn")
"""How processes are started. A fork would inherit TensorFlow's threads."""
_THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
_worker: Worker | None = None


class Share(NamedTuple):
    """The part of the machine that a worker has.

    Attributes:
        processes: number of workers.
        threads: threads of this worker.
        device: device of this worker, or an empty text for that of each job's settings.
    """

    processes: int
    threads: int
    device: str = ""


def shares(processes: int, devices: tuple[str, ...]) -> list[Share]:
    """Returns a part of the machine for each worker; the devices are dealt out in turn."""
    threads = max(1, limits.cores() // processes)
    found = devices or ("",)
    return [Share(processes, threads, found[at % len(found)]) for at in range(processes)]


class Died(errors.StyleTransferError):
    """A worker's process ended while it was at work."""


class Process:
    """A worker in a process of its own. If the process ends, the next task gets a new one.

    Each process has pipes of its own: a queue for all has a lock, which a killed process may hold
    for ever.

    Args:
        share: its part of the machine.
        report: receives the progress of tasks, in a thread.
        set_up: function that the process calls first, or None; it can be pickled.
    """

    def __init__(
        self,
        share: Share,
        report: Callable[[Progress], None],
        set_up: Callable[[], None] | None,
    ) -> None:
        self._report = report
        self._heard, self._said = CONTEXT.Pipe(duplex=False)
        self._stop, self._told = CONTEXT.Pipe(duplex=False)[::-1]
        arguments = share, self._said, self._told, set_up
        self._pool = pebble.ProcessPool(1, context=CONTEXT, initializer=_begin, initargs=arguments)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        """Passes on what the process reports and logs."""
        while (found := self._heard.recv()) is not None:
            if isinstance(found, logging.LogRecord):
                logger.handle(found)
            else:
                self._report(found)

    def stop(self) -> None:
        """Asks the process to stop its task after the current step."""
        with contextlib.suppress(OSError):  # It has ended.
            self._stop.send(None)

    def run(self, task: Task, following: Task | None = None) -> Results:
        """Makes the picture of a task, as `Worker.run` does.

        Raises:
            Died: the process ended.
        """
        return self._call(_run, task, following)

    def finish(self) -> Results:
        """Waits for pictures that are being written, as `Worker.finish` does.

        Raises:
            Died: the process ended.
        """
        return self._call(_finish)

    def _call(self, function: Callable[..., Results], *arguments: Any) -> Results:
        try:
            return self._pool.schedule(function, args=arguments).result()
        except pebble.ProcessExpired as error:
            raise Died(f"the worker process ended ({_in_words(error.exitcode)}).") from error

    def close(self) -> None:
        """Ends the process."""
        self._pool.stop()
        self._pool.join()
        self._said.send(None)
        self._listener.join()
        for end in (self._heard, self._said, self._stop, self._told):
            end.close()


def _in_words(status: int | None) -> str:
    """Returns the exit status of a process in words."""
    if status == -9:
        return "signal 9; the system kills a process when memory runs out"
    return f"signal {-status}" if status and status < 0 else f"exit status {status}"


# In the worker's process.


def _begin(
    share: Share, said: Connection, told: Connection, set_up: Callable[[], None] | None
) -> None:
    global _worker
    begin(share)
    send = _Sender(said)
    logger.addHandler(_Handler(send))
    logger.setLevel(logging.INFO)
    if set_up:
        set_up()
    _worker = Worker(send, told.poll, share.device)


def begin(share: Share) -> None:
    """Makes this process a worker: it keeps to its share, and ends with the program."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signals.ignore()  # A signal to all processes of a terminal is for the program alone.
    for name in _THREADS:
        os.environ[name] = str(share.threads)
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    limits.share_memory(share.processes)


class _Sender:
    """Sends objects to the program, one at a time."""

    def __init__(self, said: Connection) -> None:
        self._said, self._lock = said, threading.Lock()

    def __call__(self, found: Any) -> None:
        with self._lock:
            self._said.send(found)


def _end_with_parent() -> None:
    """Ends this process with its parent, even if that is killed; else both would go on."""
    parent = multiprocessing.parent_process()
    assert parent
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


class _Handler(logging.handlers.QueueHandler):
    """Sends log records to the program."""

    def __init__(self, send: _Sender) -> None:
        super().__init__(None)  # type: ignore[arg-type]  # `enqueue` takes the place of a queue.
        self._send = send

    def enqueue(self, record: logging.LogRecord) -> None:
        self._send(record)


def _run(task: Task, following: Task | None) -> Results:
    assert _worker
    return [_sent(each) for each in _worker.run(task, following)]


def _finish() -> Results:
    assert _worker
    return [_sent(each) for each in _worker.finish()]


def _sent(result: tuple[int, Outcome]) -> tuple[int, Outcome]:
    """Returns an outcome whose exception, if it has one, survives the way."""
    number, outcome = result
    known = isinstance(outcome.error, errors.StyleTransferError)
    if known and not isinstance(outcome.error, errors.DivergenceError):
        return result
    return number, dataclasses.replace(outcome, error=None)
