"""Gradient descent."""

from __future__ import annotations

import tensorflow as tf

from nst_tf.optimizers.optimizer import Evaluation, Optimizer, State, scheduled_rate


class GradientDescent(Optimizer):
    """Plain gradient descent, as in the first description of the method.

    ```
    x = x - rate · gradient
    ```

    A suitable rate depends on the scale of the loss and on the pictures: too low a rate does
    nothing, too high a rate diverges.

    Args:
        learning_rate: rate of the first step of each level.
        final_rate: last rate of a level relative to its first; see `scheduled_rate`.
        rate_decay: factor of the rate from step to step.
        bounds: lowest and highest pixel value, or None.
    """

    def __init__(
        self,
        learning_rate: float = 0.1,
        *,
        final_rate: float = 1.0,
        rate_decay: float = 1.0,
        bounds: tuple[float, float] | None = (0.0, 1.0),
    ) -> None:
        self.learning_rate = learning_rate
        self.final_rate = final_rate
        self.rate_decay = rate_decay
        self.bounds = bounds

    def init(self, image: tf.Tensor, steps: int) -> State:
        del image
        return {
            "step": tf.constant(0.0),
            "steps": tf.constant(float(steps)),
            "backoff": tf.constant(1.0),
        }

    def update(
        self, image: tf.Tensor, state: State, evaluation: Evaluation
    ) -> tuple[tf.Tensor, State]:
        schedule = scheduled_rate(state["step"], state["steps"], self.final_rate, self.rate_decay)
        rate = self.learning_rate * schedule * state["backoff"]
        moved = image - rate * evaluation.gradient
        if self.bounds is not None:
            moved = tf.clip_by_value(moved, *self.bounds)
        return moved, {**state, "step": state["step"] + 1}
