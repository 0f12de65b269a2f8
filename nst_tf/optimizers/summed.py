"""The interface of an optimiser with sums over the whole picture, and the step of any optimiser."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence

import tensorflow as tf

from nst_tf.optimizers import smoothing
from nst_tf.optimizers.optimizer import Evaluation, Optimizer, State

Sums = dict[str, tf.Tensor]
"""Sums over the values of a whole picture, by name."""


class SummedOptimizer(Optimizer):
    """An optimiser that uses sums over the whole picture, such as dot products.

    `sums` and `update_with_sums` take the place of `update`. The optimiser may also evaluate the
    objective elsewhere than at the current picture, and smooth gradients.

    The update of a pixel depends on that pixel, on its gradient, smoothed or not, and on the sums.
    So `point`, `projected`, `sums` and `update_with_sums` may get a band of a picture, as in
    `Optimizer`. `update_with_sums` gets the `sums` of all bands, added up.

    Attributes:
        has_line_search: whether the optimiser by itself leaves a point with too high a loss.
    """

    has_line_search: bool = False

    def point(self, image: tf.Tensor, state: State) -> tf.Tensor:
        """Returns the picture to evaluate: the current one unless overridden.

        Args:
            image: the current picture, or a band of it.
            state: the current state. In tiles, an entry is read on access.
        """
        del state
        return image

    def smoothing(self, state: State) -> Sequence[tf.Tensor]:
        """Returns the weights of the coarser pictures for `smoothing.smoothed`, none by default."""
        del state
        return ()

    def projected(self, point: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        """Returns the gradient to smooth, without that of values that may not move.

        Args:
            point: the picture at which the objective was evaluated, or a band of it.
            gradient: the gradient there.
        """
        del point
        return gradient

    def sums(self, image: tf.Tensor, state: State, evaluation: Evaluation) -> Sums:
        """Returns the sums over values that `update_with_sums` needs: none unless overridden.

        Args:
            image: the current picture, or a band of it.
            state: the current state.
            evaluation: the objective at `point`.
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
            evaluation: the objective at `point`.
            sums: the results of `sums`, added up over the picture.
        """

    def update(
        self, image: tf.Tensor, state: State, evaluation: Evaluation
    ) -> tuple[tf.Tensor, State]:
        """Returns the next picture and state, for a whole picture.

        Args:
            image: the current picture.
            state: the current state.
            evaluation: the objective at `point`.
        """
        return self.update_with_sums(image, state, evaluation, self.sums(image, state, evaluation))


class _Pointwise(SummedOptimizer):
    """A pointwise optimiser as one with empty sums.

    Args:
        optimizer: the pointwise optimiser.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.whole = optimizer.whole

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
    """Returns an optimiser of either kind as a `SummedOptimizer`."""
    return optimizer if isinstance(optimizer, SummedOptimizer) else _Pointwise(optimizer)


def step(
    optimizer: Optimizer,
    image: tf.Tensor,
    state: State,
    evaluate: Callable[[tf.Tensor], Evaluation],
) -> tuple[tf.Tensor, State, Evaluation]:
    """Takes one step on a whole picture: one evaluation, smoothed if need be, and the update.

    Args:
        optimizer: the optimiser.
        image: the current picture.
        state: result of `init`, `carried_state` or the previous step.
        evaluate: the objective, a function of a picture.

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
