"""Saving a picture that must not be lost."""

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
    """Writes a picture and returns where; finds it another place rather than lose it.

    Args:
        result: the picture.
        path: where it should go. Without `overwrite` a free name near it is taken, of several
            programs that save at the same moment by each another.
        bit_depth: bits a channel.
        overwrite: replace a file that is there.

    Raises:
        OutputError: it could not be written there; `elsewhere` tells where it is instead.
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
        if not os.path.lexists(name):  # Which spares the work of encoding.
            with contextlib.suppress(errors.ExistingOutputError):
                return result.save(name, bit_depth)
        name, number = files.sibling(path, f"-{number}{path.suffix}"), number + 1


def _refuges() -> Iterator[Path]:
    """Yields folders where a picture may be kept that cannot be written where it should be."""
    with contextlib.suppress(OSError):
        yield Path(tempfile.gettempdir())
    with contextlib.suppress(RuntimeError):
        yield Path.home()
