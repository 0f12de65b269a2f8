"""The batch: many photos and paintings, one command, nothing done twice."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nst_tf import errors, jobs
from nst_tf.commands import console, flags
from nst_tf.commands.batch import page, table
from nst_tf.commands.batch.status import Status
from nst_tf.commands.options import BatchOptions
from nst_tf.runtime import files, signals

USAGE = """Repaints many photos after many paintings.

  {program} --contents='photos/**/*.jpg' --styles='paintings/*.jpg' --output_dir=out
  {program} --manifest=jobs.csv --output_dir=out

The same command again goes on where it was ended, and makes what is missing.
"""
SOME_FAILED = 3
"""The exit status if some pictures are missing."""
_STATE = ".nst_batch"  # Folder of checkpoints and locks, in the folder of the pictures.


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the batch and returns its exit status.

    0: all pictures exist. 1: the folder cannot be used. 2: a flag or the table is wrong. 3: some
    pictures failed. 130: stopped by Ctrl-C. 143: by SIGTERM. 129: by SIGHUP.

    Args:
        argv: program name and flags; those of the process if None.
    """
    return console.run(argv, flags.BATCH, _command, USAGE)


def _command(values: Any) -> int:
    options: BatchOptions = flags.to_dataclass(values, BatchOptions)
    _check(options, values)
    entries = table.entries(options, values)
    folder = Path(options.output_dir)
    _make(folder)
    with _held(folder, options.shard) as state:
        entries = [_with_checkpoints(entry, options, state) for entry in entries]
        for parent in {(folder / entry.name).parent for entry in entries}:
            _make(parent)
        path = Path(options.status) if options.status else folder / _file("status.jsonl", options)
        console.say(f"{len(entries)} pictures -> {folder}.")
        status = Status(entries, path)
        done, number = _run(entries, options, status)
        _leave(done, folder, options)
    return _told(done, entries, folder / _file("index.html", options), number)


def _check(options: BatchOptions, values: Any) -> None:
    if not options.output_dir:
        raise errors.ConfigError("--output_dir is missing; expected --output_dir=FOLDER.")
    if options.manifest and (options.contents or options.styles):
        raise errors.ConfigError(
            "--manifest and --contents or --styles both give the jobs; leave out one of them."
        )
    if options.workers > 1 and values["device"].present and options.devices:
        raise errors.ConfigError("--device and --devices both give devices; leave out one of them.")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.OutputError(
            f"{folder}: cannot make this folder ({error.strerror}); choose another --output_dir."
        ) from error


def _file(name: str, options: BatchOptions) -> str:
    """Returns the name of a file of this shard."""
    stem, suffix = os.path.splitext(name)
    return f"{stem}-{options.shard.replace('/', '-of-')}{suffix}" if options.shard else name


@contextlib.contextmanager
def _held(folder: Path, shard: str) -> Iterator[Path]:
    """Yields the state folder, locked against another batch of the same shard.

    Without other shards at work, files that a killed run has left half-written are removed.

    Raises:
        ConfigError: a batch of the same shard is at work.
    """
    state = folder / _STATE
    _make(state / "checkpoints")
    with contextlib.ExitStack() as stack:
        lock = state / f"{shard.replace('/', '-of-') or 'all'}.lock"
        if not stack.enter_context(files.locked(lock)):
            raise errors.ConfigError(
                f"{folder}: another batch is at work here. Wait for it, or choose another "
                "--output_dir."
            )
        with files.locked(state) as alone:
            if alone:
                _remove_leftovers(folder)
        stack.enter_context(files.locked(state, shared=True))
        yield state
        with contextlib.suppress(OSError):  # Other shards may still need them.
            lock.unlink()
            (state / "checkpoints").rmdir()
            state.rmdir()


def _remove_leftovers(folder: Path) -> None:
    for path in folder.rglob(files.TEMPORARY):
        with contextlib.suppress(OSError):
            path.unlink()


def _with_checkpoints(entry: table.Entry, options: BatchOptions, state: Path) -> table.Entry:
    """Returns a job with checkpoints in a folder of its own, by its settings and inputs."""
    job = entry.job
    stamps: list[Any] = [entry.name, job.config.to_dict()]
    for role, path in job.paths.items():
        with contextlib.suppress(OSError):
            found = os.stat(path)
            stamps.append([role, found.st_size, found.st_mtime_ns])
    key = hashlib.sha256(json.dumps(stamps).encode(errors="surrogateescape")).hexdigest()[:20]
    checkpoints = jobs.Checkpoints(
        str(state / "checkpoints" / key), options.checkpoint_seconds, resume=True, every_level=False
    )
    return dataclasses.replace(entry, job=dataclasses.replace(job, checkpoints=checkpoints))


