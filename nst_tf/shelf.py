"""Arrays that are put aside in a temporary file, to be read one after the other."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Arrays = dict[str, dict[str, np.ndarray]]


class Shelf(Sequence[Arrays]):
    """A sequence of nested dicts of arrays that takes no memory but that of the one in use.

    It lies in a temporary file without a name, which goes with the object. An array for which the
    disk has no room is kept in memory.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="nst_tf-")  # noqa: SIM115 (it stays open)
        self._places: list[dict[str, dict[str, int | np.ndarray]]] = []

    def append(self, arrays: Mapping[str, Mapping[str, Any]]) -> None:
        """Puts arrays, or tensors, at the end.

        Args:
            arrays: by two names, such as those of a term and of an entry of its target.
        """
        self._places.append(
            {
                name: {entry: self._put(np.asarray(array)) for entry, array in part.items()}
                for name, part in arrays.items()
            }
        )

    def _put(self, array: np.ndarray) -> int | np.ndarray:
        """Returns where in the file an array is, or the array itself."""
        place = self._file.seek(0, os.SEEK_END)
        try:
            np.lib.format.write_array(self._file, array, allow_pickle=False)
            self._file.flush()
            return place
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(place)
            return array

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        return {
            name: {entry: self._get(place) for entry, place in part.items()}
            for name, part in self._places[index].items()
        }

    def _get(self, place: int | np.ndarray) -> np.ndarray:
        if isinstance(place, np.ndarray):
            return place
        self._file.seek(place)
        return np.lib.format.read_array(self._file, allow_pickle=False)
