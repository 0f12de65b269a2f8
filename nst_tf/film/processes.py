"""Shots that are painted in processes of their own."""

from __future__ import annotations

import concurrent.futures as futures
import multiprocessing
import multiprocessing.connection
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pebble

from nst_tf import errors
from nst_tf.film import clips, painting
from nst_tf.film.store import Store
from nst_tf.runtime import limits, signals

if TYPE_CHECKING:
    from nst_tf.film.film import Film

_CONTEXT = multiprocessing.get_context("spawn")  # A fork would inherit TensorFlow's threads.
_THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
_LOOKS = 0.2  # Seconds between two looks at what is done.
_stop: Any = None


def paint(
    film: Film,
    found: painting.Survey,
    store: Store,
    watcher: painting.Watcher,
    workers: int,
) -> None:
    """Paints all shots of a film.

    Args:
        film: the film.
        found: its survey.
        store: its folder, in which the processes leave their frames.
        watcher: told of each frame; its callbacks for steps are not called.
        workers: number of processes.

    Raises:
        StoppedError: the watcher asked to stop.
        StyleTransferError: a shot cannot be painted, or a process ended.
    """
    stop = _CONTEXT.Event()
    threads = max(1, limits.cores() // workers)
    told = {number for number in range(len(found.times)) if store.has(number)}
    with pebble.ProcessPool(
        workers, context=_CONTEXT, initializer=_begin, initargs=(threads, workers, stop)
    ) as pool:
        longest_first = sorted(range(len(found.shots)), key=lambda at: -len(found.shots[at]))
        waiting = [pool.schedule(_paint, args=(film, found, at)) for at in longest_first]
        try:
            while waiting:
                time.sleep(_LOOKS)
                if watcher.stopping:
                    stop.set()
                done = [each for each in waiting if each.done()]
                waiting = [each for each in waiting if not each.done()]
                for number in range(len(found.times)):
                    if number not in told and store.has(number):
                        told.add(number)
                        watcher.on_frame(number)
                for each in done:
                    _check(each)
        except BaseException:
            pool.stop()
            raise
    if watcher.stopping:
        raise painting.StoppedError("the film was stopped.")


def _check(future: Any) -> None:
    try:
        future.result()
    except painting.StoppedError:
        pass
    except (pebble.ProcessExpired, futures.BrokenExecutor) as error:
        raise errors.StyleTransferError(
            "a worker process ended; perhaps memory ran out. Give fewer workers."
        ) from error


# In the worker's process.


def _begin(threads: int, workers: int, stop: Any) -> None:
    global _stop
    _stop = stop
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signals.ignore()  # A signal to all processes of a terminal is for the program alone.
    for name in _THREADS:
        os.environ[name] = str(threads)
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    limits.share_memory(workers)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


class _Told(painting.Watcher):
    """Stops when the program says so."""

    @property
    def stopping(self) -> bool:
        return bool(_stop.is_set())


def _paint(film: Film, found: painting.Survey, index: int) -> None:
    from nst_tf.engine import transfer

    clip = clips.opened(film.content, film.rate, film.config.max_pixels)
    store = Store(film.folder, film.about(), resume=True)
    engine = _engine(film, transfer)
    painting.Work(film, clip, found, store, engine, _Told()).paint(index)


_engines: dict[str, Any] = {}


def _engine(film: Film, transfer: Any) -> Any:
    """Returns the engine of this process, built for its first shot."""
    if not _engines:
        _engines[""] = transfer.StyleTransfer(film.config)
    return _engines[""]