# The runs.


class _Stop:
    """Ends the batch after the current steps at the first signal, at once at the second."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, number: int, frame: Any) -> None:
        del frame
        if self.number:
            raise console.interruption(number)
        self.number = number
        console.say("\nStopping after this step.")


def _run(
    entries: Sequence[table.Entry], options: BatchOptions, status: Status
) -> tuple[list[page.Done], int]:
    """Makes the pictures; returns the outcomes in the order of the jobs, and a signal's number."""
    stop, found = _Stop(), dict[int, jobs.Outcome]()
    numbers = {id(entry.job): number for number, entry in enumerate(entries)}
    settings = [entry.job.config for entry in entries]
    settings.sort(key=lambda each: each.precision != "bfloat16")  # The first decides for all.
    set_up = functools.partial(console.load_tensorflow, settings[:1])
    previous = signals.install(stop)
    writer = _Thumbnails(Path(options.output_dir))
    try:
        with status.shown(), writer.at_work():
            outcomes = jobs.stylize_many(
                [entry.job for entry in entries],
                workers=options.workers,
                devices=options.devices,
                retries=options.retries,
                keep_finished=True,
                progress=status.progress,
                stopping=lambda: bool(stop.number),
                set_up=set_up,
            )
            for outcome in outcomes:
                assert outcome.job
                if outcome.status == "stopped":  # Its checkpoint is kept.
                    continue
                number = numbers[id(outcome.job)]
                found[number] = outcome
                status.outcome(number, outcome, entries[number].name)
                if outcome.done:
                    writer.add(entries[number])
    finally:
        signals.restore(previous)
    return [(entries[number], found[number]) for number in sorted(found)], stop.number


class _Thumbnails:
    """Writes thumbnails in a thread beside the steps.

    Args:
        folder: folder of the batch.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: list[table.Entry] = []
        self._ended = threading.Event()
        self._more = threading.Event()

    def add(self, entry: table.Entry) -> None:
        """Adds a job whose picture exists."""
        self._waiting.append(entry)
        self._more.set()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Runs the thread; waits at the end until it has written all."""
        thread = threading.Thread(target=self._write)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._more.set()
            thread.join()

    def _write(self) -> None:
        while self._waiting or not self._ended.is_set():
            self._more.wait()
            self._more.clear()
            while self._waiting:
                with contextlib.suppress(Exception):  # The page goes without it.
                    page.thumbnails(self._waiting.pop(0), self._folder)


# After the runs.


def _leave(done: Sequence[page.Done], folder: Path, options: BatchOptions) -> None:
    """Writes the table and the page, and removes checkpoints of pictures that are done."""
    for entry, outcome in done:
        if outcome.done and entry.job.checkpoints:
            shutil.rmtree(entry.job.checkpoints.folder, ignore_errors=True)
    written = {"report.csv": page.table(done), "index.html": page.page(done, folder)}
    for name, data in written.items():
        path = folder / _file(name, options)
        try:
            with files.atomic_file(path, overwrite=True) as file:
                file.write(data)
        except OSError as error:
            console.say(f"{path}: cannot be written ({errors.reason(error)}).")


def _told(
    done: Sequence[page.Done], entries: Sequence[table.Entry], path: Path, number: int
) -> int:
    """Prints what there is, and returns the exit status."""
    outcomes = [outcome for _, outcome in done]
    made = sum(outcome.done and not outcome.kept for outcome in outcomes)
    kept = sum(outcome.kept for outcome in outcomes)
    failed = sum(outcome.status in ("failed", "diverged") for outcome in outcomes)
    words = [f"{made} made"]
    words += [f"{kept} kept"] if kept else []
    words += [f"{failed} failed"] if failed else []
    missing = len(entries) - made - kept - failed
    words += [f"{missing} not made yet"] if missing else []
    console.give(path)
    console.say(f"{len(entries)} pictures: {', '.join(words)}.")
    if number:
        console.say("Stopped. The same command goes on.")
        return console.stopped_by(number)
    return SOME_FAILED if failed or missing else 0
