"""Saves a picture, elsewhere if need be."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nst_tf import errors
from nst_tf.runtime import files

if TYPE_CHECKING:
    from nst_tf.engine.result import Result


def keep(result: Result, path: Path, bit_depth: int = 8, overwrite: bool = False) -> Path:
    """Writes a picture and returns its path. If that fails, it tries other folders.

    Args:
        result: the picture.
        path: the wanted path. Without `overwrite`, an existing file gives the picture a free name
            beside it; programs that save at the same moment get different names.
        bit_depth: bits per channel.
        overwrite: replace an existing file.

    Raises:
        OutputError: the picture could not be written at `path`; the attribute `elsewhere` has its
            path in another folder, or None if no folder took it.
    """
    try:
        if overwrite:
            return result.save(path, bit_depth, overwrite)
        return _save_under_free_name(result, path, bit_depth)
    except errors.OutputError as error:
        for folder in _refuges():
            with contextlib.suppress(errors.OutputError):
                refuge = _save_under_free_name(result, folder / path.name, bit_depth)
                break
        else:
            raise
        moved = errors.OutputError(f"{error} The picture is {refuge} instead.")
        moved.elsewhere = refuge
        raise moved from error


def _save_under_free_name(result: Result, path: Path, bit_depth: int) -> Path:
    name, number = path, 2
    while True:
        if not os.path.lexists(name):  # Else encoding would be wasted.
            with contextlib.suppress(errors.ExistingOutputError):
                return result.save(name, bit_depth)
        name, number = files.sibling(path, f"-{number}{path.suffix}"), number + 1


def _refuges() -> Iterator[Path]:
    """Yields the folders to try when the wanted one fails."""
    with contextlib.suppress(OSError):
        yield Path(tempfile.gettempdir())
    with contextlib.suppress(RuntimeError):
        yield Path.home()
