"""Checkpoints, from which an interrupted run goes on."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nst_tf import errors
from nst_tf.callbacks.callback import Callback, Run, StepEnd
from nst_tf.records import snapshot as snapshots
from nst_tf.runtime import files

if TYPE_CHECKING:
    import tensorflow as tf

logger = logging.getLogger("nst_tf")

_KEPT = 2  # The newest, and one to fall back to.


class Checkpoint(Callback):
    """Saves snapshots of the run, from which it can go on after an interruption.

    It saves one every so many seconds, at the end of every level unless that is switched off, and
    when the run is stopped, and keeps the last two. A failure to write is reported once; the run
    goes on, and the next checkpoint is tried when it is due. During a run no other run can begin in
    the same folder, if the system and the disk support locks.

    Args:
        folder: folder for the checkpoints of one run at a time; made if it does not exist.
        seconds: seconds from the end of one writing to the beginning of the next; 0 saves every
            step.
        overwrite: remove the checkpoints of another run.
        every_level: save one at the end of every level. Without, runs of a few seconds save none.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        seconds: float = 60.0,
        overwrite: bool = False,
        every_level: bool = True,
    ) -> None:
        self._folder = Path(folder)
        self._seconds = seconds
        self._overwrite = overwrite
        self._every_level = every_level
        self._failed = False
        self._own: list[Path] = []
        self._held = contextlib.ExitStack()

    @property
    def saved(self) -> Path | None:
        """The newest checkpoint of this run, or None."""
        return self._own[-1] if self._own else None

    def load(self) -> snapshots.Snapshot | None:
        """Returns the newest sound snapshot in the folder, or None if the folder has none.

        Raises:
            CheckpointError: all snapshots are damaged, or one is of another version.
        """
        found = snapshots.newest(self._folder)
        return snapshots.read(found) if found else None

    def on_begin(self, run: Run) -> None:
        """Prepares the folder.

        Raises:
            ConfigError: another run is using the folder; or it holds checkpoints that the run does
                not go on from, and `overwrite` is False.
        """
        self._run = run
        self._last: StepEnd | None = None
        self._held.close()
        with contextlib.suppress(OSError):  # `_save` tries again, and reports.
            self._folder.mkdir(exist_ok=True)
        with contextlib.ExitStack() as stack:
            stack.enter_context(_held(self._folder))
            self._make_ready(run)
            self._held = stack.pop_all()

    def _make_ready(self, run: Run) -> None:
        held, current = snapshots.stored(self._folder), self._path(run.level, run.step)
        self._own = held[: held.index(current) + 1] if current in held else []
        if held and not self._own:
            if not self._overwrite:
                raise occupied(self._folder)
            for path in held:
                _remove(path)
        for path in files.leftovers(self._folder, snapshots.PREFIX):
            shutil.rmtree(path, ignore_errors=True)
        self._written = time.monotonic()

    def on_step_end(self, step: StepEnd) -> None:
        self._last = step
        level_ends = step.step == self._run.levels[step.level].steps
        if (self._every_level and level_ends) or time.monotonic() - self._written >= self._seconds:
            self._save(step)

    def on_end(self, image: tf.Tensor) -> None:
        """Saves the last step of a stopped run. Only now is it known to be the last."""
        with self._held:
            last = self._last
            if last is not None and self.saved != self._path(last.level, last.step):
                self._save(last)

    def on_error(self, error: BaseException) -> None:
        """Releases the folder."""
        self._held.close()

    def remove(self) -> None:
        """Removes the checkpoints, and the folder if nothing else is in it.

        Call it once the finished picture is saved. If another run has begun in the folder since,
        nothing is removed.
        """
        self._held.close()
        self._own = []
        with contextlib.suppress(errors.ConfigError), _held(self._folder):
            for path in snapshots.stored(self._folder):
                _remove(path)
            with contextlib.suppress(OSError):  # Not empty, or not ours to remove.
                self._folder.rmdir()

    def _path(self, level: int, step: int) -> Path:
        """Returns the path of a checkpoint, named by the steps taken in all levels."""
        taken = sum(each.steps for each in self._run.levels[:level]) + step
        return self._folder / f"{snapshots.PREFIX}{taken:06d}"

    def _save(self, step: StepEnd) -> None:
        path = self._path(step.level, step.step)
        try:
            self._folder.mkdir(exist_ok=True)
            snapshots.write(step.snapshot(), path)
        except Exception as error:  # No failure here may end the run.
            if not self._failed:
                logger.warning(
                    "%s The work goes on, and the next one is tried.", _in_words(error, path)
                )
            self._failed = True
        else:
            self._failed = False
            self._own = [*self._own, path][-_KEPT:]
            for old in snapshots.stored(self._folder):
                if old not in self._own:
                    _remove(old)
        self._written = time.monotonic()


def _in_words(error: Exception, path: Path) -> str:
    """Returns a sentence about a checkpoint that cannot be written."""
    if isinstance(error, errors.OutputError):
        return str(error)
    reason = getattr(error, "strerror", None) or type(error).__name__
    return f"{path}: the checkpoint cannot be written ({reason})."


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Locks a folder against other processes, and against other runs in this one.

    Raises:
        ConfigError: another run has locked the folder.
    """
    if not os.path.isdir(folder):  # It cannot be made, which `_save` reports.
        yield
        return
    with files.locked(folder) as free:
        if not free:
            raise errors.ConfigError(
                f"{folder}: another run keeps its checkpoints here, and is at work. Wait for it, "
                "or choose another folder."
            )
        yield


def require_free(folder: Path) -> None:
    """Raises ConfigError if a running stylisation keeps its checkpoints in the folder."""
    with _held(folder):
        pass


def occupied(folder: Path) -> errors.ConfigError:
    """Returns the error for a folder with the checkpoints of another run."""
    return errors.ConfigError(
        f"{folder}: holds checkpoints of an earlier run. Go on from them (--resume), choose "
        "another folder, or replace them (--overwrite)."
    )


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # A checkpoint that stays does no harm.
        files.remove_folder(path)
