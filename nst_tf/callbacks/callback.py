"""The interface of a callback, and what it is told."""

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
        config: what the picture is made with.
        backbone: the network.
        levels: of the pyramid, coarse to fine.
        device: name of the TensorFlow device that the steps run on.
        level: index of the level that the run begins in, which is not 0 where it goes on from
            a snapshot.
        step: number of the last step that was taken in that level before, or 0.
        history: entries of the steps that were taken before, as `History` has them.
        rollbacks: steps, seen so far, after which the run went back to the last good picture.
        stopping: set to True, at any time, to end the run after the current step.
        finished: whether all steps were taken; known from `on_end` on.
        picture: returns the last good picture, float32 `(height, width, 3)` in [0, 1], in the size
            of its level, or None where no step was taken. Once the run has ended, that is the
            result; after an error, what there was.
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
        """Returns how many steps of a level were taken before this run began."""
        if level == self.level:
            return self.step
        return self.levels[level].steps if level < self.level else 0


@dataclasses.dataclass(frozen=True)
class StepEnd:
    """A step that has just ended. Tensors stay on the device until they are read.

    Attributes:
        level: index of the level, from 0, coarse to fine.
        step: number of the step in its level, from 1.
        loss: float32 scalar tensor.
        terms: the weighted terms of the loss, scalar tensors that add up to it, by name.
        picture: returns the picture so far, float32 `(height, width, 3)` in [0, 1].
        snapshot: returns all that it takes to go on from here. It and `picture` are to be called
            before the next step, and raise `StyleTransferError` later.
    """

    level: int
    step: int
    loss: tf.Tensor
    terms: dict[str, tf.Tensor]
    picture: Callable[[], tf.Tensor]
    snapshot: Callable[[], snapshots.Snapshot]


class Callback:
    """Base of all callbacks; each method does nothing until it is overridden.

    Once `on_begin` has returned, one of `on_end` and `on_error` is called, exactly once.
    """

    def on_begin(self, run: Run) -> None:
        """Called once, before the first level."""

    def on_level_begin(self, level: int) -> None:
        """Called before the first step of the level with that index."""

    def on_step_end(self, step: StepEnd) -> None:
        """Called after every step."""

    def on_end(self, image: tf.Tensor) -> None:
        """Called once with the finished picture, float32 `(height, width, 3)` in [0, 1].

        A run that was stopped has one, too.
        """

    def on_error(self, error: BaseException) -> None:
        """Called once where the run ends by an exception, `KeyboardInterrupt` among them."""


def group_terms(terms: dict[str, tf.Tensor]) -> dict[str, float]:
    """Returns the terms summed by what stands before the `/` of their names, as numbers."""
    sums: dict[str, float] = {}
    for name, value in terms.items():
        group = name.partition("/")[0]
        sums[group] = sums.get(group, 0.0) + float(value)
    return sums
