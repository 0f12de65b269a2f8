"""Gradient descent that finds its own rate."""

from __future__ import annotations

import tensorflow as tf

from nst_tf.optimizers.optimizer import UNKNOWN, Evaluation, State
from nst_tf.optimizers.summed import SummedOptimizer, Sums

_FASTER, _SLOWER = 1.2, 0.5


class SteepestDescent(SummedOptimizer):
    """Gradient descent whose rate grows while the loss falls and is halved where it rises.

    ```
    y = x - rate · gradient(x)
    x, rate = y, 1.2 rate   if loss(y) <= loss(x)
    x, rate = x, 0.5 rate   otherwise
    ```

    The largest rate that does not diverge depends on the loss, the pictures and their size. This
    rule, the "bold driver" of Battiti (1989), stays close to it. Each step is one evaluation. The
    first step evaluates the start and does not move.

    Args:
        first_step: root mean square change of the first move.
        bounds: lowest and highest pixel value, or None.
    """

    has_line_search = True

    def __init__(
        self, first_step: float = 0.01, *, bounds: tuple[float, float] | None = (0.0, 1.0)
    ) -> None:
        self.first_step = first_step
        self.bounds = bounds

    def init(self, image: tf.Tensor, steps: int) -> State:
        del steps
        return {
            "loss": tf.constant(UNKNOWN),
            "gradient": tf.zeros_like(image),
            "rate": tf.constant(0.0),
        }

    def point(self, image: tf.Tensor, state: State) -> tf.Tensor:
        moved = image - state["rate"] * state["gradient"]
        return moved if self.bounds is None else tf.clip_by_value(moved, *self.bounds)

    def sums(self, image: tf.Tensor, state: State, evaluation: Evaluation) -> Sums:
        del state
        return {
            "squares": tf.reduce_sum(tf.square(evaluation.gradient)),
            "values": tf.cast(tf.size(image), tf.float32),
        }

    def update_with_sums(
        self, image: tf.Tensor, state: State, evaluation: Evaluation, sums: Sums
    ) -> tuple[tf.Tensor, State]:
        accepted = evaluation.loss <= state["loss"]
        rate = state["rate"] * tf.where(accepted, _FASTER, _SLOWER)
        size = tf.where(accepted, tf.sqrt(sums["squares"] / sums["values"]), 0.0)
        after = {
            "loss": tf.where(accepted, evaluation.loss, state["loss"]),
            "gradient": tf.where(accepted, evaluation.gradient, state["gradient"]),
            "rate": tf.where(state["rate"] > 0, rate, tf.math.divide_no_nan(self.first_step, size)),
        }
        return tf.where(accepted, self.point(image, state), image), after
