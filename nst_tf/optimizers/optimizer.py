"""The interface of an optimiser: `init` and `update`."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf.config import objects

UNKNOWN = float(np.finfo(np.float32).max)
"""Placeholder for a loss before the first evaluation. It is finite: a host may check for that."""

State = Mapping[str, tf.Tensor]
"""The memory of an optimiser from step to step: named tensors of fixed shapes."""


class Evaluation(NamedTuple):
    """The objective at one picture.

    Attributes:
        loss: the loss, a float32 scalar.
        gradient: gradient of the loss, with the shape of the picture.
        terms: weighted terms of the loss, by their names.
        smoothed: the smoothed gradient, for a `SummedOptimizer` whose `smoothing` asks for it;
            otherwise empty.
    """

    loss: tf.Tensor
    gradient: tf.Tensor
    terms: dict[str, tf.Tensor]
    smoothed: Any = ()


class Optimizer(objects.Configurable, abc.ABC):
    """A pure function from picture and state to the next picture and state, pixel by pixel.

    An optimiser needs only `init` and `update`. It then works on whole pictures and in tiles,
    within a guard, over all levels, and resumes from checkpoints. Pictures are float32 tensors
    `(1, height, width, 3)`. The object keeps no state, so one optimiser may serve any number of
    pictures at once.

    The update of a pixel depends on that pixel, its gradient and the loss. So `update` and
    `result` may get a band of a picture: some rows of it, of its gradient, and of every entry of
    the state with its height and width. The other entries, such as the number of the step, come
    out the same for every band. An optimiser that needs more, such as a dot product over all
    pixels, is a `SummedOptimizer`.

    Some entries of a state have a fixed meaning, if they are there. `step`, the number of the
    step, and `steps`, the number of all steps, survive a rollback. `backoff`, 1 at first, is
    halved by each rollback; an optimiser multiplies its rate by it.

    The constructor keeps its arguments as attributes of the same names, or the class overrides
    `get_config`: recipes record the arguments.

    Attributes:
        whole: whether `update` needs the whole picture. It then gets no parts of it.
    """

    whole: bool = False

    @abc.abstractmethod
    def init(self, image: tf.Tensor, steps: int) -> State:
        """Returns the state before the first of `steps` steps from `image`.

        Args:
            image: the initial picture, float32, `(1, height, width, 3)`, sRGB in [0, 1].
            steps: number of steps of the level.
        """

    @abc.abstractmethod
    def update(
        self, image: tf.Tensor, state: State, evaluation: Evaluation
    ) -> tuple[tf.Tensor, State]:
        """Returns the next picture, and the next state, of the shapes of this one.

        Args:
            image: the current picture, or a band of it.
            state: result of `init`, `carried_state` or the previous step.
            evaluation: the objective at the current picture.
        """

    def carried_state(self, state: State, image: tf.Tensor, steps: int) -> State:
        """Returns the state to begin a finer level with: that of `init` unless overridden.

        Args:
            state: state at the end of the coarser level.
            image: the picture at the finer level.
            steps: number of steps of the finer level.
        """
        del state
        return self.init(image, steps)

    def restarted_state(self, state: State, image: tf.Tensor) -> State:
        """Returns the state after a rollback.

        The memory of earlier steps is forgotten. The place in the schedule is kept, and the rate
        is halved by way of `backoff`.

        Args:
            state: state of the failed step.
            image: the picture that the run rolls back to.
        """
        kept = {name: state[name] for name in ("step", "steps") if name in state}
        if "backoff" in state:
            kept["backoff"] = 0.5 * state["backoff"]
        return {**self.init(image, 1), **kept}

    def result(self, image: tf.Tensor, state: State) -> tf.Tensor:
        """Returns the picture to show, which need not be the current iterate.

        Args:
            image: the current picture, or a band of it.
            state: the current state. In tiles, an entry is read on access.
        """
        del state
        return image


def scheduled_rate(step: tf.Tensor, steps: tf.Tensor, final: float, decay: float) -> tf.Tensor:
    """Returns the learning rate of a step, relative to the first of its level.

    Args:
        step: number of the step in its level, from 0.
        steps: number of steps of the level.
        final: ratio of the last rate to the first, reached along half a cosine (Loshchilov and
            Hutter, 2017, equation 5).
        decay: further factor from each step to the next.
    """
    progress = tf.minimum(step / tf.maximum(steps - 1, 1), 1)
    cosine = final + (1 - final) * 0.5 * (1 + tf.cos(math.pi * progress))
    return cosine * tf.pow(decay, step)
