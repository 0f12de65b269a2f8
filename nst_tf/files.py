"""Files of any kind: hashes, and writing that leaves whole files or none."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def file_hash(path: str | os.PathLike[str], kind: str = "sha256") -> str:
    """Returns the hash of a file, in hexadecimal."""
    state = hashlib.new(kind, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def parse_json(text: str | bytes) -> Any:
    """Returns what a JSON text says that anybody may have written.

    Raises:
        ValueError: it is no JSON, is nested too deep, or holds a whole number beyond the range of
            floating-point ones.
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
def atomic_file(path: str | os.PathLike[str], keep: bool = True) -> Iterator[io.BufferedWriter]:
    """Opens a temporary file beside `path` that takes its place once it is whole.

    Args:
        path: the file to make or replace.
        keep: False removes the temporary file instead.
    """
    path = Path(path)
    temporary = path.with_name(f".nst_tf-{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep:
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Makes a temporary folder beside `path` that takes its place once its files are whole.

    Where the process is killed, the temporary folder stays, and `leftovers` finds it.
    """
    temporary = path.with_name(f".{path.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
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
    """Removes a folder, if it is there; who looks for it finds the whole of it or nothing.

    Raises:
        OSError: it cannot be removed.
    """
    doomed = path.with_name(f".{path.name}.old")
    shutil.rmtree(doomed, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def leftovers(folder: Path, prefix: str) -> list[Path]:
    """Returns what a killed process left of folders whose names begin with `prefix`."""
    return [path for end in ("new", "old") for path in folder.glob(f".{prefix}*.{end}")]


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, would outlive a power cut."""
    if os.name == "nt":  # Which has no such call for folders, nor for files opened to read.
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
