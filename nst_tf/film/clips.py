"""Clips: the frames of a video file, of an animation, or of a folder of numbered pictures."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence

from nst_tf import errors
from nst_tf.imaging import images

ANIMATIONS = (".gif", ".png", ".apng", ".webp")
"""The suffixes of animations, which Pillow reads and writes."""
RATE = Fraction(25)
"""Frames a second where nothing says otherwise."""
LAYOUTS = {
    (False, False): "rgb24",
    (False, True): "rgba",
    (True, False): "rgb48le",
    (True, True): "rgba64le",
}
"""Pixel formats of FFmpeg, by whether there are more than 8 bits, and by transparency."""
_BT709, _BT601 = 1, 5  # Colour spaces, by the numbers of FFmpeg.
_SPACES = (_BT709, 4, _BT601, 7, 9)  # Those that it converts from.
_HIGH_DEFINITION = 720  # Rows.
_HIGH_RANGE = (16, 18)  # Transfer curves of PQ and HLG.


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a clip.

    Attributes:
        number: its number, from 0, among the frames that were asked for.
        time: seconds from the beginning of the part that was asked for.
        picture: its pixels, and its opacity if it has any.
    """

    number: int
    time: Fraction
    picture: images.Picture


@dataclasses.dataclass(frozen=True)
class Part:
    """The frames of a clip to take.

    Attributes:
        start: time of the first frame, in seconds.
        end: time before which the last frame is, in seconds; None for the end of the clip.
        every: take each `every`-th frame. The times of the others are kept.
    """

    start: Fraction = Fraction(0)
    end: Fraction | None = None
    every: int = 1

    def __post_init__(self) -> None:
        if self.start < 0 or (self.end is not None and self.end <= self.start) or self.every < 1:
            raise errors.ConfigError(
                f"start is {float(self.start):g}, end {self.end and float(self.end)} and every "
                f"{self.every}; expected a start of 0 or more, a later end, and 1 or more."
            )

    def chosen(self, timed: Iterator[tuple[Fraction, Any]]) -> Iterator[tuple[int, Fraction, Any]]:
        """Returns number and time of each frame to take, and the frame."""
        count = 0
        for time, frame in timed:
            if self.end is not None and time >= self.end:
                return
            if time < self.start:
                continue
            if count % self.every == 0:
                yield count // self.every, time - self.start, frame
            count += 1


class Clip(abc.ABC):
    """A clip.

    Attributes:
        name: its path, for messages.
        rate: frames a second, on average.
        size: height and width of a frame, as displayed, in pixels.
        bits: bits a channel, 8 to 16.
        transparent: whether its frames may be transparent.
        seconds: its length; 0 if unknown.
        time_base: the unit of its times, in seconds.
        origin: time of its first frame in the file, in seconds.
        aspect: width of a pixel by its height.
        audio: the codecs of its audio tracks.
        high_range: whether it has a high dynamic range.
    """

    name: str
    rate: Fraction
    size: tuple[int, int]
    bits: int = 8
    transparent: bool = False
    seconds: float = 0.0
    time_base: Fraction = Fraction(1, 90000)
    origin: Fraction = Fraction(0)
    aspect: Fraction = Fraction(1)
    audio: tuple[str, ...] = ()
    high_range: bool = False

    @abc.abstractmethod
    def frames(self, part: Part) -> Iterator[Frame]:
        """Returns the frames of a part, one by one.

        Raises:
            ClipError: the clip is damaged.
        """

    def last_duration(self) -> Fraction:
        """Returns how long the last frame is shown, in seconds."""
        return 1 / self.rate


