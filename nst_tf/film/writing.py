"""Writing a film: a video file with the audio of the clip, an animation, or numbered pictures."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from nst_tf import errors
from nst_tf.film import clips
from nst_tf.imaging import images
from nst_tf.runtime import files

VIDEOS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""FFmpeg's format of a video file, by its suffix."""
FORMATS = (*VIDEOS, ".gif", ".png", ".apng", ".webp")
"""The suffixes of films. A path without a suffix is a folder of numbered pictures."""
_TRANSPARENT = (".mov", ".mkv", ".webm", ".png", ".apng", ".webp", "")
_BT709 = 1
_PALETTE_FRAMES = 8  # That a GIF's colours are chosen from.
_TICK = Fraction(1, 100)  # The unit of a GIF's times.


def check(path: Path, clip: clips.Clip, audio: bool) -> None:
    """Checks, before any work, that a clip's film can be written to a path.

    Raises:
        ConfigError: the suffix is unknown, or the format does not hold the clip's audio.
    """
    suffix = path.suffix.lower()
    if suffix and suffix not in FORMATS:
        raise errors.ConfigError(
            f"{path}: films end in {', '.join(FORMATS)}; a name without a suffix is a folder of "
            "pictures."
        )
    if suffix not in VIDEOS or not audio:
        return
    known = _known_codecs(suffix)
    unknown = [codec for codec in clip.audio if codec not in known]
    if unknown:
        raise errors.ConfigError(
            f"{path}: {suffix} holds no {unknown[0]}, the audio of {clip.name}, which is copied as "
            "it is. Give an output that ends in .mkv, or --audio=false."
        )


def keeps_transparency(path: Path) -> bool:
    """Returns whether the format of a film holds transparency."""
    return path.suffix.lower() in _TRANSPARENT


def write(
    path: Path,
    frames: Sequence[clips.Frame],
    clip: clips.Clip,
    part: clips.Part,
    *,
    audio: bool = True,
    overwrite: bool = False,
) -> None:
    """Writes a film in one atomic step.

    Args:
        path: the path, with a suffix of `FORMATS` or none.
        frames: the frames, of one size. Each is read when it is written.
        clip: the clip that they come from, whose times and audio they keep.
        part: the part of it.
        audio: whether to copy the audio of a video file.
        overwrite: whether to replace an existing film.

    Raises:
        ExistingOutputError: the path exists, and `overwrite` is False.
        OutputError: the film cannot be written.
    """
    suffix = path.suffix.lower()
    try:
        if not suffix:
            _write_folder(path, frames, 16 if clip.bits > 8 else 8, overwrite)
            return
        with files.atomic_file(path, overwrite) as file:
            if suffix in VIDEOS:
                _write_video(file, suffix, frames, clip, part, audio)
            else:
                _write_animation(file, suffix, frames, clip, part)
    except FileExistsError as error:
        raise errors.ExistingOutputError(
            f"{path}: exists already. Give another output, or allow overwriting it."
        ) from error
    except OSError as error:
        raise errors.OutputError(f"{path}: cannot be written ({errors.reason(error)}).") from error


