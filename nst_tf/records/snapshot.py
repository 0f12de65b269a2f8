"""Snapshots of a run, and their folders on disk, from which the run can go on."""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nst_tf import errors
from nst_tf.runtime import files
from nst_tf.tiling import tiles

if TYPE_CHECKING:
    import tensorflow as tf

logger = logging.getLogger("nst_tf")

PREFIX = "checkpoint-"
_FORMAT = 7  # Version of the files; other versions are refused.
_RUN, _TENSORS, _SUMS = "run.json", "tensors.bin", "SHA256SUMS"
_LONGEST = 64 << 20  # Bytes of `run.json`; a step takes some hundreds.
_TYPES = ("bool", "float16", "float32", "float64", "int32", "int64", "uint8", "uint16")


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The state of a run after a step, from which it goes on as if it had never stopped.

    Attributes:
        level: index of the level, from 0, coarse to fine.
        step: number of the last step taken in the level, from 1.
        tensors: `image`, the optimiser's iterate, float32 `(1, height, width, 3)`; `state/NAME` for
            each entry of the optimiser's state; and `begun_with`, the picture at the beginning of
            the level, if a loss needs it. Tensors of a snapshot on disk are read at each access and
            not kept.
        plans: tile plan of each level. The plans depend on the memory that was free, and affect
            the last bits of the picture.
        history: entries of all steps so far, as in `callbacks.History`.
        provenance: settings, inputs and environment of the run: `config`, `inputs`, `backbone`,
            `versions`, `machine`.
    """

    level: int
    step: int
    tensors: Mapping[str, tf.Tensor]
    plans: Sequence[tiles.TilePlan]
    history: Sequence[Mapping[str, Any]]
    provenance: Mapping[str, Any]


def stored(folder: Path) -> list[Path]:
    """Returns the snapshots in a folder in the order of their steps, damaged ones included."""
    names = re.compile(rf"{PREFIX}\d{{6,}}")
    found = [path for path in folder.glob(f"{PREFIX}*") if names.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix(PREFIX)))


def newest(folder: Path) -> Path | None:
    """Returns the newest sound snapshot in a folder, or None if the folder has no snapshot.

    Raises:
        CheckpointError: all snapshots are damaged, or one is of another version.
    """
    found = stored(folder)
    for path in reversed(found):
        try:
            _check(path)
            return path
        except _DamagedError as error:
            logger.warning("%s It is passed over.", error)
    if found:
        raise errors.CheckpointError(
            f"{folder}: every checkpoint in it is damaged ({', '.join(p.name for p in found)}). "
            "Remove the folder, or give another, to start from the beginning."
        )
    return None


def write(snapshot: Snapshot, path: Path) -> None:
    """Writes a snapshot as a folder, which appears once it is complete.

    `run.json` describes the contents, and `sha256sum --check` reads `SHA256SUMS`. `tensors.bin`
    holds the values of the tensors one after the other, in the order of `run.json`, little-endian.

    Raises:
        OutputError: the snapshot cannot be written.
    """
    about = {
        "format": _FORMAT,
        "level": snapshot.level,
        "step": snapshot.step,
        "tensors": {
            name: [list(value.shape), value.dtype.name] for name, value in snapshot.tensors.items()
        },
        "plans": list(snapshot.plans),
        "history": list(snapshot.history),
        "provenance": dict(snapshot.provenance),
    }
    text = json.dumps(about) + "\n"
    try:
        if len(text) > _LONGEST:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        with files.atomic_folder(path) as folder:
            with open(folder / _TENSORS, "wb") as file:
                for value in snapshot.tensors.values():
                    file.write(_bytes(np.asarray(value)))
            (folder / _RUN).write_text(text)
            sums = [f"{files.file_hash(folder / name)}  {name}\n" for name in (_RUN, _TENSORS)]
            (folder / _SUMS).write_text("".join(sums))
    except OSError as error:
        raise errors.OutputError(
            f"{path}: the checkpoint cannot be written ({errors.reason(error)})."
        ) from error


def read_about(path: Path) -> dict[str, Any]:
    """Returns the contents of `run.json`. It needs no TensorFlow.

    Raises:
        CheckpointError: the snapshot is of another version, or its `run.json` is not valid.
    """
    try:
        _require_size(path, _RUN, 0, _LONGEST)
        about = json.loads((path / _RUN).read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise _DamagedError(path, f"{_RUN} cannot be read") from error
    written = about.get("format") if isinstance(about, dict) else None
    if _is_count(written) and written != _FORMAT:
        raise errors.CheckpointError(
            f"{path}: has the format {written}, and this version of nst_tf reads {_FORMAT}. "
            "Go on with the version that began, or start anew in another folder."
        )
    wrong = _misfit(about, _RECORD, "all of it") or _contradiction(about)
    if wrong:
        raise _DamagedError(path, f"{wrong} in {_RUN} is not what it should be")
    return about


def read(path: Path) -> Snapshot:
    """Reads a sound snapshot. Its tensors stay on disk until they are accessed.

    Raises:
        CheckpointError: the snapshot is of another version, or damaged.
    """
    about = read_about(path)
    plans = [
        tiles.TilePlan(tuple(cuts), tuple(sides), *more) for cuts, sides, *more in about["plans"]
    ]
    names = ("level", "step", "history", "provenance")
    return Snapshot(
        tensors=_Stored(path, about["tensors"]),
        plans=plans,
        **{name: about[name] for name in names},
    )


class _DamagedError(errors.CheckpointError):
    """A snapshot was changed since it was written, or was not written by this program."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: damaged ({reason}).")


