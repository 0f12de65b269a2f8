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
"""The file formats of a film."""

_MOST_FRAMES = 480  # Per film; a longer run shows every second step, or every third.
_LAST_SECONDS = 2.0  # For the finished picture.
_RATE = {".mp4": 30, ".gif": 20}  # Frames per second.
_LONGEST_SIDE = {".mp4": 1920, ".gif": 640}  # Of a frame, in pixels.


class Timelapse(Callback):
    """Writes a film of the steps, coarse levels enlarged: H.264 in `.mp4`, or a `.gif`.

    The file appears when the run ends or is stopped. A failure is reported once, and the run goes
    on without the film.

    Args:
        path: path of the film; its suffix, one of `FILM_SUFFIXES`, chooses the format.
        overwrite: replace an existing file.
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
        """Reports a failure within, and drops the film."""
        try:
            yield
        except Exception as error:  # No failure may end the run, not even MemoryError.
            logger.warning("%s: no film (%s).", self._path, errors.reason(error))
            self._film = None


class _Mp4:
    """An H.264 film, encoded into a temporary file frame by frame.

    Args:
        height: height of a frame in pixels, even.
        width: width of a frame in pixels, even.
    """

    def __init__(self, height: int, width: int) -> None:
        import av

        av.logging.set_level(av.logging.ERROR)
        self._size = height, width
        self._file = tempfile.TemporaryFile(prefix="nst_tf-")  # noqa: SIM115 (it stays open)
        self._container = av.open(self._file, "w", format="mp4")
        self._stream = self._container.add_stream("libx264", rate=_RATE[".mp4"])
        self._stream.height, self._stream.width = self._size
        self._stream.pix_fmt = "yuv420p"  # The format that every player supports.
        self._stream.options = {"crf": "18", "preset": "veryfast"}

    def show(self, pixels: np.ndarray) -> None:
        """Appends a frame, uint8 `(h, w, 3)` of any size."""
        import av

        frame = av.VideoFrame.from_ndarray(_enlarged(pixels, *self._size))
        self._container.mux(self._stream.encode(frame))

    def write(self, path: Path, overwrite: bool) -> None:
        """Completes the film and moves it to its path."""
        self._container.mux(self._stream.encode())
        self._container.close()
        self._file.seek(0)
        with files.atomic_file(path, overwrite) as target:
            while block := self._file.read(1 << 20):
                target.write(block)
        self._file.close()


class _Gif:
    """A looping GIF. Its frames are kept in memory, in 256 colours each.

    Args:
        height: height of a frame in pixels.
        width: width of a frame in pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        self._size = height, width
        self._frames: list[Image.Image] = []

    def show(self, pixels: np.ndarray) -> None:
        """Appends a frame, uint8 `(h, w, 3)` of any size."""
        frame = Image.fromarray(_enlarged(pixels, *self._size))
        self._frames.append(frame.quantize(dither=Image.Dither.FLOYDSTEINBERG))

    def write(self, path: Path, overwrite: bool) -> None:
        """Completes the film and moves it to its path."""
        first, *rest = self._frames
        with files.atomic_file(path, overwrite) as target:
            first.save(
                target, "GIF", save_all=True, append_images=rest, duration=1000 // _RATE[".gif"],
                loop=0,
            )  # fmt: skip


def _frame_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """Returns even sides, as H.264 needs them; the longer one is at most `longest`."""
    scale = min(1.0, longest / max(height, width))
    return max(2, round(height * scale) // 2 * 2), max(2, round(width * scale) // 2 * 2)


def _pixels(picture: Any) -> np.ndarray:
    return np.rint(np.asarray(picture, np.float32).clip(0, 1) * 255).astype(np.uint8)


def _enlarged(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    resized = images.resize(pixels.astype(np.float32), height, width)
    return np.ascontiguousarray(np.rint(resized).clip(0, 255).astype(np.uint8))
