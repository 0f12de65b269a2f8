"""Arrays spilled to temporary files."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nst_tf.kernels import arrays

_CACHED = 1 << 18  # Bytes that fit into the processor's cache; a multiple of 8.

Arrays = dict[str, dict[str, np.ndarray]]


def _folder() -> str:
    """Returns the folder of the files: `TMPDIR` if it is set, else one on a disk if possible."""
    large = "/var/tmp"  # /tmp is for small files, and is often in memory.
    fits = "TMPDIR" not in os.environ and os.access(large, os.W_OK)
    return large if fits else tempfile.gettempdir()


def room() -> int:
    """Returns the free bytes on the disk of the files."""
    return shutil.disk_usage(_folder()).free


class SpillFile(Sequence[Arrays]):
    """Nested dicts of arrays spilled to disk, loaded one at a time.

    The file is temporary and has no name. It is deleted with the object. An array that does not
    fit on the disk stays in memory.
    """

    def __init__(self) -> None:
        # Unbuffered: on a full disk, data left in a buffer would block all later writes.
        self._file = tempfile.TemporaryFile(buffering=0, dir=_folder())  # noqa: SIM115 (stays open)
        self._end = 0
        self._places: list[dict[str, dict[str, Callable[[], np.ndarray]]]] = []

    def append(self, arrays: Mapping[str, Mapping[str, Any]]) -> None:
        """Appends arrays or tensors.

        Args:
            arrays: arrays by two names, such as those of a term and of an entry of its target.
        """
        self._places.append(
            {
                name: {entry: self._put_anywhere(array) for entry, array in part.items()}
                for name, part in arrays.items()
            }
        )

    def clear(self) -> None:
        """Drops all arrays. The file stays and is overwritten, which is faster than a new one."""
        self._end = 0
        self._places.clear()

    def put(self, array: Any) -> Callable[[], np.ndarray]:
        """Writes an array or a tensor, and returns a function that loads it.

        A boolean takes one bit.

        Raises:
            OSError: the disk has no room.
        """
        array = np.asarray(array)
        place = self._end
        flat = np.ascontiguousarray(array).reshape(-1)
        data = np.packbits(flat) if array.dtype.kind == "b" else flat.view(np.uint8)
        self._file.seek(place)
        try:
            _write(self._file, data.data)
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(place)
            raise
        self._end = place + data.size
        return functools.partial(self._get, place, array.shape, array.dtype)

    def _put_anywhere(self, array: Any) -> Callable[[], np.ndarray]:
        try:
            return self.put(array)
        except OSError:
            return lambda: np.asarray(array)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        return {
            name: {entry: get() for entry, get in part.items()}
            for name, part in self._places[index].items()
        }

    def _get(self, place: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        found = arrays.empty(shape, dtype)
        data = found.reshape(-1).view(np.uint8)
        self._file.seek(place)
        if dtype.kind == "b":
            self._unpack(data)
        else:
            _read(self._file, data.data)
        return found

    def _unpack(self, data: np.ndarray) -> None:
        """Reads bits, one for each byte of `data`, in parts that fit into the processor's cache."""
        packed = np.empty(_CACHED // 8, np.uint8)
        for first in range(0, data.size, _CACHED):
            part = data[first : first + _CACHED]
            bits = packed[: -(-part.size // 8)]
            _read(self._file, bits.data)
            part[...] = np.unpackbits(bits, count=part.size)


def _write(file: io.FileIO, data: memoryview) -> None:
    """Writes all bytes, or raises OSError. A single write may take only a part of them."""
    while data:
        data = data[file.write(data) :]


def _read(file: io.FileIO, data: memoryview) -> None:
    """Fills all bytes, or raises OSError. A single read may give only a part of them."""
    while data:
        count = file.readinto(data)
        if not count:
            raise OSError(f"a temporary file in {_folder()} ends {len(data)} bytes too early")
        data = data[count:]


class SpilledArray:
    """An array in a temporary file, initially zeros, whose parts are read and written.

    Where the disk has no room, the array is in memory.

    Args:
        shape: shape of the array.
        dtype: dtype of the array.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._memory: np.ndarray | None = None
        self._file = tempfile.TemporaryFile(dir=_folder())  # noqa: SIM115 (stays open)
        try:  # Writing to a mapped file on a full disk would kill the process.
            os.posix_fallocate(self._file.fileno(), 0, math.prod(shape) * self.dtype.itemsize)
        except (AttributeError, OSError):
            self._memory = np.zeros(shape, dtype)

    def mapped(self) -> np.ndarray:
        """Returns the array, mapped: only accessed parts take memory, until it is released."""
        if self._memory is not None:
            return self._memory
        return np.memmap(self._file, self.dtype, "r+", shape=self.shape)

    def part(self, rows: slice, columns: slice) -> np.ndarray:
        """Returns a part of an array `(1, height, width, channels)`."""
        return self.mapped()[:, rows, columns]
