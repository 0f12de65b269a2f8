"""A film of the optimisation."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nst_tf import errors
from nst_tf.callbacks.callback import Callback, Run, StepEnd
from nst_tf.imaging import images
from nst_tf.runtime import files

logger = logging.getLogger("nst_tf")

FILM_SUFFIXES = (".mp4", ".gif")
"""What a film can be written as."""

_MOST_FRAMES = 480  # Of a film; a longer run shows every second step, or every third.
_LAST_SECONDS = 2.0  # For which the finished picture stands.
_RATE = {".mp4": 30, ".gif": 20}  # Frames a second.
_LONGEST_SIDE = {".mp4": 1920, ".gif": 640}  # Of a frame, in pixels.


class Timelapse(Callback):
    """Writes a film of the steps, the coarse ones enlarged: H.264 in `.mp4`, or a `.gif`.

    It takes its place once the run has ended or was stopped. A film that cannot be written is
    reported once, and the run goes on without it.

    Args:
        path: the file; its suffix chooses the format, one of `FILM_SUFFIXES`.
        overwrite: replace a file that is there.
    """

    def __init__(self, path: str | os.PathLike[str], overwrite: bool = True) -> None:
        self._path = Path(path)
        self._overwrite = overwrite
        self._suffix = self._path.suffix.lower()
        self._film: _Mp4 | _Gif | None = None
        self._every, self._count = 1, 0

    def on_begin(self, run: Run) -> None:
        steps, finest = sum(level.steps for level in run.levels), run.levels[-1]
        self._every, self._count = -(-steps // _MOST_FRAMES), 0
        size = _frame_size(finest.height, finest.width, _LONGEST_SIDE[self._suffix])
        with self._reported():
            self._film = (_Mp4 if self._suffix == ".mp4" else _Gif)(*size)

    def on_step_end(self, step: StepEnd) -> None:
        self._count += 1
        if self._film and self._count % self._every == 0:
            with self._reported():
                self._film.show(_pixels(step.picture()))

    def on_end(self, image: Any) -> None:
        if self._film:
            with self._reported():
                last = _pixels(image)
                for _ in range(round(_LAST_SECONDS * _RATE[self._suffix])):
                    self._film.show(last)
                self._film.write(self._path, self._overwrite)
            self._film = None

    def on_error(self, error: BaseException) -> None:
        """Drops the film."""
        self._film = None

    @contextlib.contextmanager
    def _reported(self) -> Any:
        """Tells of what cannot be written, and gives the film up."""
        try:
            yield
        except Exception as error:  # Want of memory, too: whatever it is, the work goes on.
            logger.warning("%s: no film (%s).", self._path, errors.reason(error))
            self._film = None


class _Mp4:
    """An H.264 film, encoded into a temporary file as it comes.

    Args:
        height: of a frame, even.
        width: of a frame, even.
    """

    def __init__(self, height: int, width: int) -> None:
        import av

        av.logging.set_level(av.logging.ERROR)
        self._size = height, width
        self._file = tempfile.TemporaryFile(prefix="nst_tf-")  # noqa: SIM115 (it stays open)
        self._container = av.open(self._file, "w", format="mp4")
        self._stream = self._container.add_stream("libx264", rate=_RATE[".mp4"])
        self._stream.height, self._stream.width = self._size
        self._stream.pix_fmt = "yuv420p"  # What every player can show.
        self._stream.options = {"crf": "18", "preset": "veryfast"}

    def show(self, pixels: np.ndarray) -> None:
        """Appends a frame, uint8 `(h, w, 3)` of any size."""
        import av

        frame = av.VideoFrame.from_ndarray(_enlarged(pixels, *self._size))
        self._container.mux(self._stream.encode(frame))

    def write(self, path: Path, overwrite: bool) -> None:
        """Ends the film and puts it in its place."""
        self._container.mux(self._stream.encode())
        self._container.close()
        self._file.seek(0)
        with files.atomic_file(path, overwrite) as target:
            while block := self._file.read(1 << 20):
                target.write(block)
        self._file.close()


class _Gif:
    """A looping GIF, the frames of which are kept in 256 colours.

    Args:
        height: of a frame.
        width: of a frame.
    """

    def __init__(self, height: int, width: int) -> None:
        self._size = height, width
        self._frames: list[Image.Image] = []

    def show(self, pixels: np.ndarray) -> None:
        """Appends a frame, uint8 `(h, w, 3)` of any size."""
        frame = Image.fromarray(_enlarged(pixels, *self._size))
        self._frames.append(frame.quantize(dither=Image.Dither.FLOYDSTEINBERG))

    def write(self, path: Path, overwrite: bool) -> None:
        """Ends the film and puts it in its place."""
        first, *rest = self._frames
        with files.atomic_file(path, overwrite) as target:
            first.save(
                target, "GIF", save_all=True, append_images=rest, duration=1000 // _RATE[".gif"],
                loop=0,
            )  # fmt: skip


def _frame_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """Returns even sides, as H.264 wants them, the longer of which is at most `longest`."""
    scale = min(1.0, longest / max(height, width))
    return max(2, round(height * scale) // 2 * 2), max(2, round(width * scale) // 2 * 2)


def _pixels(picture: Any) -> np.ndarray:
    return np.rint(np.asarray(picture, np.float32).clip(0, 1) * 255).astype(np.uint8)


def _enlarged(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    resized = images.resize(pixels.astype(np.float32), height, width)
    return np.ascontiguousarray(np.rint(resized).clip(0, 255).astype(np.uint8))
