"""A clip and paintings in, a film out."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from nst_tf import callbacks, errors
from nst_tf import config as configs
from nst_tf.engine import transfer
from nst_tf.film import clips, painting, processes, shots, writing
from nst_tf.film.coherence import Coherence
from nst_tf.film.store import Frames, Store
from nst_tf.runtime import files

logger = logging.getLogger("nst_tf")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Film:
    """A film to make.

    Attributes:
        content: path of the clip: a video file, an animation, or a folder of pictures.
        styles: paths of the paintings.
        output: path of the film, with a suffix of `writing.FORMATS`; none for a folder.
        config: the settings of a picture.
        coherence: how frames follow each other.
        part: the frames to take.
        cuts: numbers of the frames that begin a shot; None finds them.
        content_mask: path of the content mask: a picture of the first frame's regions, which is
            carried along the flow, or a clip; or an empty text.
        style_masks: paths of the masks of the paintings.
        rate: frames a second of a folder of pictures; 0 for `clips.RATE`.
        audio: whether the film has the audio of the clip.
        fade: pairs of a frame's number and the share of the painting in it, 0 to 1, the rest being
            the clip; between them it changes evenly. Empty for 1 throughout.
        overwrite: whether to replace an existing film.
        resume: whether to go on with the frames of an earlier run.
    """

    content: str
    styles: Sequence[str]
    output: str
    config: configs.StyleTransferConfig = dataclasses.field(
        default_factory=configs.StyleTransferConfig
    )
    coherence: Coherence = dataclasses.field(default_factory=Coherence)
    part: clips.Part = dataclasses.field(default_factory=clips.Part)
    cuts: Sequence[int] | None = None
    content_mask: str = ""
    style_masks: Sequence[str] = ()
    rate: float = 0.0
    audio: bool = True
    fade: Sequence[tuple[int, float]] = ()
    overwrite: bool = False
    resume: bool = False

    @property
    def partial(self) -> Path:
        """The film of the frames so far, if it is stopped."""
        path = Path(self.output)
        return path.with_name(f"{path.stem}-partial{path.suffix}")

    @property
    def preview(self) -> Path:
        """The film that can be played while it grows."""
        return files.sibling(Path(self.output), ".preview.mp4")

    @property
    def folder(self) -> Path:
        """The folder of the frames while the film is being painted."""
        path = Path(self.output)
        return path.with_name(f"{path.name}.frames")  # Of both a.mp4 and a.gif.

    def about(self) -> dict[str, Any]:
        """Returns what the frames depend on, for a later run that goes on with them."""
        inputs = [self.content, *self.styles, self.content_mask, *self.style_masks]
        found = {
            "clip, painting or mask": [_hash(Path(path)) for path in inputs if path],
            "settings": self.config.to_dict(),
            "coherence": dataclasses.asdict(self.coherence),
            "part of the clip": [str(self.part), self.rate],
            "cuts": self.cuts,
            "fade": list(self.fade),
        }
        return json.loads(json.dumps(found))  # As it is read again.


def check(film: Film) -> clips.Clip:
    """Checks a film before any work, and returns its clip.

    Raises:
        ClipError: the clip cannot be read.
        ConfigError: the output does not fit the clip.
        ExistingOutputError: the output exists, and `overwrite` is False.
        OutputError: the output cannot be written.
    """
    clip = clips.opened(film.content, film.rate, film.config.max_pixels)
    path = Path(film.output)
    writing.check(path, clip, film.audio)
    if path.exists() and not film.overwrite:
        raise errors.ExistingOutputError(
            f"{path}: exists already. Give another --output, or --overwrite."
        )
    try:
        files.probe(path if path.suffix else path.with_suffix(".probe"))
    except OSError as error:
        raise errors.OutputError(f"{path}: cannot be written ({errors.reason(error)}).") from error
    if clip.transparent and not writing.keeps_transparency(path):
        logger.info("%s holds no transparency; the film is laid on white.", path.suffix)
    if clip.high_range:
        logger.warning(
            "%s has a high dynamic range, which is read as if it had none: it may look pale.",
            clip.name,
        )
    return clip


def make(
    film: Film,
    engine: transfer.StyleTransfer | None = None,
    *,
    clip: clips.Clip | None = None,
    watcher: painting.Watcher | None = None,
    workers: int = 1,
    preview: bool = False,
) -> Path:
    """Paints a film, and returns its path.

    Args:
        film: the film.
        engine: an engine whose network and compiled steps are used; None builds one.
        clip: the clip, as `check` returns it.
        watcher: follows the making.
        workers: shots in the making at a time, each in a process of its own.
        preview: whether to write `Film.preview` while the frames are made.

    Raises:
        StoppedError: the watcher asked to stop. `Film.partial` has the frames so far.
        StyleTransferError: the film cannot be made; what is painted stays in `Film.folder`.
    """
    watcher, clip = watcher or painting.Watcher(), clip or check(film)
    found = survey(film, clip)
    if len(found.shots) > 1 and painting.is_picture(Path(film.content_mask)):
        raise errors.ConfigError(
            f"{film.content_mask} has the regions of the first frame, and the clip has "
            f"{len(found.shots)} shots. Give a clip of masks, or one shot by --start and --end."
        )
    store = Store(film.folder, film.about(), film.resume)
    frames = Frames(store, found.times)
    watcher.on_survey(found, store.done(len(frames)))
    shown = _Preview(film.preview if preview else None, frames, clip)
    followed = _Followed(watcher, shown)
    try:
        if workers > 1 and len(found.shots) > 1:
            processes.paint(film, found, store, followed, min(workers, len(found.shots)))
        else:
            own = engine.with_config(film.config) if engine else None
            engine = own or transfer.StyleTransfer(film.config)
            work = painting.Work(film, clip, found, store, engine, followed)
            for index in range(len(found.shots)):
                work.paint(index)
    except painting.StoppedError:
        if frames.painted():
            so_far = Frames(store, found.times[: frames.painted()])
            end = film.part.start + so_far[-1].time + clip.last_duration()
            part = dataclasses.replace(film.part, end=end)
            writing.write(film.partial, so_far, clip, part, audio=film.audio, overwrite=True)
        raise
    finally:
        shown.close()
        if not store.begun():
            store.remove()
    writing.write(
        Path(film.output), frames, clip, film.part, audio=film.audio, overwrite=film.overwrite
    )
    store.remove()
    if preview:
        film.preview.unlink(missing_ok=True)
    return Path(film.output)


class _Followed(painting.Watcher):
    """A watcher and a preview."""

    def __init__(self, watcher: painting.Watcher, preview: _Preview) -> None:
        self._watcher, self._preview = watcher, preview

    @property
    def stopping(self) -> bool:
        return self._watcher.stopping

    def of_frame(self, number: int, shot: int) -> Sequence[callbacks.Callback]:
        return self._watcher.of_frame(number, shot)

    def on_frame(self, number: int) -> None:
        self._watcher.on_frame(number)
        self._preview.grow()


class _Preview:
    """A video of the frames so far, which can be played while it grows.

    Args:
        path: its path, or None for none.
        frames: the frames of the film.
        clip: the clip.
    """

    def __init__(self, path: Path | None, frames: Frames, clip: clips.Clip) -> None:
        self._path, self._frames, self._clip = path, frames, clip
        self._video: writing.Video | None = None
        self._count = 0

    def grow(self) -> None:
        """Appends the frames that have been painted in the meantime."""
        while self._path and self._frames.has(self._count):
            frame = self._frames[self._count]
            if self._video is None:
                self._video = writing.Video(
                    str(self._path), ".mp4", self._clip, frame, growing=True
                )
            self._video.add(frame, frame.time, 1 / self._clip.rate)
            self._count += 1

    def close(self) -> None:
        """Completes the video."""
        if self._video:
            self._video.close()


def survey(film: Film, clip: clips.Clip) -> painting.Survey:
    """Returns times, shots and colours of a clip, from one pass through it.

    Raises:
        ClipError: the clip is damaged, or no frame is left.
    """
    times: list[Fraction] = []

    def pixels() -> Iterator[np.ndarray]:
        for frame in clip.frames(film.part):
            times.append(frame.time)
            yield frame.picture.pixels

    begins, samples = shots.survey(pixels())
    if not times:
        raise errors.ClipError(
            f"{clip.name}: there is no frame between --start and --end; it is {clip.seconds:.2f} s "
            "long."
        )
    ranges = shots.ranges(len(times), begins if film.cuts is None else film.cuts)
    return painting.Survey(
        times, ranges, [shots.colours(samples[each.start : each.stop]) for each in ranges]
    )


def _hash(path: Path) -> str:
    if path.is_dir():
        return str([files.file_hash(each) for each in sorted(path.iterdir()) if each.is_file()])
    return files.file_hash(path)
