"""Shots that are painted in processes of their own."""

from __future__ import annotations

import time
from concurrent import futures
from typing import TYPE_CHECKING, Any

import pebble

from nst_tf import errors
from nst_tf.film import clips, painting
from nst_tf.film.store import Store
from nst_tf.jobs import processes

if TYPE_CHECKING:
    from nst_tf.engine import transfer
    from nst_tf.film.film import Film

_LOOKS = 0.2  # Seconds between two looks at what is done.
_stop: Any = None
_engine: transfer.StyleTransfer | None = None


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
    stop, share = processes.CONTEXT.Event(), processes.shares(workers, ())[0]
    left = {number for number in range(len(found.times)) if not store.has(number)}
    with pebble.ProcessPool(
        workers, context=processes.CONTEXT, initializer=_begin, initargs=(share, stop)
    ) as pool:
        longest_first = sorted(range(len(found.shots)), key=lambda at: -len(found.shots[at]))
        waiting = [pool.schedule(_paint, args=(film, found, store, at)) for at in longest_first]
        try:
            while waiting:
                time.sleep(_LOOKS)
                if watcher.stopping:
                    stop.set()
                done = [each for each in waiting if each.done()]
                waiting = [each for each in waiting if not each.done()]
                made = sorted(number for number in left if store.has(number))
                left.difference_update(made)
                for number in made:
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


def _begin(share: processes.Share, stop: Any) -> None:
    global _stop
    _stop = stop
    processes.begin(share)


class _Told(painting.Watcher):
    """Stops when the program says so."""

    @property
    def stopping(self) -> bool:
        return bool(_stop.is_set())


def _paint(film: Film, found: painting.Survey, store: Store, index: int) -> None:
    global _engine
    from nst_tf.engine import transfer

    _engine = _engine or transfer.StyleTransfer(film.config)  # One for all shots of a process.
    clip = clips.opened(film.content, film.rate, film.config.max_pixels)
    painting.Work(film, clip, found, store, _engine, _Told()).paint(index)
