"""L-BFGS within bounds."""

from __future__ import annotations

import tensorflow as tf

from nst_tf import config as configs
from nst_tf.optimizers.curvature import History, dot
from nst_tf.optimizers.optimizer import Evaluation, Optimizer, State

_SUFFICIENT_DECREASE = 1e-4  # c1 of the Armijo condition, Nocedal and Wright, equation 3.4.
_LEAST_CURVATURE = 1e-10  # Of a pair that is remembered: s·y relative to y·y.


class LBFGS(Optimizer):
    """Limited-memory BFGS, projected to bounds, with a backtracking line search.

    Each step is one evaluation: of the full move along the current direction, or, after a
    move that did not lower the loss enough, of half that move. The first step evaluates the
    start and does not move.

    The direction is the two-loop recursion, algorithm 7.4 of Nocedal and Wright, "Numerical
    Optimization" (2006), with the initial scaling of equation 7.20. Values that sit on a bound
    and whose gradient points outwards are left out of it (Bertsekas, 1982). A pair of
    differences is remembered only if its curvature is positive.

    Args:
        history: pairs of past differences to remember.
        first_step: root mean square change of a move when no curvature is known.
        largest_step: root mean square change that no move exceeds.
        largest_backtracks: halvings after which the history is forgotten.
        bounds: lowest and highest value, or None.
    """

    turns_back = True

    def __init__(
        self,
        history: int = 10,
        *,
        first_step: float = 0.01,
        largest_step: float = 0.1,
        largest_backtracks: int = 5,
        bounds: tuple[float, float] | None = (0.0, 1.0),
    ) -> None:
        self.history = history
        self.first_step = first_step
        self.largest_step = largest_step
        self.largest_backtracks = largest_backtracks
        self.bounds = bounds

    @classmethod
    def from_config(cls, config: configs.StyleTransferConfig) -> LBFGS:
        return cls(
            config.lbfgs_history,
            first_step=(config.learning_rate or 0.01 * config.pixel_range) / config.pixel_range,
            bounds=(0.0, 1.0) if config.clip_pixels else None,
        )

    def initial_state(self, image: tf.Tensor, steps: int) -> State:
        del steps
        return {
            "loss": tf.constant(float("inf")),
            "gradient": tf.zeros_like(image),
            "direction": tf.zeros_like(image),
            "backtracks": tf.constant(0.0),
            **History.empty(image, self.history).to_state(),
        }

    def point(self, image: tf.Tensor, state: State) -> tf.Tensor:
        moved = image + tf.pow(0.5, state["backtracks"]) * state["direction"]
        return moved if self.bounds is None else tf.clip_by_value(moved, *self.bounds)

    def update(
        self, image: tf.Tensor, state: State, point: tf.Tensor, evaluation: Evaluation
    ) -> tuple[tf.Tensor, State]:
        move, change = point - image, evaluation.gradient - state["gradient"]
        expected = _SUFFICIENT_DECREASE * dot(state["gradient"], move)
        accepted = evaluation.loss <= state["loss"] + expected
        accepted &= tf.math.is_finite(dot(evaluation.gradient, evaluation.gradient))
        # Without a history there is nothing to forget, and the halving goes on.
        stuck = ~accepted & (state["backtracks"] >= self.largest_backtracks)
        history = History.of(state)
        stuck &= history.known
        curvature = dot(move, change)
        curved = curvature > _LEAST_CURVATURE * dot(change, change)
        remembered = accepted & curved & tf.math.is_finite(state["loss"])

        history = history.pushed(move, change, curvature, remembered).forgotten(stuck)
        image = tf.where(accepted, point, image)
        gradient = tf.where(accepted, evaluation.gradient, state["gradient"])
        turned = self._direction(image, gradient, history)
        after = {
            "loss": tf.where(accepted, evaluation.loss, state["loss"]),
            "gradient": gradient,
            "direction": tf.where(accepted | stuck, turned, state["direction"]),
            "backtracks": tf.where(accepted | stuck, 0.0, state["backtracks"] + 1),
            **history.to_state(),
        }
        return image, after

    def _direction(self, image: tf.Tensor, gradient: tf.Tensor, history: History) -> tf.Tensor:
        """Returns a descent direction whose root mean square is at most `largest_step`."""
        free = tf.ones_like(image)
        if self.bounds is not None:
            low, high = self.bounds
            stopped = ((image <= low) & (gradient > 0)) | ((image >= high) & (gradient < 0))
            free = tf.where(stopped, 0.0, free)
        downhill = -free * gradient
        newton = free * history.inverse_hessian_product(downhill)
        steepest = downhill * tf.math.divide_no_nan(self.first_step, _rms(downhill))
        direction = tf.where(dot(newton, downhill) > 0, newton, steepest)
        return direction / tf.maximum(_rms(direction) / self.largest_step, 1)


def _rms(values: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.reduce_mean(tf.square(values)))
