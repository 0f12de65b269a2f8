"""Paints the frames of one shot, each from the one before."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import cv2
import numpy as np

from nst_tf import callbacks as watching
from nst_tf import config as configs
from nst_tf import losses
from nst_tf import objective as objectives
from nst_tf.engine import transfer
from nst_tf.film import carried_neighbours, temporal
from nst_tf.film import flow as flows
from nst_tf.film.coherence import Coherence
from nst_tf.imaging import color, images, inputs, pyramid
from nst_tf.losses.neighbours import CELL
from nst_tf.records import snapshot as snapshots

_T = TypeVar("_T")

PREVIOUS, FIRST = "previous", "first"
"""Names of the references of later frames: the frame before, and the first one of the shot."""
_HELD = 0.5  # Least `Flow.holds` of a place that keeps what it has.
_STILL = 1.5 / 255  # Largest change of a place that stands still, averaged around it.
_STILL_MOTION = 0.3  # Pixels that the flow may find in it.
_AROUND = 2.0  # Deviation of that average, in pixels.
_LEAST_TRUST = 1e-3  # Weight of a place where a flow does not hold, in a frame that is filled in.
_SETTLING = 3  # Steps over which a loss is seen to settle.
_EDGE = 8  # Pixels over which a place that stands still blends into one that does not.


@dataclasses.dataclass(eq=False)
class State:
    """What the next frame of a shot needs of those before; all arrays are float32.

    Attributes:
        frame: the last frame, `(height, width, 3)`, in the size of the result.
        picture: its picture.
        first_frame: the first frame of the shot.
        first_picture: its picture.
        painted: the content at the time when each place was last painted.
        mask: the content mask of the last frame, `(height, width, 3)`, or None.
        matches: the matches of the last frame, for each region.
    """

    frame: np.ndarray
    picture: np.ndarray
    first_frame: np.ndarray
    first_picture: np.ndarray
    painted: np.ndarray
    mask: np.ndarray | None = None
    matches: Sequence[np.ndarray] = ()

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns all arrays by name, for `from_arrays`."""
        names = ("frame", "picture", "first_frame", "first_picture", "painted", "mask")
        found = {name: getattr(self, name) for name in names}
        found = {name: each for name, each in found.items() if each is not None}
        return found | {f"matches {index}": each for index, each in enumerate(self.matches)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> State:
        """Returns the state with the arrays of `arrays`."""
        plain = {name: each for name, each in arrays.items() if not name.startswith("matches ")}
        count = len(arrays) - len(plain)
        return cls(**plain, matches=[arrays[f"matches {index}"] for index in range(count)])


class Shot:
    """Paints the frames of a shot in turn.

    Args:
        engine: an engine with the settings of the film.
        styles: the style pictures.
        sample: colours of the whole shot, `(rows, columns, 3)`, which decide how all its frames
            are recoloured.
        coherence: how frames follow each other.
        style_masks: the masks of the styles, or none.
        masked: whether the frames have content masks. Then each is recoloured by itself.
        state: the state to go on from.

    Attributes:
        state: the state after the last frame, or None before the first.
    """

    def __init__(
        self,
        engine: transfer.StyleTransfer,
        styles: Sequence[images.Picture],
        sample: np.ndarray,
        coherence: Coherence,
        style_masks: Sequence[images.Picture] = (),
        masked: bool = False,
        state: State | None = None,
    ) -> None:
        self.state = state
        self._coherence, self._style_masks = coherence, style_masks
        self._engine, self._styles, self._prepared = engine, styles, None
        config = engine.config
        if config.color in ("palette", "match") and not masked:
            prepared = inputs.prepare(config, images.load(sample), styles, None, style_masks)
            self._styles, self._prepared, self._sample = prepared.styles, prepared, sample
            self._engine = engine.replace(color="style")
        self._later: transfer.StyleTransfer | None = None
        self._coarse: transfer.StyleTransfer | None = None
        self._neighbours = self._coarse_neighbours = carried_neighbours.CarriedNeighbours()

    def paint(
        self,
        frame: images.Picture,
        mask: images.Picture | None = None,
        callbacks: Sequence[watching.Callback] = (),
        start: snapshots.Snapshot | None = None,
    ) -> np.ndarray:
        """Returns the picture of the next frame, float32 `(height, width, 3)`.

        Args:
            frame: the frame.
            mask: its content mask; None carries that of the frame before, if it has one.
            callbacks: callbacks that follow its steps.
            start: snapshot to go on from, if the shot begins with this frame.
        """
        height, width = self._size(frame)
        shown = frame.resized(height, width)
        content = self._recoloured(shown)
        if self.state is None:
            picture = self._first(content, mask, callbacks, start)
            regions = mask.resized(height, width) if mask else None
            self.state = State(shown, picture, shown, picture, shown, regions)
            return picture
        if mask or not np.array_equal(shown, self.state.frame):
            self.state = self._next(shown, content, mask, callbacks)
        return self.state.picture

    def paint_to(
        self,
        frames: Sequence[images.Picture],
        mask: images.Picture | None = None,
        callbacks: Sequence[watching.Callback] = (),
        start: snapshots.Snapshot | None = None,
    ) -> list[np.ndarray]:
        """Returns the pictures of the next frames: the last is painted, the others filled in.

        Args:
            frames: the frames; the first one of a shot comes alone.
            mask: content mask of the last, as for `paint`.
            callbacks: callbacks that follow its steps.
            start: snapshot to go on from, as for `paint`.
        """
        *between, key = frames
        before = self.state
        picture = self.paint(key, mask, callbacks, start)
        found = []
        for place, frame in enumerate(between, 1):
            assert before and self.state
            shown, share = frame.resized(*picture.shape[:2]), place / len(frames)
            found.append(_filled(shown, before, self.state, share))
        return [*found, picture]

    def _size(self, frame: images.Picture) -> tuple[int, int]:
        sizes = [style.size for style in self._styles]
        level = pyramid.plan(self._engine.config, frame.size, sizes, self._engine.least_side)[-1]
        return level.height, level.width

    def _recoloured(self, frame: np.ndarray) -> np.ndarray:
        if self._prepared is None or not self._prepared.palettes:
            return frame
        return self._prepared.matched_to_palettes(frame, self._sample).clip(0, 1)

    def _first(
        self,
        content: np.ndarray,
        mask: images.Picture | None,
        callbacks: Sequence[watching.Callback],
        start: snapshots.Snapshot | None,
    ) -> np.ndarray:
        made = self._engine.stylize(
            content, self._styles, callbacks, start,
            content_mask=mask, style_masks=self._style_masks,
        )  # fmt: skip
        picture = made.numpy()
        if self._prepared is None or not self._prepared.palettes:
            return picture
        palette = content.reshape(1, -1, 3)
        return color.match(picture, palette, self._prepared.method, "rgb").clip(0, 1)

    def _next(
        self,
        shown: np.ndarray,
        content: np.ndarray,
        mask: images.Picture | None,
        callbacks: Sequence[watching.Callback],
    ) -> State:
        """Returns the state after a later frame."""
        state = self.state
        assert state
        flow = flows.between(state.frame, shown)
        far = flows.between(state.first_frame, shown)
        before = flow.carried(state.picture).clip(0, 1)
        still = self._still(shown, flow)
        if still.min() == 1:
            return dataclasses.replace(state, frame=shown)
        regions = mask.resized(*shown.shape[:2]) if mask else None
        if mask is None and state.mask is not None:
            regions = flow.carried(state.mask).clip(0, 1)
            mask = images.load(regions)
        before += still[..., np.newaxis] * (state.picture - before)
        new = float((flow.holds < _HELD).mean()) >= self._coherence.least_new
        start = self._start(content, before, flow.holds, mask, new)
        references = {
            PREVIOUS: (before, flow.holds),
            FIRST: (far.carried(state.first_picture).clip(0, 1), far.holds),
        }
        engine = self._engine_of_later(shown)
        watchers = callbacks if new else [*callbacks, Settled(self._coherence.settled)]
        self._neighbours.matches = state.matches
        self._neighbours.begin(lambda matches: _carried(matches, flow))
        made = engine.stylize(
            content, self._styles, watchers,
            content_mask=mask, style_masks=self._style_masks, init=start, references=references,
        )  # fmt: skip
        picture = made.numpy()
        picture += still[..., np.newaxis] * (before - picture)
        painted = shown + still[..., np.newaxis] * (state.painted - shown)
        return dataclasses.replace(
            state,
            frame=shown,
            picture=picture,
            painted=painted,
            mask=regions,
            matches=self._neighbours.matches,
        )

    def _still(self, shown: np.ndarray, flow: flows.Flow) -> np.ndarray:
        """Returns where nothing has changed since a place was painted, 0 to 1."""
        assert self.state
        change = cv2.GaussianBlur(shown - self.state.painted, (0, 0), _AROUND)
        moves = np.abs(cv2.blur(flow.back, (_EDGE, _EDGE))).max(axis=-1) > _STILL_MOTION
        changed = (np.abs(change).max(axis=-1) > _STILL) | moves
        near = cv2.dilate(changed.astype(np.uint8), np.ones((2 * _EDGE + 1,) * 2, np.uint8))
        distance = (
            cv2.distanceTransform(1 - near, cv2.DIST_L2, 3)
            if near.any()
            else np.full(near.shape, _EDGE)
        )
        return (distance / _EDGE).clip(0, 1).astype(np.float32)

    def _start(
        self,
        content: np.ndarray,
        before: np.ndarray,
        holds: np.ndarray,
        mask: images.Picture | None,
        new: bool,
    ) -> np.ndarray:
        """Returns the initial picture: the frame before, and new paint where it does not hold."""
        known = holds[..., np.newaxis]
        start = content + known * (before - content)
        engine = self._engine_of_new(*content.shape[:2]) if new else None
        if engine is None:
            return start
        self._coarse_neighbours.begin(None)
        made = engine.stylize(
            content, self._styles, content_mask=mask, style_masks=self._style_masks, init=start
        )
        fresh = images.resize(made.numpy(), *content.shape[:2])
        return fresh + known * (before - fresh)

    def _engine_of_new(self, height: int, width: int) -> transfer.StyleTransfer | None:
        """Returns the engine that paints new places coarsely, or None if the picture is small."""
        steps = self._coherence.coarse_steps
        long_side = max(height, width) // 2
        least = self._engine.least_side or pyramid.minimum_side(self._base)
        shortest = min(height, width) / 2
        count = sum(shortest / 2**depth >= least + 1 for depth in range(len(steps)))
        if count and self._coarse is None:
            config = self._base.at_level(long_side).replace(
                image_size=long_side, levels=count, level_factor=2.0, steps=steps[-count:]
            )
            self._coarse_neighbours = _carrying(config)
            self._coarse = self._with_terms(config, self._coarse_neighbours, {})
        return self._coarse

    @property
    def _base(self) -> configs.StyleTransferConfig:
        """The settings of later frames: one pass through each level, and no last pass."""
        return self._engine.config.replace(matches=1, final_steps=0)

    def _engine_of_later(self, shown: np.ndarray) -> transfer.StyleTransfer:
        """Returns the engine of later frames, built once: its compiled step serves them all."""
        if self._later is None:
            config = self._base.at_level(max(shown.shape[:2])).replace(
                levels=1, steps=(self._coherence.steps,)
            )
            self._neighbours = _carrying(config)
            weights = {
                PREVIOUS: self._coherence.previous_weight,
                FIRST: self._coherence.first_weight,
            }
            self._later = self._with_terms(config, self._neighbours, weights)
        return self._later

    def _with_terms(
        self,
        config: configs.StyleTransferConfig,
        neighbours: losses.Neighbours,
        weights: Mapping[str, float],
    ) -> transfer.StyleTransfer:
        """Returns an engine whose matches are kept from frame to frame.

        Args:
            config: its settings.
            neighbours: the loss that takes the place of `Neighbours`.
            weights: weights of the temporal losses, by the names of their references.
        """
        backbone = self._engine.backbone
        terms = [
            dataclasses.replace(term, loss=neighbours)
            if type(term.loss) is losses.Neighbours
            else term
            for term in objectives.terms(config, backbone.name)
        ]
        for name, weight in weights.items():
            loss = temporal.Temporal(reference=name)
            terms.append(objectives.Term(f"temporal/{name}", "image", loss, weight))
        objective = objectives.Objective(backbone, terms)
        return transfer.StyleTransfer(config, backbone, objective=objective)


def groups(frames: Iterable[_T], every: int, *, begun: bool = False) -> Iterator[list[_T]]:
    """Returns the frames of a shot in groups for `Shot.paint_to`.

    Args:
        frames: the frames.
        every: frames of a group.
        begun: whether the first frame of the shot is not among them.
    """
    waiting: list[_T] = []
    for frame in frames:
        waiting.append(frame)
        if not begun or len(waiting) == every:
            yield waiting
            waiting, begun = [], True
    if waiting:
        yield waiting


def _filled(frame: np.ndarray, before: State, after: State, share: float) -> np.ndarray:
    """Returns the picture of a frame between two painted ones, moved from both along the flow.

    Args:
        frame: the frame, in the size of the pictures.
        before: the state after the painted frame before it.
        after: the state after the painted frame behind it.
        share: place of the frame between the two, from 0 at `before` to 1 at `after`.
    """
    found, weights = np.zeros_like(frame), []
    for state, weight in ((before, 1 - share), (after, share)):
        flow = flows.between(state.frame, frame)
        weights.append(np.float32(weight) * (flow.holds + np.float32(_LEAST_TRUST)))
        found += weights[-1][..., np.newaxis] * flow.carried(state.picture).clip(0, 1)
    return found / np.add(*weights)[..., np.newaxis]


class Settled(watching.Callback):
    """Stops a run when its loss has settled.

    Args:
        least: least relative decrease of the loss in a step, on average over the last three steps,
            that goes on.
    """

    def __init__(self, least: float) -> None:
        self._least = least
        self._losses: list[float] = []

    def on_begin(self, run: watching.Run) -> None:
        self._run = run

    def on_step_end(self, step: watching.StepEnd) -> None:
        self._losses.append(float(step.loss))
        now, before = self._losses[-1], self._losses[:-_SETTLING]
        # The first steps of L-BFGS are small, so they say nothing.
        if len(before) > 1 and before[-1] - now < _SETTLING * self._least * abs(now):
            self._run.stopping = True


def _carrying(config: configs.StyleTransferConfig) -> carried_neighbours.CarriedNeighbours:
    """Returns the neighbour matching of a config that carries its matches."""
    arguments = {name: getattr(config, field) for name, field in losses.Neighbours.knobs.items()}
    return carried_neighbours.CarriedNeighbours(config.style_normalization, **arguments)


def _carried(matches: np.ndarray, flow: flows.Flow) -> np.ndarray:
    """Returns the matches of a frame, moved along a flow; -1 where it does not hold."""
    height, width = flow.holds.shape
    rows, columns = (
        np.minimum(np.arange(count) * CELL + CELL // 2, side - 1)
        for count, side in zip(matches.shape, (height, width), strict=True)
    )
    at = np.ix_(rows, columns)
    across, down = np.moveaxis(flow.back[at], -1, 0)
    from_row = ((rows[:, np.newaxis] + down) // CELL).astype(int)
    from_column = ((columns + across) // CELL).astype(int)
    found = matches[
        from_row.clip(0, matches.shape[0] - 1), from_column.clip(0, matches.shape[1] - 1)
    ]
    return np.where(flow.holds[at] >= _HELD, found, -1)
