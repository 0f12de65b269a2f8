"""The frames of a film that is being painted, in a folder beside it, so that no work is lost."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from nst_tf import errors
from nst_tf.film import clips
from nst_tf.film.shot import State
from nst_tf.imaging import images
from nst_tf.runtime import files

_ABOUT = "film.json"
_NUMBER = "number"  # Of the last frame of a state.


class Store:
    """A folder with the painted frames and the state of each shot.

    Frames are PNG files of 16 bits; states are float32, and never read from a frame.

    Args:
        folder: the folder.
        about: what the frames depend on: inputs and settings.
        resume: go on with the frames of an earlier run in the folder, if there is one.

    Raises:
        ConfigError: the folder holds frames, and `resume` is False, or they depend on something
            else.
        OutputError: the folder cannot be made.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], resume: bool) -> None:
        self._folder = folder
        earlier = self._about()
        if earlier is None:
            self._begin(about)
        elif not resume:
            raise errors.ConfigError(
                f"{folder} holds the frames of a film that is not finished. --resume goes on with "
                "them; or remove that folder."
            )
        elif differing := [name for name in about if earlier.get(name) != about[name]]:
            raise errors.ConfigError(
                f"{folder} holds frames that were made with another {', another '.join(differing)}."
                " Give what they were made with, or remove that folder."
            )

    def _about(self) -> dict[str, Any] | None:
        path = self._folder / _ABOUT
        try:
            return files.parse_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise errors.ConfigError(
                f"{path}: cannot be read ({errors.reason(error)}). Remove its folder."
            ) from error

    def _begin(self, about: Mapping[str, Any]) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._write(_ABOUT, json.dumps(about, indent=2).encode())
        except OSError as error:
            raise errors.OutputError(
                f"{self._folder}: cannot be made ({errors.reason(error)})."
            ) from error

    def _write(self, name: str, data: bytes) -> None:
        with files.atomic_file(self._folder / name) as file:
            file.write(data)

    def checkpoints(self, shot: int) -> Path:
        """Returns the folder of the checkpoints of a shot's first frame."""
        return self._folder / f"steps-{shot:04d}"

    def _path(self, number: int, *, loop: bool = False) -> Path:
        return self._folder / f"{'loop-' * loop}{number:06d}.png"

    def save_frame(
        self, number: int, picture: np.ndarray, alpha: np.ndarray | None, *, loop: bool = False
    ) -> None:
        """Writes a frame.

        Args:
            number: its number.
            picture: its picture, float32 `(height, width, 3)`.
            alpha: its opacity, or None.
            loop: whether it replaces the frame in a film that loops, beside the frame itself.

        Raises:
            OutputError: it cannot be written.
        """
        images.save(picture, self._path(number, loop=loop), alpha=alpha, bit_depth=16)

    def frame(self, number: int, *, loop: bool = False) -> images.Picture:
        """Returns a frame; where `loop`, what replaces it, if there is such."""
        path = self._path(number, loop=loop)
        return images.load(path if path.exists() else self._path(number))

    def save_state(self, shot: int, number: int, state: State) -> None:
        """Writes the state of a shot after a frame; the one before is replaced.

        Raises:
            OutputError: it cannot be written.
        """
        path = self._folder / f"shot-{shot:04d}.npz"
        try:
            with files.atomic_file(path) as file:
                arrays: dict[str, Any] = {_NUMBER: np.int64(number), **state.arrays()}
                np.savez(file, **arrays)
        except OSError as error:
            raise errors.OutputError(
                f"{path}: cannot be written ({errors.reason(error)})."
            ) from error

    def state(self, shot: int) -> tuple[int, State] | None:
        """Returns the number of the last frame of a shot, and the state after it.

        Raises:
            CheckpointError: the file is damaged.
        """
        path = self._folder / f"shot-{shot:04d}.npz"
        if not path.exists():
            return None
        try:
            with np.load(path) as found:
                arrays = {name: found[name] for name in found}
            return int(arrays.pop(_NUMBER)), State.from_arrays(arrays)
        except Exception as error:  # A damaged archive raises anything.
            raise errors.CheckpointError(
                f"{path}: is damaged ({errors.reason(error)}). Remove it to paint its shot anew."
            ) from error

    def done(self, count: int) -> int:
        """Returns how many of the frames are painted."""
        return sum(self.has(number) for number in range(count))

    def has(self, number: int) -> bool:
        """Returns whether a frame is painted."""
        return self._path(number).exists()

    def begun(self) -> bool:
        """Returns whether there is anything to go on from."""
        return any(path.name != _ABOUT for path in self._folder.iterdir())

    def remove(self) -> None:
        """Removes the folder."""
        files.remove_folder(self._folder)


class Frames(Sequence[clips.Frame]):
    """The painted frames of a store, read when they are asked for.

    Args:
        store: the store.
        times: the time of each frame, in seconds.
    """

    def __init__(self, store: Store, times: Sequence[Fraction]) -> None:
        self._store, self._times = store, times

    def __len__(self) -> int:
        return len(self._times)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[each] for each in range(len(self))[number]]
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        number = int(number) % len(self)
        picture = self._store.frame(number, loop=True)
        return clips.Frame(number, self._times[number], picture)

    def __iter__(self) -> Iterator[clips.Frame]:
        return (self[number] for number in range(len(self)))

    def has(self, number: int) -> bool:
        """Returns whether there is such a frame, and it is painted."""
        return number < len(self) and self._store.has(number)

    def painted(self) -> int:
        """Returns how many frames are painted before the first that is not."""
        return next(number for number in itertools.count() if not self.has(number))
