"""L-BFGS without a line search."""

from __future__ import annotations

import tensorflow as tf

from nst_tf.optimizers.curvature import CurvaturePairs, Differences
from nst_tf.optimizers.optimizer import Evaluation, State
from nst_tf.optimizers.summed import SummedOptimizer, Sums

_LEAST_CURVATURE = 1e-10  # As in PyTorch, for a pair in units of `pixel_range`.


class FixedStepLBFGS(SummedOptimizer):
    """L-BFGS that takes every step at full length, as `torch.optim.LBFGS` does by default.

    ```
    first:       x = x - min(1, 1 / sum(|gradient|)) · rate · gradient
    afterwards:  x = x - rate · H gradient
    ```

    H is the two-loop recursion, algorithm 7.4 of Nocedal and Wright, "Numerical Optimization"
    (2006). Without a line search the loss may rise: for a stylisation of your own, `LBFGS` is
    the better choice.

    Args:
        history: pairs of past differences to remember.
        learning_rate: length of a step relative to a full step.
        pixel_range: range of the pixel values that are the unit of the first step, such as 255.
        bounds: lowest and highest pixel value, to which every step is clipped, or None.
    """

    def __init__(
        self,
        history: int = 100,
        *,
        learning_rate: float = 1.0,
        pixel_range: float = 1.0,
        bounds: tuple[float, float] | None = (0.0, 1.0),
    ) -> None:
        self.history = history
        self.learning_rate = learning_rate
        self.pixel_range = pixel_range
        self.bounds = bounds

    def init(self, image: tf.Tensor, steps: int) -> State:
        pairs = max(1, min(self.history, steps - 1))  # As many as the last step can use.
        return {
            "gradient": tf.zeros_like(image),
            "move": tf.zeros_like(image),
            **CurvaturePairs.empty(image, pairs).to_state(),
            "step": tf.constant(0.0),
            "backoff": tf.constant(1.0),
        }

    def sums(self, image: tf.Tensor, state: State, evaluation: Evaluation) -> Sums:
        del image
        gradient = evaluation.gradient
        return {
            "products": CurvaturePairs.of(state).measured(_differences(state, gradient)),
            "magnitude": tf.reduce_sum(tf.abs(gradient)),
        }

    def update_with_sums(
        self, image: tf.Tensor, state: State, evaluation: Evaluation, sums: Sums
    ) -> tuple[tf.Tensor, State]:
        gradient = evaluation.gradient
        curvature = sums["products"][0, -2]
        remembered = (state["step"] >= 1) & (curvature > _LEAST_CURVATURE)
        news = _differences(state, gradient)
        history, own = CurvaturePairs.of(state).pushed(news, sums["products"], remembered)
        newton = history.inverse_hessian_factors(own)
        direction = history.combined(newton, -gradient)
        first = -self._first_scale(sums["magnitude"]) * gradient
        direction = tf.where(history.known, direction, first)
        moved = image + self.learning_rate * state["backoff"] * direction
        if self.bounds is not None:
            moved = tf.clip_by_value(moved, *self.bounds)
        after = {
            "gradient": gradient,
            "move": moved - image,
            **history.to_state(),
            "step": state["step"] + 1,
            "backoff": state["backoff"],
        }
        return moved, after

    def restarted_state(self, state: State, image: tf.Tensor) -> State:
        return {
            **super().restarted_state(state, image),
            **CurvaturePairs.empty(image, CurvaturePairs.of(state).count).to_state(),
            "step": tf.constant(0.0),
        }

    def _first_scale(self, magnitude: tf.Tensor) -> tf.Tensor:
        """Returns min(1, 1 / sum(|gradient|)), with gradient and move in units of `pixel_range`."""
        scale = tf.math.divide_no_nan(1.0, magnitude / self.pixel_range)
        return tf.minimum(1.0, scale) / self.pixel_range**2


def _differences(state: State, gradient: tf.Tensor) -> Differences:
    """Returns the differences that a step adds to the history, without smoothing."""
    change = gradient - state["gradient"]
    return Differences(state["move"], change, -gradient, change, -gradient)
