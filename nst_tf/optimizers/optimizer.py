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
"""Stands for the loss before there is one, and is finite: a host may check that all numbers are."""

State = Mapping[str, tf.Tensor]
"""What an optimiser remembers from step to step, as named tensors of fixed shapes."""


class Evaluation(NamedTuple):
    """The objective at one picture.

    Attributes:
        loss: float32 scalar.
        gradient: of the loss, with the shape of the picture.
        terms: the weighted terms of the loss, by their names.
        smoothed: the gradient smoothed, for a `SummedOptimizer` whose `smoothing` asks for it;
            otherwise empty.
    """

    loss: tf.Tensor
    gradient: tf.Tensor
    terms: dict[str, tf.Tensor]
    smoothed: Any = ()


class Optimizer(objects.Configurable, abc.ABC):
    """A pure function from picture and state to the next picture and state, pixel by pixel.

    `init` and `update` make an optimiser, which then works whole and in tiles, within a guard,
    over all levels, and goes on from checkpoints. Pictures are float32 tensors
    `(1, height, width, 3)`. Nothing is kept on the object, so one optimiser may serve any number
    of pictures at once.

    What becomes of a pixel depends on that pixel, the gradient there and the loss, so that
    `update` and `result` may be given a band of a picture: some rows of it, of its gradient, and
    of every entry of the state that has its height and width. The other entries, such as the
    number of the step, come out the same for every band. An optimiser that needs more, such as a
    dot product over all pixels, is a `SummedOptimizer`.

    These entries of a state are known by their names, where there are any: `step`, the number of
    the step, and `steps`, that of all steps, are kept after a failed step; and `backoff`, 1 at
    first, is halved by each. An optimiser multiplies its rate by it.

    The constructor keeps its arguments as attributes of their names, or `get_config` is
    overridden: they are recorded with the picture.
    """

    @abc.abstractmethod
    def init(self, image: tf.Tensor, steps: int) -> State:
        """Returns the state before the first of `steps` steps from `image`.

        Args:
            image: float32, `(1, height, width, 3)`, sRGB in [0, 1].
            steps: of the level.
        """

    @abc.abstractmethod
    def update(
        self, image: tf.Tensor, state: State, evaluation: Evaluation
    ) -> tuple[tf.Tensor, State]:
        """Returns the next picture, and the next state, of the shapes of this one.

        Args:
            image: the current picture, or a band of it.
            state: what `init`, `carried_state` or the step before returned.
            evaluation: of the objective at the current picture.
        """

    def carried_state(self, state: State, image: tf.Tensor, steps: int) -> State:
        """Returns the state to begin a finer level with: that of `init` unless overridden.

        Args:
            state: at the end of the level below.
            image: the picture at the finer level.
            steps: of the finer level.
        """
        del state
        return self.init(image, steps)

    def restarted_state(self, state: State, image: tf.Tensor) -> State:
        """Returns the state to go on with from a picture that the run went back to.

        What was learnt on the way that failed is forgotten. The place in the schedule is kept,
        and the rate, by way of `backoff`, is halved.

        Args:
            state: of the step that failed.
            image: the picture that the run went back to.
        """
        kept = {name: state[name] for name in ("step", "steps") if name in state}
        if "backoff" in state:
            kept["backoff"] = 0.5 * state["backoff"]
        return {**self.init(image, 1), **kept}

    def result(self, image: tf.Tensor, state: State) -> tf.Tensor:
        """Returns the picture to show, which need not be the one that the steps walk on.

        Args:
            image: the current picture, or a band of it.
            state: the current state. In tiles, entries are read where they are looked at.
        """
        del state
        return image


def scheduled_rate(step: tf.Tensor, steps: tf.Tensor, final: float, decay: float) -> tf.Tensor:
    """Returns the learning rate of a step, relative to the first of its level.

    Args:
        step: number of the step in its level, from 0.
        steps: of the level.
        final: what the last rate has fallen to, along half a cosine (Loshchilov and Hutter,
            2017, equation 5).
        decay: a further factor from each step to the next.
    """
    progress = tf.minimum(step / tf.maximum(steps - 1, 1), 1)
    cosine = final + (1 - final) * 0.5 * (1 + tf.cos(math.pi * progress))
    return cosine * tf.pow(decay, step)
