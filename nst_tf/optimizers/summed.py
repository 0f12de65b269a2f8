"""The interface of an optimiser that needs to know of the whole picture, and the step of any."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence

import tensorflow as tf

from nst_tf.optimizers import smoothing
from nst_tf.optimizers.optimizer import Evaluation, Optimizer, State

Sums = dict[str, tf.Tensor]
"""What an optimiser has to know of a whole picture: sums over its values, by name."""


class SummedOptimizer(Optimizer):
    """An optimiser that goes by sums over the whole picture, such as dot products.

    `sums` and `update_with_sums` take the place of `update`. It may also evaluate the objective
    elsewhere than at the current picture, and have gradients smoothed.

    What becomes of a pixel depends on that pixel, on the gradient there, smoothed or not, and on
    the sums. So `point`, `projected`, `sums` and `update_with_sums` may be given a band of a
    picture, as `Optimizer` says, and the last of them the `sums` of all bands, added up.

    Attributes:
        has_line_search: whether it leaves a point by itself whose loss is too high.
    """

    has_line_search: bool = False

    def point(self, image: tf.Tensor, state: State) -> tf.Tensor:
        """Returns the picture to evaluate, which is the current one unless overridden.

        Args:
            image: the current picture, or a band of it.
            state: the current state. In tiles, entries are read where they are looked at.
        """
        del state
        return image

    def smoothing(self, state: State) -> Sequence[tf.Tensor]:
        """Returns the weights of the coarser pictures that the gradient is `smoothed` with."""
        del state
        return ()

    def projected(self, point: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        """Returns what is smoothed: the gradient, less that of values which may not move.

        Args:
            point: where the objective was evaluated.
            gradient: there.
        """
        del point
        return gradient

    def sums(self, image: tf.Tensor, state: State, evaluation: Evaluation) -> Sums:
        """Returns the sums over values that `update_with_sums` goes by: none unless overridden.

        Args:
            image: the current picture, or a band of it.
            state: the current state.
            evaluation: of the objective at `point`.
        """
        del image, state, evaluation
        return {}

    @abc.abstractmethod
    def update_with_sums(
        self, image: tf.Tensor, state: State, evaluation: Evaluation, sums: Sums
    ) -> tuple[tf.Tensor, State]:
        """Returns the next picture and the next state.

        Args:
            image: the current picture, or a band of it.
            state: the current state.
            evaluation: of the objective at `point`.
            sums: what `sums` returned, added up over the picture.
        """

    def update(
        self, image: tf.Tensor, state: State, evaluation: Evaluation
    ) -> tuple[tf.Tensor, State]:
        """Returns the next picture and state, given the whole of each.

        Args:
            image: the current picture.
            state: the current state.
            evaluation: of the objective at `point`.
        """
        return self.update_with_sums(image, state, evaluation, self.sums(image, state, evaluation))


class _Pointwise(SummedOptimizer):
    """An optimiser that goes pixel by pixel, as one whose sums are empty.

    Args:
        optimizer: that goes pixel by pixel.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer

    def init(self, image: tf.Tensor, steps: int) -> State:
        return self.optimizer.init(image, steps)

    def update_with_sums(
        self, image: tf.Tensor, state: State, evaluation: Evaluation, sums: Sums
    ) -> tuple[tf.Tensor, State]:
        del sums
        return self.optimizer.update(image, state, evaluation)

    def carried_state(self, state: State, image: tf.Tensor, steps: int) -> State:
        return self.optimizer.carried_state(state, image, steps)

    def restarted_state(self, state: State, image: tf.Tensor) -> State:
        return self.optimizer.restarted_state(state, image)

    def result(self, image: tf.Tensor, state: State) -> tf.Tensor:
        return self.optimizer.result(image, state)


def summed(optimizer: Optimizer) -> SummedOptimizer:
    """Returns an optimiser of either kind as one that goes by sums."""
    return optimizer if isinstance(optimizer, SummedOptimizer) else _Pointwise(optimizer)


def step(
    optimizer: Optimizer,
    image: tf.Tensor,
    state: State,
    evaluate: Callable[[tf.Tensor], Evaluation],
) -> tuple[tf.Tensor, State, Evaluation]:
    """Takes one step on a whole picture: one evaluation, smoothed if need be, and the update.

    Args:
        optimizer: how to move.
        image: the current picture.
        state: what `init`, `carried_state` or the step before returned.
        evaluate: the objective.

    Returns:
        The next picture, the next state, and the evaluation.
    """
    whole = summed(optimizer)
    point = whole.point(image, state)
    evaluation = evaluate(point)
    weights = whole.smoothing(state)
    if weights:
        projected = whole.projected(point, evaluation.gradient)
        evaluation = evaluation._replace(smoothed=smoothing.smoothed(projected, weights))
    return *whole.update(image, state, evaluation), evaluation