class Video:
    """A video that is encoded frame by frame.

    Args:
        file: an open file, or the path of one that can be played while it grows.
        suffix: a key of `VIDEOS`.
        clip: the clip whose times it keeps.
        like: a frame; all have its size and kind.
        growing: whether it can be played before it is closed.
    """

    def __init__(
        self,
        file: BinaryIO | str,
        suffix: str,
        clip: clips.Clip,
        like: clips.Frame,
        *,
        growing: bool = False,
    ) -> None:
        import av

        av.logging.set_level(None)
        kind = VIDEOS[suffix]
        options = {"fflags": "bitexact"}  # Neither time nor chance in the file.
        if growing:
            options["movflags"] = "frag_keyframe+empty_moov"
        self.container = av.open(file, "w", format=kind, options=options)
        self._base = clip.time_base
        self._deep = clip.bits > 8
        self._transparent = like.picture.alpha is not None and suffix in _TRANSPARENT
        codec, self._layout, settings = _codec(suffix, self._deep, self._transparent)
        if growing:
            settings |= {"g": "10", "tune": "zerolatency", "preset": "veryfast"}
        stream: Any = self.container.add_stream(codec, rate=clip.rate, options=settings)
        height, width = (side + side % 2 for side in like.picture.size)
        stream.height, stream.width, stream.pix_fmt = height, width, self._layout
        context = stream.codec_context
        context.time_base = self._base
        if clip.aspect != 1:
            context.sample_aspect_ratio = clip.aspect
        for name in ("colorspace", "color_primaries", "color_trc"):
            setattr(context, name, _BT709)
        context.color_range = 1  # Of television, as players expect.
        if codec == "libx265" and kind in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # Without it, Apple's players refuse the file.
        self._stream = stream

    def add(self, frame: clips.Frame, at: Fraction, seconds: Fraction) -> None:
        """Encodes a frame.

        Args:
            frame: the frame.
            at: its time in the file, in seconds.
            seconds: how long it is shown.
        """
        import av

        values = _values(frame, self._transparent, self._deep)
        odd = [(0, side % 2) for side in values.shape[:2]]  # Codecs take even sides only.
        values = np.ascontiguousarray(np.pad(values, (*odd, (0, 0)), "edge"))
        layout = clips.LAYOUTS[self._deep, self._transparent]
        made = av.VideoFrame.from_ndarray(values, format=layout)
        made = made.reformat(format=self._layout, dst_colorspace=_BT709)
        made.pts, made.time_base = round(at / self._base), self._base
        made.duration = max(1, round(seconds / self._base))
        self.container.mux(self._stream.encode(made))

    def close(self) -> None:
        """Writes what remains."""
        self.container.mux(self._stream.encode())
        self.container.close()


def _write_video(
    file: BinaryIO,
    suffix: str,
    frames: Sequence[clips.Frame],
    clip: clips.Clip,
    part: clips.Part,
    audio: bool,
) -> None:
    import av

    shift = clip.origin + part.start if part.start else Fraction(0)
    begin = Fraction(0) if part.start else clip.origin
    try:
        with contextlib.ExitStack() as stack:
            video = Video(file, suffix, clip, frames[0])
            sound = (
                _Sound(stack, clip, part, shift, video.container) if audio and clip.audio else None
            )
            last = part.every * clip.last_duration()
            for frame, following in itertools.pairwise(itertools.chain(frames, [None])):
                assert frame
                end = following.time if following else frame.time + last
                video.add(frame, frame.time + begin, end - frame.time)
                if sound and following:
                    sound.copy(end + begin)
            if sound:
                sound.copy(None)
            video.close()
    except av.error.FFmpegError as error:
        raise errors.OutputError(f"the film cannot be encoded ({errors.reason(error)}).") from error


class _Sound:
    """The audio packets of a clip, copied as they are."""

    def __init__(
        self,
        stack: contextlib.ExitStack,
        clip: clips.Clip,
        part: clips.Part,
        shift: Fraction,
        target: Any,
    ) -> None:
        assert isinstance(clip, clips.VideoFile)
        source = stack.enter_context(clip.container())
        self._target, self._shift = target, shift
        self._end = None if part.end is None else clip.origin + part.end
        self._streams = {
            stream.index: target.add_stream_from_template(stream) for stream in source.streams.audio
        }
        self._packets = source.demux(*source.streams.audio)
        self._waiting: Any = None

    def copy(self, until: Fraction | None) -> None:
        """Copies the packets before a time of the film, in seconds; None for all."""
        while (packet := self._waiting or next(self._packets, None)) is not None:
            self._waiting = None
            if packet.dts is None:
                continue
            at = Fraction(packet.pts) * Fraction(packet.time_base)
            if (self._shift and at < self._shift) or (self._end is not None and at >= self._end):
                continue
            if until is not None and at - self._shift > until:
                self._waiting = packet
                return
            ticks = round(self._shift / Fraction(packet.time_base))
            packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks
            packet.stream = self._streams[packet.stream.index]
            self._target.mux(packet)