def opened(
    path: str | os.PathLike[str], rate: float = 0.0, max_pixels: int = images.MAX_PIXELS
) -> Clip:
    """Returns the clip at a path.

    Args:
        path: a video file in any format that FFmpeg reads; a GIF, APNG or WebP; or a folder of
            pictures, in the order of the numbers in their names.
        rate: frames a second of a folder; 0 for `RATE`.
        max_pixels: largest accepted frame, in pixels.

    Raises:
        ClipError: there is no clip that can be read.
    """
    path = Path(path)
    if path.is_dir():
        return _Folder(path, Fraction(rate).limit_denominator(1001) if rate else RATE, max_pixels)
    if not path.exists():
        raise errors.ClipError(f"{path}: there is no such file or folder.")
    if path.suffix.lower() in ANIMATIONS:
        return _Animation(path, max_pixels)
    return VideoFile(path, max_pixels)


class VideoFile(Clip):
    """A video file.

    Args:
        path: its path.
        max_pixels: largest accepted frame, in pixels.

    Raises:
        ClipError: it is no video, or cannot be read.
    """

    def __init__(self, path: Path, max_pixels: int) -> None:
        self.name, self._path = str(path), path
        with self.container() as container:
            if not container.streams.video:
                raise errors.ClipError(f"{path}: there is no video in this file.")
            stream = container.streams.video[0]
            self.rate = Fraction(stream.average_rate or stream.guessed_rate or RATE)
            self._alpha = stream.metadata.get("alpha_mode") == "1"  # Of VP8 and VP9.
            self._declared = stream.frames
            self.time_base = Fraction(stream.time_base)
            self.aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
            self.seconds = float(stream.duration * stream.time_base) if stream.duration else 0.0
            if not self.seconds and container.duration:
                self.seconds = container.duration / 1e6
            self.audio = tuple(each.codec_context.name for each in container.streams.audio)
            first = next(iter(self._decoded(container)), None)
        if first is None:
            raise errors.ClipError(f"{path}: no frame of its video can be decoded.")
        height, width = first.height, first.width
        if height * width > max_pixels:
            raise errors.ClipError(
                f"{path}: its frames have {width}x{height} pixels, and max_pixels allows "
                f"{max_pixels}."
            )
        self.origin = self._time(first) if first.pts is not None else Fraction(0)
        self._coded = height, width
        self.size = (width, height) if first.rotation % 180 else (height, width)
        self.bits = max(part.bits for part in first.format.components)
        self.transparent = any(part.is_alpha for part in first.format.components)
        self.high_range = int(first.color_trc) in _HIGH_RANGE

    @contextlib.contextmanager
    def container(self) -> Iterator[Any]:
        """Opens the file.

        Raises:
            ClipError: it cannot be read.
        """
        import av

        av.logging.set_level(None)
        try:
            with av.open(self.name) as container:
                yield container
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise errors.ClipError(
                f"{self.name}: cannot be read as a video ({errors.reason(error)})."
            ) from error

    def frames(self, part: Part) -> Iterator[Frame]:
        seen = 0
        with self.container() as container:
            previous = self.origin - 1 / self.rate

            def timed() -> Iterator[tuple[Fraction, Any]]:
                nonlocal previous, seen
                for frame in self._decoded(container):
                    seen += 1
                    following = previous + 1 / self.rate
                    previous = following if frame.pts is None else self._time(frame)
                    yield previous - self.origin, frame

            for number, time, frame in part.chosen(timed()):
                yield Frame(number, time, self._picture(frame))
        if part.end is None and seen < self._declared:
            raise errors.ClipError(
                f"{self.name}: ends after {seen} of {self._declared} frames, so it is damaged. To "
                f"paint what there is, give --end={float(previous - self.origin) + 1e-3:.3f}."
            )

    def _time(self, frame: Any) -> Fraction:
        return Fraction(frame.pts) * Fraction(frame.time_base)

    def _decoded(self, container: Any) -> Iterator[Any]:
        import av

        stream = container.streams.video[0]
        if not (self._alpha and stream.codec_context.name in ("vp8", "vp9")):
            stream.thread_type = "AUTO"
            yield from container.decode(stream)
            return
        # FFmpeg's own decoders leave the transparency out.
        decoder: Any = av.CodecContext.create(
            f"libvpx{'-vp9' * (stream.codec_context.name == 'vp9')}", "r"
        )
        for packet in container.demux(stream):
            if packet.dts is not None or packet.size:
                yield from decoder.decode(packet)
        yield from decoder.decode(None)

    def _picture(self, frame: Any) -> images.Picture:
        if (frame.height, frame.width) != self._coded:
            raise errors.ClipError(
                f"{self.name}: its frames change from {self._coded[1]}x{self._coded[0]} to "
                f"{frame.width}x{frame.height} pixels; expected one size."
            )
        tagged = frame.colorspace in _SPACES
        space = frame.colorspace if tagged else _usual_space(frame.height)
        layout = LAYOUTS[self.bits > 8, self.transparent]
        values = frame.to_ndarray(format=layout, src_colorspace=space)
        return images.load(np.rot90(values, frame.rotation // 90))


def _usual_space(height: int) -> int:
    """Returns the colour space of a video that names none: BT.709 for high definition."""
    return _BT709 if height >= _HIGH_DEFINITION else _BT601


class _Animation(Clip):
    """A GIF, APNG or WebP."""

    def __init__(self, path: Path, max_pixels: int) -> None:
        self.name, self._path = str(path), path
        height, width = images.size(path, max_pixels)
        self.size = height, width
        with self._image() as image:
            count = getattr(image, "n_frames", 1)
            durations = []
            for each in ImageSequence.Iterator(image):
                durations.append(_milliseconds(each))
                self.transparent |= each.has_transparency_data
        self._durations, self.time_base = durations, Fraction(1, 1000)
        self.seconds = sum(durations) / 1000
        self.rate = Fraction(1000 * count, sum(durations)).limit_denominator(1001)

    @contextlib.contextmanager
    def _image(self) -> Iterator[Image.Image]:
        try:
            with Image.open(self._path) as image:
                yield image
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise errors.ClipError(
                f"{self.name}: cannot be read as an animation ({errors.reason(error)})."
            ) from error

    def frames(self, part: Part) -> Iterator[Frame]:
        with self._image() as image:

            def timed() -> Iterator[tuple[Fraction, Image.Image]]:
                at = Fraction(0)
                for index, each in enumerate(ImageSequence.Iterator(image)):
                    yield at, each
                    at += Fraction(self._durations[index], 1000)

            for number, time, each in part.chosen(timed()):
                yield Frame(
                    number, time, images.load(each.convert("RGBA" if self.transparent else "RGB"))
                )

    def last_duration(self) -> Fraction:
        return Fraction(self._durations[-1], 1000)


class _Folder(Clip):
    """A folder of pictures, in the order of the numbers in their names."""

    def __init__(self, path: Path, rate: Fraction, max_pixels: int) -> None:
        self.name, self.rate, self._most = str(path), rate, max_pixels
        self.time_base = 1 / rate
        self._paths = sorted(images.expand([str(path)]), key=_by_number)
        self.size = images.size(self._paths[0], max_pixels)
        first = images.load(self._paths[0], max_pixels)
        self.bits = 16 if first.pixels.dtype == np.uint16 else 8
        self.transparent = first.alpha is not None
        self.seconds = float(len(self._paths) / rate)

    def frames(self, part: Part) -> Iterator[Frame]:
        timed = ((index / self.rate, path) for index, path in enumerate(self._paths))
        for number, time, path in part.chosen(timed):
            picture = images.load(path, self._most)
            if picture.size != self.size:
                raise errors.ClipError(
                    f"{path}: has {picture.size[1]}x{picture.size[0]} pixels, and the first "
                    f"picture of the folder {self.size[1]}x{self.size[0]}; expected one size."
                )
            yield Frame(number, time, picture)


def _milliseconds(frame: Image.Image) -> int:
    """Returns how long a frame of an animation is shown; players show none for less than 20 ms."""
    frame.load()  # A WebP knows its time only then.
    shown = round(frame.info.get("duration", 0) or 0)
    return shown if shown >= 20 else 100


def _by_number(path: str) -> list[Any]:
    """Returns a key by which `2.png` comes before `10.png`."""
    parts = re.split(r"(\d+)", os.path.basename(path))
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]