class _Stored(Mapping[str, "tf.Tensor"]):
    """The tensors of a snapshot, each read into the memory of the host when it is accessed."""

    def __init__(self, folder: Path, shapes: Mapping[str, tuple[Sequence[int], str]]) -> None:
        self._folder = folder
        self._places: dict[str, tuple[int, Sequence[int], np.dtype]] = {}
        self.size = 0
        for name, (shape, kind) in shapes.items():
            dtype = np.dtype(kind)
            self._places[name] = self.size, shape, dtype
            self.size += math.prod(shape) * dtype.itemsize

    def array(self, name: str) -> np.ndarray:
        """Returns the values of a tensor."""
        place, shape, dtype = self._places[name]
        path, count = self._folder / _TENSORS, math.prod(shape)
        try:
            values = np.fromfile(path, dtype.newbyteorder("<"), count, offset=place)
            return values.reshape(shape).astype(dtype, copy=False)
        except (OSError, ValueError) as error:
            raise _DamagedError(self._folder, f"{_TENSORS} cannot be read") from error

    def __getitem__(self, name: str) -> tf.Tensor:
        import tensorflow as tf

        with tf.device("cpu"):
            return tf.constant(self.array(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _bytes(values: np.ndarray) -> memoryview:
    """Returns the values in their format on disk."""
    stored = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(stored).reshape(-1).view(np.uint8).data


# Checks. The files are untrusted, and so are their hashes: anybody may have written them.


def _check(path: Path) -> None:
    """Raises CheckpointError if a snapshot is of another version, damaged or forged.

    Other files in the folder, such as those of a file manager, are ignored.
    """
    try:
        _require_size(path, _SUMS, 0, _LONGEST)
        lines = (path / _SUMS).read_text().splitlines()
        noted = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError) as error:
        raise _DamagedError(path, f"{_SUMS} cannot be read") from error
    _check_file(path, _RUN, noted, 0, _LONGEST)
    tensors = _Stored(path, read_about(path)["tensors"])
    _check_file(path, _TENSORS, noted, tensors.size, tensors.size)
    for name in tensors:
        values = tensors.array(name)
        wrong = ~np.isfinite(values) if name == "image" else np.isnan(values)
        if wrong.any():
            raise _DamagedError(path, f"a tensor in {_TENSORS} is not all numbers")


def _check_file(path: Path, name: str, noted: Mapping[str, str], least: int, most: int) -> None:
    """Raises CheckpointError if the size or the hash of a file is wrong."""
    try:
        _require_size(path, name, least, most)
        if files.file_hash(path / name) != noted.get(name):
            raise _DamagedError(path, f"{name} does not have its hash")
    except OSError as error:
        raise _DamagedError(path, f"{name} cannot be read") from error


def _require_size(path: Path, name: str, least: int, most: int) -> None:
    """Raises CheckpointError if a file is not regular, or of a wrong size.

    A link may lead anywhere, and a pipe never ends.
    """
    found = (path / name).lstat()
    if not stat.S_ISREG(found.st_mode):
        raise _DamagedError(path, f"{name} is no regular file")
    if not least <= found.st_size <= most:
        raise _DamagedError(path, f"{name} is too short or too long")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 31


def _is_counts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_count, value))


