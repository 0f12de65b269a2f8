"""The interface of an optimiser."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf import config as configs
from nst_tf.optimizers import smoothing

UNKNOWN = float(np.finfo(np.float32).max)
"""Stands for the loss before there is one, and is finite: a host may check that all numbers are."""

State = dict[str, tf.Tensor]
"""What an optimiser remembers from step to step, as named tensors of fixed shapes."""

Sums = dict[str, tf.Tensor]
"""What an optimiser has to know of a whole picture: sums over its values, by name."""


class Evaluation(NamedTuple):
    """The objective at one picture.

    Attributes:
        loss: float32 scalar.
        gradient: of the loss, with the shape of the picture.
        terms: the weighted terms of the loss, by their names.
        smoothed: what the optimiser has `projected` of the gradient, smoothed as its `smoothing`
            says; empty where that asks for nothing.
    """

    loss: tf.Tensor
    gradient: tf.Tensor
    terms: dict[str, tf.Tensor]
    smoothed: Any = ()


class Optimizer(abc.ABC):
    """A pure function from picture and state to the next picture and state.

    Pictures are float32 tensors `(1, height, width, 3)`. Nothing is kept on the object, so
    one optimiser may serve any number of pictures at once.

    What becomes of a pixel depends on that pixel, on the gradient there, smoothed or not, and on
    sums over all of them. So every method but `initial_state` and `carried_state` may be given a
    part of a picture, with that part of whatever in the state has the picture's size, and the
    `sums` of all parts, added up.

    Attributes:
        turns_back: whether it leaves a point by itself whose loss is too high.
        point_state: names of the entries of the state that `point` goes by; it need not be given
            the others.
        result_state: likewise, those that `result` goes by.
    """

    turns_back: bool = False
    point_state: tuple[str, ...] = ()
    result_state: tuple[str, ...] = ()

    @classmethod
    @abc.abstractmethod
    def from_config(cls, config: configs.StyleTransferConfig) -> Optimizer:
        """Returns the optimiser with the settings of a config."""

    @abc.abstractmethod
    def initial_state(self, image: tf.Tensor, steps: int) -> State:
        """Returns the state before the first of `steps` steps from `image`."""

    def point(self, image: tf.Tensor, state: State) -> tf.Tensor:
        """Returns the picture to evaluate next, which is the current one unless overridden.

        Args:
            image: the current picture.
            state: what `initial_state`, `carried_state` or the step before returned.
        """
        del state
        return image

    def smoothing(self, state: State) -> Sequence[tf.Tensor]:
        """Returns the weights of the coarser pictures that the gradient is `smoothed` with."""
        del state
        return ()

    def projected(self, point: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        """Returns the gradient without that of values which may not move: all, unless overridden.

        Args:
            point: where the objective was evaluated.
            gradient: there.
        """
        del point
        return gradient

    def sums(
        self, image: tf.Tensor, state: State, point: tf.Tensor, evaluation: Evaluation
    ) -> Sums:
        """Returns the sums over pixels that `update` goes by: none unless overridden.

        Args:
            image: the current picture.
            state: the current state.
            point: what `point` returned for these.
            evaluation: of the objective at `point`.
        """
        del image, state, point, evaluation
        return {}

    @abc.abstractmethod
    def update(
        self, image: tf.Tensor, state: State, point: tf.Tensor, evaluation: Evaluation, sums: Sums
    ) -> tuple[tf.Tensor, State]:
        """Returns the next picture and the next state.

        Args:
            image: the current picture.
            state: the current state.
            point: what `point` returned for these.
            evaluation: of the objective at `point`.
            sums: what `sums` returned for all of these, added up over the picture.
        """

    def step(
        self, image: tf.Tensor, state: State, evaluate: Callable[[tf.Tensor], Evaluation]
    ) -> tuple[tf.Tensor, State, Evaluation]:
        """Takes one step: `point`, one evaluation there, smoothed if need be, `sums` and `update`.

        Args:
            image: the current picture.
            state: what `initial_state`, `carried_state` or the step before returned.
            evaluate: the objective.

        Returns:
            The next picture, the next state, and the evaluation.
        """
        point = self.point(image, state)
        evaluation = evaluate(point)
        weights = self.smoothing(state)
        if weights:
            projected = self.projected(point, evaluation.gradient)
            evaluation = evaluation._replace(smoothed=smoothing.smoothed(projected, weights))
        sums = self.sums(image, state, point, evaluation)
        return *self.update(image, state, point, evaluation, sums), evaluation

    def carried_state(self, state: State, image: tf.Tensor, steps: int) -> State:
        """Returns the state to begin a finer level with.

        Args:
            state: at the end of the level below.
            image: the picture at the finer level.
            steps: of the finer level.
        """
        del state
        return self.initial_state(image, steps)

    def restarted_state(self, state: State, image: tf.Tensor) -> State:
        """Returns the state to go on with from a picture that the run went back to.

        What was learnt on the way that failed is forgotten. The place in the schedule is kept,
        and the rate, by way of `backoff`, is halved.

        Args:
            state: of the step that failed.
            image: the picture that the run went back to.
        """
        kept: State = {name: state[name] for name in ("step", "steps") if name in state}
        if "backoff" in state:
            kept["backoff"] = 0.5 * state["backoff"]
        return {**self.initial_state(image, 1), **kept}

    def result(self, image: tf.Tensor, state: State) -> tf.Tensor:
        """Returns the picture to show, which need not be the one that the steps walk on."""
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
