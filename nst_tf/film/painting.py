"""Paints the shots of a film into its folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from nst_tf import callbacks as watching
from nst_tf import errors
from nst_tf.engine import transfer
from nst_tf.film import clips, shot
from nst_tf.film.store import Store
from nst_tf.imaging import images

if TYPE_CHECKING:
    from nst_tf.film.film import Film


class StoppedError(errors.StyleTransferError):
    """The film was asked to stop. What is painted so far is in its folder."""


class Survey(NamedTuple):
    """What is known of a clip before it is painted.

    Attributes:
        times: time of each frame, in seconds.
        shots: the frames of each shot.
        samples: colours of each shot, `(rows, columns, 3)`.
    """

    times: Sequence[Fraction]
    shots: Sequence[range]
    samples: Sequence[np.ndarray]


class Watcher:
    """Follows the making of a film; each method does nothing until it is overridden.

    A subclass tells by `stopping` that the film is to end after the current step.
    """

    @property
    def stopping(self) -> bool:
        """Whether to end the film after the current step."""
        return False

    def on_survey(self, survey: Survey, done: int) -> None:
        """Called once the shots are known, with the number of frames painted earlier."""

    def on_frame(self, number: int) -> None:
        """Called when a frame is painted and saved."""

    def of_frame(self, number: int, shot: int) -> Sequence[watching.Callback]:
        """Returns callbacks for the steps of a frame."""
        del number, shot
        return ()


class Work:
    """Paints shots.

    Args:
        film: the film.
        clip: its clip.
        found: its survey.
        store: its folder.
        engine: an engine with its settings.
        watcher: follows the work.
    """

    def __init__(
        self,
        film: Film,
        clip: clips.Clip,
        found: Survey,
        store: Store,
        engine: transfer.StyleTransfer,
        watcher: Watcher,
    ) -> None:
        self._film, self._clip, self._found, self._store = film, clip, found, store
        self._engine, self._watcher = engine, watcher
        most = film.config.max_pixels
        self._styles = [images.load(path, most) for path in images.expand(film.styles)]
        self._style_masks = [images.load(path, most) for path in film.style_masks]

    def paint(self, index: int) -> None:
        """Paints the frames of a shot that are not painted yet.

        Raises:
            StoppedError: the watcher asked to stop.
        """
        numbers, earlier = self._found.shots[index], self._store.state(index)
        begin, state = (earlier[0] + 1, earlier[1]) if earlier else (numbers.start, None)
        painter = shot.Shot(
            self._engine,
            self._styles,
            self._found.samples[index],
            self._film.coherence,
            self._style_masks,
            bool(self._film.content_mask),
            state,
        )
        frames = self._frames(range(begin, numbers.stop))
        every = self._film.coherence.keyframe_every
        for group in shot.groups(frames, every, begun=earlier is not None):
            self._paint_group(painter, group, index)
        if self._film.coherence.loop and len(self._found.shots) == 1:
            self._close_loop(painter, numbers)

    def _frames(self, numbers: range) -> Iterator[tuple[clips.Frame, images.Picture | None]]:
        """Returns frames with their masks."""
        if not numbers:
            return
        for frame, mask in zip(self._clip.frames(self._film.part), self._masks(), strict=False):
            if frame.number in numbers:
                yield frame, mask
            if frame.number >= numbers[-1]:
                return

    def _masks(self) -> Iterator[images.Picture | None]:
        """Returns the mask of each frame; None for those to which the first is carried."""
        path = Path(self._film.content_mask)
        if not self._film.content_mask:
            return itertools.repeat(None)
        if is_picture(path):
            return itertools.chain([images.load(path)], itertools.repeat(None))
        clip = clips.opened(path, self._film.rate, self._film.config.max_pixels)
        return (frame.picture for frame in clip.frames(self._film.part))

    def _paint_group(
        self,
        painter: shot.Shot,
        group: Sequence[tuple[clips.Frame, images.Picture | None]],
        index: int,
    ) -> None:
        """Paints some frames and saves them, and then the state after them."""
        pictures = self._painted(painter, group, index)
        for (frame, _), picture in zip(group, pictures, strict=True):
            self._save(frame, picture)
        assert painter.state
        self._store.save_state(index, group[-1][0].number, painter.state)
        for frame, _ in group:
            self._watcher.on_frame(frame.number)

    def _painted(
        self,
        painter: shot.Shot,
        group: Sequence[tuple[clips.Frame, images.Picture | None]],
        index: int,
    ) -> list[np.ndarray]:
        """Returns the pictures of some frames."""
        number, mask = group[-1][0].number, group[-1][1]
        followers = [_Stop(self._watcher), *self._watcher.of_frame(number, index)]
        checkpoint, start = None, None
        if painter.state is None:
            checkpoint = watching.Checkpoint(self._store.checkpoints(index))
            start = checkpoint.load()
            followers.append(checkpoint)
        frames = [frame.picture for frame, _ in group]
        pictures = painter.paint_to(frames, mask, followers, start)
        if self._watcher.stopping:
            raise StoppedError("the film was stopped.")
        if checkpoint:
            checkpoint.remove()
        return pictures

    def _save(self, frame: clips.Frame, picture: np.ndarray, *, loop: bool = False) -> None:
        size, share = picture.shape[:2], share_at(self._film.fade, frame.number)
        if share < 1:
            original = frame.picture.resized(*size)
            picture = original + np.float32(share) * (picture - original)
        alpha = frame.picture.alpha
        alpha = None if alpha is None else images.resize(alpha, *size)
        self._store.save_frame(frame.number, picture, alpha, loop=loop)

    def _close_loop(self, painter: shot.Shot, numbers: range) -> None:
        """Paints the first frames once more, from the last one on, and blends both."""
        count = min(self._film.coherence.loop_frames, len(numbers) // 3)
        for frame, mask in self._frames(numbers[:count]):
            (again,) = self._painted(painter, [(frame, mask)], 0)
            first = self._store.frame(frame.number).rgb
            share = np.float32((frame.number + 1) / (count + 1))
            self._save(frame, again + share * (first - again), loop=True)


class _Stop(watching.Callback):
    """Ends a run when the film is asked to stop."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def on_begin(self, run: watching.Run) -> None:
        self._run = run

    def on_step_end(self, step: watching.StepEnd) -> None:
        del step
        if self._watcher.stopping:
            self._run.stopping = True


def share_at(fade: Sequence[tuple[int, float]], number: int) -> float:
    """Returns the share of the painting in a frame; see `Film.fade`."""
    if not fade:
        return 1.0
    numbers, shares = zip(*sorted(fade), strict=True)
    return float(np.interp(number, numbers, shares))


def is_picture(path: Path) -> bool:
    """Returns whether a file is a picture that does not move."""
    if not path.is_file() or path.suffix.lower() not in images.FORMATS:
        return False
    with Image.open(path) as image:
        return getattr(image, "n_frames", 1) == 1
