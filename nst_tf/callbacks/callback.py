"""The interface of a callback, and the objects that it receives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nst_tf import config as configs
from nst_tf.imaging import pyramid
from nst_tf.records import snapshot as snapshots

if TYPE_CHECKING:
    import tensorflow as tf

    from nst_tf import backbones


@dataclasses.dataclass
class Run:
    """One stylisation, from its beginning.

    Attributes:
        config: the settings.
        backbone: the network.
        levels: levels of the pyramid, coarse to fine.
        device: TensorFlow's name of the device that the steps run on.
        level: index of the level that the run begins in; 0 unless it goes on from a snapshot.
        step: number of the last step taken in that level by the earlier run, or 0.
        history: entries of the steps of the earlier run, as in `History`.
        rollbacks: number of steps so far that were rolled back to the last good picture.
        stopping: set it to True, at any time, to end the run after the current step.
        finished: whether all steps were taken; valid from `on_end` on.
        picture: returns the last good picture, float32 `(height, width, 3)` in [0, 1], in the size
            of its level, or None before the first step. After the end of the run it returns the
            result; after an error, the last good picture before it.
    """

    config: configs.StyleTransferConfig
    backbone: backbones.Backbone
    levels: Sequence[pyramid.Level]
    device: str
    level: int = 0
    step: int = 0
    history: Sequence[Mapping[str, Any]] = ()
    rollbacks: int = 0
    stopping: bool = False
    finished: bool = False
    picture: Callable[[], tf.Tensor | None] = lambda: None

    def taken(self, level: int) -> int:
        """Returns the number of steps of a level that were taken before this run began."""
        if level == self.level:
            return self.step
        return self.levels[level].steps if level < self.level else 0


@dataclasses.dataclass(frozen=True)
class StepEnd:
    """A step that has just ended. Its tensors stay on the device until they are read.

    Attributes:
        level: index of the level, from 0, coarse to fine.
        step: number of the step in its level, from 1.
        loss: weighted loss, a float32 scalar tensor.
        terms: weighted terms of the loss by name, scalar tensors that add up to it.
        picture: returns the picture so far, float32 `(height, width, 3)` in [0, 1].
        snapshot: returns the snapshot after this step. Call it and `picture` before the next step;
            later they raise `StyleTransferError`.
    """

    level: int
    step: int
    loss: tf.Tensor
    terms: dict[str, tf.Tensor]
    picture: Callable[[], tf.Tensor]
    snapshot: Callable[[], snapshots.Snapshot]


class Callback:
    """Base of all callbacks; each method does nothing until it is overridden.

    After `on_begin` has returned, either `on_end` or `on_error` is called, exactly once.
    """

    def on_begin(self, run: Run) -> None:
        """Called once, before the first level."""

    def on_level_begin(self, level: int) -> None:
        """Called before the first step of the level with that index."""

    def on_step_end(self, step: StepEnd) -> None:
        """Called after every step."""

    def on_end(self, image: tf.Tensor) -> None:
        """Called once with the finished picture, float32 `(height, width, 3)` in [0, 1].

        A stopped run calls it, too.
        """

    def on_error(self, error: BaseException) -> None:
        """Called once if the run ends by an exception, `KeyboardInterrupt` included."""


def group_terms(terms: dict[str, tf.Tensor]) -> dict[str, float]:
    """Returns sums of the terms, as numbers, by the part of their names before the first `/`."""
    sums: dict[str, float] = {}
    for name, value in terms.items():
        group = name.partition("/")[0]
        sums[group] = sums.get(group, 0.0) + float(value)
    return sums