def _is_number(value: Any) -> bool:
    return type(value) is float


def _is_tensor(value: Any) -> bool:
    """Returns whether a value is a shape of a possible size and the name of a dtype."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and _is_counts(value[0])
        and len(value[0]) <= 8
        and math.prod(max(1, side) for side in value[0]) < 1 << 48
        and value[1] in _TYPES
    )


def _is_image(value: Any) -> bool:
    return _is_tensor(value) and value[0][:1] + value[0][3:] == [1, 3] and value[1] == "float32"


def _is_plan(value: Any) -> bool:
    if not (isinstance(value, list) and len(value) == len(tiles.TilePlan._fields)):
        return False
    cuts, sides, keeps, *more = value
    named = isinstance(cuts, list) and all(isinstance(cut, str) for cut in cuts)
    counted = _is_counts(sides) and len(sides) == len(cuts) + 1 and _is_counts(more)
    return named and counted and type(keeps) is bool


def _is_anything(value: Any) -> bool:
    del value
    return True


_RECORD: dict[Any, Any] = {
    "level": _is_count,
    "step": _is_count,
    "tensors": {"image": _is_image, ...: _is_tensor},
    "plans": [_is_plan],
    "history": [
        {
            "level": _is_count,
            "step": _is_count,
            "loss": _is_number,
            "terms": {...: _is_number},
            "seconds": lambda value: _is_number(value) and 0 <= value < math.inf,
        }
    ],
    "provenance": {
        "config": {"backbone": lambda value: isinstance(value, str), ...: _is_anything},
        **{name: {...: _is_anything} for name in ("inputs", "backbone", "versions")},
    },
}
"""The schema of `run.json`, for `_misfit`."""


def _misfit(value: Any, schema: Any, place: str) -> str:
    """Returns the first place where a value violates a schema, or an empty string.

    A schema is a predicate; or a list with the schema of every item; or a dict with the schema of
    each required key, and that of all other keys under `...`.
    """
    if callable(schema):
        return "" if schema(value) else place
    inner: Iterator[tuple[Any, Any, str]]
    if isinstance(schema, list):
        if not isinstance(value, list):
            return place
        inner = ((each, schema[0], place) for each in value)
    else:
        known = schema.keys() - {...}
        if not isinstance(value, dict) or not known <= value.keys():
            return place
        others = schema.get(..., _is_anything)
        inner = (
            (each, schema.get(name, others), name if name in known else place)
            for name, each in value.items()
        )
    return next(filter(None, (_misfit(*each) for each in inner)), "")


def _band(image: Sequence[int], name: str) -> list[int]:
    """Returns the shape of the band of a picture whose number ends a name, or the picture's."""
    number = name.rpartition("/")[2]
    halvings = int(number) if number.isdecimal() and len(number) < 3 else 0
    return [1, *(-(-side // 2**halvings) for side in image[1:3]), image[3]]


def _contradiction(about: Mapping[str, Any]) -> str:
    """Returns the name of an entry that contradicts the rest of a record, or an empty string."""
    image = about["tensors"]["image"][0]
    for name, (shape, _) in about["tensors"].items():
        if len(shape) == 4 and shape not in (image, _band(image, name)):
            return "tensors"
    taken = [(entry["level"], entry["step"]) for entry in about["history"]]
    if taken != sorted(set(taken)) or taken[-1:] != [(about["level"], about["step"])]:
        return "history"
    terms: dict[int, Any] = {}  # A last pass has terms of its own.
    for entry in about["history"]:
        if terms.setdefault(entry["level"], entry["terms"].keys()) != entry["terms"].keys():
            return "history"
    fits = about["level"] < len(about["plans"]) and about["step"] > 0
    return "" if fits else "level or step"
