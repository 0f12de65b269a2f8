"""Adam, with what a picture needs to come out without grain."""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from nst_tf import config as configs
from nst_tf.optimizers.optimizer import Evaluation, Optimizer, State


class Adam(Optimizer):
    """Adam with a decaying rate, averaged iterates and moments that outlive a level.

    ```
    g = gradient · values in the picture
    m = beta_1 m + (1 - beta_1) g
    v = beta_2 v + (1 - beta_2) g²
    x = clip(x - rate · m̂ / (sqrt(v̂) + epsilon))
    ```

    This is algorithm 1 of Kingma and Ba (2015), with bias-corrected m̂ and v̂. The gradient is
    scaled by the number of values, so that `epsilon` means the same at every resolution. The
    rate falls from `learning_rate` to `final_rate` times that along half a cosine over each
    level. The picture shown is an exponential average of the iterates, bias-corrected in the
    same way (Polyak and Juditsky, 1992), which takes the noise of the last steps out.

    Args:
        learning_rate: of the first step of each level, in pixel values.
        beta_1: decay of the first moment.
        beta_2: decay of the second moment.
        epsilon: added to the root of the second moment.
        final_rate: last rate of a level relative to its first.
        average: decay of the average of iterates; 0 shows the last iterate.
    """

    def __init__(
        self,
        learning_rate: float = 0.02,
        *,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        epsilon: float = 1e-8,
        final_rate: float = 0.1,
        average: float = 0.9,
    ) -> None:
        self.learning_rate = learning_rate
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.final_rate = final_rate
        self.average = average

    def initial_state(self, image: tf.Tensor, steps: int) -> State:
        zeros = tf.zeros_like(image)
        return {
            "first_moment": zeros,
            "second_moment": zeros,
            "moment_steps": tf.constant(0.0),
            "average": zeros,
            "step": tf.constant(0.0),
            "steps": tf.constant(float(steps)),
        }

    def carried_state(self, state: State, image: tf.Tensor, steps: int) -> State:
        size = image.shape[1:3]
        return {
            **self.initial_state(image, steps),
            "first_moment": tf.image.resize(state["first_moment"], size, "bilinear"),
            "second_moment": tf.image.resize(state["second_moment"], size, "bilinear"),
            "moment_steps": tf.identity(state["moment_steps"]),
        }

    def step(
        self, image: tf.Tensor, state: State, evaluate: Callable[[tf.Tensor], Evaluation]
    ) -> tuple[tf.Tensor, State, Evaluation]:
        evaluation = evaluate(image)
        gradient = evaluation.gradient * tf.size(image, tf.float32)
        first = self.beta_1 * state["first_moment"] + (1 - self.beta_1) * gradient
        second = self.beta_2 * state["second_moment"] + (1 - self.beta_2) * tf.square(gradient)
        moment_steps = state["moment_steps"] + 1
        first_unbiased = first / (1 - tf.pow(self.beta_1, moment_steps))
        second_unbiased = second / (1 - tf.pow(self.beta_2, moment_steps))
        direction = first_unbiased / (tf.sqrt(second_unbiased) + self.epsilon)
        moved = tf.clip_by_value(image - self._rate(state) * direction, 0.0, 1.0)
        after = {
            "first_moment": first,
            "second_moment": second,
            "moment_steps": moment_steps,
            "average": self.average * state["average"] + (1 - self.average) * moved,
            "step": state["step"] + 1,
            "steps": state["steps"],
        }
        return moved, after, evaluation

    def _rate(self, state: State) -> tf.Tensor:
        progress = state["step"] / tf.maximum(state["steps"] - 1, 1)
        fall = 0.5 * (1 + tf.cos(math.pi * progress))
        return self.learning_rate * (self.final_rate + (1 - self.final_rate) * fall)

    def result(self, image: tf.Tensor, state: State) -> tf.Tensor:
        weight = 1 - tf.pow(self.average, state["step"])
        return tf.where(state["step"] > 0, state["average"] / tf.maximum(weight, 1e-12), image)

    @classmethod
    def from_config(cls, config: configs.StyleTransferConfig) -> Adam:
        return cls(config.learning_rate) if config.learning_rate else cls()