def _codec(suffix: str, deep: bool, transparent: bool) -> tuple[str, str, dict[str, str]]:
    """Returns codec, pixel format and options for frames of a kind."""
    if suffix == ".webm":
        layout = "yuva420p" if transparent else "yuv420p"
        return "libvpx-vp9", layout, {"crf": "20", "b": "0", "row-mt": "1", "cpu-used": "2"}
    if transparent:
        return "prores_ks", "yuva444p10le", {"profile": "4444"}
    if deep:
        return "libx265", "yuv420p10le", {"crf": "16", "x265-params": "log-level=none"}
    return "libx264", "yuv420p", {"crf": "16", "preset": "medium"}


def _known_codecs(suffix: str) -> set[str]:
    import av

    with av.open(os.devnull, "w", format=VIDEOS[suffix]) as container:
        return set(container.supported_codecs)


def _durations(
    frames: Sequence[clips.Frame], clip: clips.Clip, part: clips.Part
) -> Iterator[Fraction]:
    """Returns how long each frame is shown, in seconds."""
    before = None
    for frame in frames:
        if before is not None:
            yield frame.time - before
        before = frame.time
    yield part.every * clip.last_duration()


def _values(frame: clips.Frame, transparent: bool, deep: bool = False) -> np.ndarray:
    """Returns whole numbers, uint8 or uint16 `(height, width, channels)`; if opaque, on white."""
    highest = 65535 if deep else 255
    pixels, alpha = frame.picture.rgb, frame.picture.alpha
    if alpha is not None and transparent:
        pixels = np.concatenate([pixels, alpha[..., np.newaxis]], axis=2)
    elif alpha is not None:
        pixels = 1 + alpha[..., np.newaxis] * (pixels - 1)
    return np.rint(highest * pixels).astype(np.uint16 if deep else np.uint8)


def _write_animation(
    file: BinaryIO,
    suffix: str,
    frames: Sequence[clips.Frame],
    clip: clips.Clip,
    part: clips.Part,
) -> None:
    durations = [round(1000 * seconds) for seconds in _durations(frames, clip, part)]
    picture: Callable[[clips.Frame], Image.Image] = _image
    if suffix == ".gif":
        durations = _in_ticks(list(_durations(frames, clip, part)))
        colours, dither = _shared_colours(frames), Image.Dither.FLOYDSTEINBERG

        def picture(frame: clips.Frame) -> Image.Image:
            return Image.fromarray(_values(frame, False)).quantize(palette=colours, dither=dither)

    kind = {".gif": "GIF", ".webp": "WEBP"}.get(suffix, "PNG")
    more = {"quality": 90} if kind == "WEBP" else {}
    picture(frames[0]).save(
        file,
        kind,
        save_all=True,
        append_images=_Rest(frames, picture),
        duration=durations,
        loop=0,
        **more,
    )


class _Rest:
    """The pictures of all frames but the first, made when they are asked for, again and again."""

    def __init__(
        self, frames: Sequence[clips.Frame], picture: Callable[[clips.Frame], Image.Image]
    ) -> None:
        self._frames, self._picture = frames, picture

    def __iter__(self) -> Iterator[Image.Image]:
        return map(self._picture, itertools.islice(self._frames, 1, None))


def _in_ticks(durations: Sequence[Fraction]) -> list[int]:
    """Returns durations in milliseconds, of whole ticks, whose rounding does not add up."""
    ends, total = [0], Fraction(0)
    for seconds in durations:
        total += seconds
        ends.append(max(ends[-1] + 2, round(total / _TICK)))
    return [10 * (end - begin) for begin, end in itertools.pairwise(ends)]


def _shared_colours(frames: Sequence[clips.Frame]) -> Image.Image:
    """Returns a palette for all frames, so that its colours do not flicker."""
    chosen = np.linspace(0, len(frames) - 1, min(len(frames), _PALETTE_FRAMES)).round().astype(int)
    stacked = np.concatenate([_values(frames[index], False) for index in chosen])
    return Image.fromarray(stacked).quantize(256)


def _image(frame: clips.Frame) -> Image.Image:
    return Image.fromarray(_values(frame, frame.picture.alpha is not None))


def _write_folder(
    path: Path, frames: Sequence[clips.Frame], bit_depth: int, overwrite: bool
) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(path)
    with files.atomic_folder(path) as folder:
        for frame in frames:
            name = folder / f"{frame.number + 1:06d}.png"
            images.save(frame.picture, name, bit_depth=bit_depth)
