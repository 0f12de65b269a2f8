"""Where a run stands, and its keeping in a folder from which the run can go on."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nst_tf import errors, files, tiles

if TYPE_CHECKING:
    import tensorflow as tf

logger = logging.getLogger("nst_tf")

PREFIX = "checkpoint-"
_FORMAT = 5  # Of the files; a number that is not known is refused.
_RUN, _TENSORS, _SUMS = "run.json", "tensors", "SHA256SUMS"


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """All that it takes to go on from the end of a step as if the run had never stopped.

    Attributes:
        level: index of the level, from 0, coarse to fine.
        step: number of the last step that was taken in it, from 1.
        tensors: `image`, that the steps walk on, float32 `(1, height, width, 3)`; and `state/NAME`
            for each entry of the optimiser's state. Those of a snapshot on disk are read when they
            are asked for, and not kept.
        plans: how each level is looked at. That depends on the memory that is free, and has a
            say in the last bits of the picture.
        history: the entries of all steps so far, as `callbacks.History` has them.
        made_with: what the picture is made with: `config`, `inputs`, `backbone`, `versions`,
            `machine`.
    """

    level: int
    step: int
    tensors: Mapping[str, tf.Tensor]
    plans: Sequence[tiles.Plan]
    history: Sequence[Mapping[str, Any]]
    made_with: Mapping[str, Any]


def stored(folder: Path) -> list[Path]:
    """Returns the snapshots in a folder, damaged ones included, in the order of their steps."""
    names = re.compile(rf"{PREFIX}\d{{6,}}")
    found = [path for path in folder.glob(f"{PREFIX}*") if names.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix(PREFIX)))


def newest(folder: Path) -> Path | None:
    """Returns the newest sound snapshot in a folder, or None where there are none at all.

    Raises:
        CheckpointError: there are some, and all are damaged.
    """
    found = stored(folder)
    for path in reversed(found):
        if _is_sound(path):
            return path
        logger.warning("%s: damaged, so it is passed over.", path)
    if found:
        raise errors.CheckpointError(
            f"{folder}: every checkpoint in it is damaged ({', '.join(p.name for p in found)}). "
            "Remove the folder, or give another, to start from the beginning."
        )
    return None


def write(snapshot: Snapshot, path: Path) -> None:
    """Writes a snapshot as a folder, which is there once it is whole.

    Its `SHA256SUMS` is readable by `sha256sum --check`, its tensors by `tf.train.Checkpoint`.

    Raises:
        OutputError: it cannot be written.
    """
    import tensorflow as tf

    about = {
        "format": _FORMAT,
        "level": snapshot.level,
        "step": snapshot.step,
        "tensors": {
            name: [list(value.shape), value.dtype.name] for name, value in snapshot.tensors.items()
        },
        "plans": list(snapshot.plans),
        "history": list(snapshot.history),
        "made_with": dict(snapshot.made_with),
    }
    try:
        with files.atomic_folder(path) as folder:
            variables = {name: tf.Variable(value) for name, value in snapshot.tensors.items()}
            tf.train.Checkpoint(tensors=variables).write(str(folder / _TENSORS))
            (folder / _RUN).write_text(json.dumps(about) + "\n")
            sums = _sums(folder)
            (folder / _SUMS).write_text("".join(f"{sums[name]}  {name}\n" for name in sums))
    except OSError as error:
        raise _unwritable(path, error.strerror) from error
    except tf.errors.OpError as error:
        reason = error.message.rpartition(";")[2].partition("[Op:")[0].strip()
        raise _unwritable(path, reason) from error


def _unwritable(path: Path, reason: str | None) -> errors.OutputError:
    return errors.OutputError(f"{path}: the checkpoint cannot be written ({reason}).")


def read_about(path: Path) -> dict[str, Any]:
    """Returns what a sound snapshot says of itself, which takes no TensorFlow.

    Raises:
        CheckpointError: it is of another version.
    """
    about = json.loads((path / _RUN).read_text())
    if about.get("format") != _FORMAT:
        raise errors.CheckpointError(
            f"{path}: has the format {about.get('format')}, and this version of nst_tf reads "
            f"{_FORMAT}. Go on with the version that began, or start anew in another folder."
        )
    return about


def read(path: Path) -> Snapshot:
    """Reads a sound snapshot. Its tensors stay on disk until they are asked for.

    Raises:
        CheckpointError: it is of another version.
    """
    about = read_about(path)
    plans = [tiles.Plan(tuple(cuts), tuple(sides), keeps) for cuts, sides, keeps in about["plans"]]
    names = ("level", "step", "history", "made_with")
    tensors = _OnDisk(path / _TENSORS, about["tensors"])
    return Snapshot(tensors=tensors, plans=plans, **{name: about[name] for name in names})


class _OnDisk(Mapping[str, "tf.Tensor"]):
    """The tensors of a snapshot, each read, to the memory of the host, when it is asked for."""

    def __init__(self, path: Path, shapes: Mapping[str, tuple[Sequence[int], str]]) -> None:
        self._path, self._shapes = path, shapes

    def __getitem__(self, name: str) -> tf.Tensor:
        import tensorflow as tf

        with tf.device("cpu"):
            variable = tf.Variable(tf.zeros(*self._shapes[name]))
            saved = tf.train.Checkpoint(tensors={name: variable})
            saved.read(str(self._path)).assert_existing_objects_matched().expect_partial()
            return tf.identity(variable)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


def _sums(folder: Path) -> dict[str, str]:
    """Returns the hash of every file of a snapshot, by its name."""
    names = sorted(path.name for path in folder.iterdir() if path.name != _SUMS)
    return {name: files.file_hash(folder / name) for name in names}


def _is_sound(path: Path) -> bool:
    try:
        lines = (path / _SUMS).read_text().splitlines()
        noted = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        return _RUN in noted and _sums(path) == noted
    except (OSError, ValueError):
        return False
