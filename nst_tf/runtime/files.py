"""Files of any kind: hashes, names and atomic writing."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import secrets
import shutil
import stat
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

_LONGEST_NAME = 255  # Bytes; the limit of file systems.
TEMPORARY = ".nst_tf-*.tmp"
"""Pattern of the files of `atomic_file`; a killed process may leave one."""


def file_hash(path: str | os.PathLike[str], kind: str = "sha256") -> str:
    """Returns the hash of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return stream_hash(file, kind)


def stream_hash(file: BinaryIO, kind: str = "sha256") -> str:
    """Returns the hash of an open file from its beginning, in hexadecimal."""
    state = hashlib.new(kind, usedforsecurity=False)
    file.seek(0)
    while block := file.read(1 << 20):
        state.update(block)
    return state.hexdigest()


def parse_json(text: str | bytes) -> Any:
    """Parses JSON from an untrusted source.

    Raises:
        ValueError: the text is no JSON, is nested too deep, or holds a whole number beyond the
            range of floating-point numbers.
    """
    try:
        return json.loads(text, parse_int=_whole_number)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _whole_number(digits: str) -> int:
    if len(digits) > 300:
        raise ValueError(f"a whole number has {len(digits)} digits")
    return int(digits)


@contextlib.contextmanager
def atomic_file(
    path: str | os.PathLike[str], overwrite: bool = True
) -> Iterator[io.BufferedWriter]:
    """Opens a temporary file beside `path`, which is renamed to `path` once it is complete.

    Args:
        path: the file to make or replace. A link is followed, and its target replaced.
        overwrite: whether to replace a file. If False, an existing file or link stays untouched,
            even one that appears in the meantime.

    Raises:
        FileExistsError: the file exists, and `overwrite` is False.
        OSError: the file cannot be written. A previous file is untouched.
    """
    path = Path(os.path.realpath(path) if overwrite else path)
    temporary = path.with_name(TEMPORARY.replace("*", secrets.token_hex(8)))
    try:
        with open(temporary, "xb") as file:  # Never follows a planted link.
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            os.replace(temporary, path)
        else:
            _place(temporary, path)
        with contextlib.suppress(OSError):  # Not every file system syncs folders.
            _sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _place(temporary: Path, path: Path) -> None:
    """Renames a file to `path`, unless that exists.

    Raises:
        FileExistsError: `path` exists.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # The file system has no links: reserve the name first.
        open(path, "xb").close()
        try:
            os.replace(temporary, path)
        except BaseException:
            path.unlink()
            raise


@contextlib.contextmanager
def locked(path: Path, shared: bool = False) -> Iterator[bool]:
    """Locks a file or folder against other processes, and against other locks in this one.

    The lock of a folder leaves no file. A lock ends with the process. Without support for such
    locks, or if the path cannot be opened, nothing is locked.

    Args:
        path: a folder, or a file, which is made if it does not exist.
        shared: allow others that ask for a shared lock, too.

    Yields:
        False if another lock is in the way, else True.
    """
    try:
        import fcntl

        kind = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
        descriptor = os.open(path, kind, 0o666)
    except (ImportError, OSError):  # Windows has no such locks.
        yield True
        return
    try:
        free = True
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            free = False
        except OSError:  # Some file systems have no locks either.
            pass
        yield free
    finally:
        os.close(descriptor)


def probe(path: str | os.PathLike[str]) -> None:
    """Checks that a file can be written at `path`, and leaves no trace.

    Raises:
        OSError: it cannot be written, or something other than a file exists there.
        ValueError: the path is not valid.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(path).st_mode):  # Also fails for a name that is too long.
            raise OSError(errno.EINVAL, "no regular file")
    with tempfile.TemporaryFile(dir=os.path.dirname(os.path.realpath(path))):
        pass


def identity(path: str | os.PathLike[str]) -> tuple[object, ...]:
    """Returns a key that is equal for all names of one file, which need not exist yet.

    Two files that do not exist count as one if their names differ only in case or in Unicode
    composition, because many file systems treat such names as equal.
    """
    try:
        found = os.stat(path)
        return found.st_dev, found.st_ino
    except OSError:
        folder, name = os.path.split(os.path.realpath(path))
        place = identity(folder) if os.path.isdir(folder) else (folder,)
        return *place, unicodedata.normalize("NFC", name).casefold()


def sibling(path: Path, ending: str) -> Path:
    """Returns a path in the same folder: the stem of `path`, cut if need be, and an ending."""
    stem = shortened(path.stem, _LONGEST_NAME - len(os.fsencode(ending)))
    return path.with_name(stem + ending)


def shortened(name: str, size: int) -> str:
    """Returns a name cut, at a whole character, to at most `size` bytes."""
    while len(os.fsencode(name)) > size:
        name = name[:-1]
    return name


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Makes a temporary folder beside `path`, renamed to `path` once its files are complete.

    If the process is killed, the temporary folder stays, and `leftovers` finds it.
    """
    temporary = _hidden(path, "new")
    try:
        temporary.mkdir()
        yield temporary
        for file in (*temporary.iterdir(), temporary):
            _sync(file)
        remove_folder(path)
        os.rename(temporary, path)
        _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Removes a folder, if it exists, atomically: others see all of it or nothing.

    Raises:
        OSError: it cannot be removed.
    """
    doomed = _hidden(path, "old")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _hidden(path: Path, end: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.{end}")


def leftovers(folder: Path, prefix: str) -> list[Path]:
    """Returns temporary folders of a killed process, for names that begin with `prefix`."""
    return [path for end in ("new", "old") for path in folder.glob(f".{prefix}*.{end}")]


def _sync(path: Path) -> None:
    """Flushes a file, or the names in a folder, to the disk."""
    if os.name == "nt":  # Windows syncs neither folders nor files opened to read.
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
