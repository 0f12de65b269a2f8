"""Files of any kind: hashes, and writing that leaves whole files or none."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path


def file_hash(path: str | os.PathLike[str], kind: str = "sha256") -> str:
    """Returns the hash of a file, in hexadecimal."""
    state = hashlib.new(kind, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()


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
