"""Adam, adapted to pictures without grain."""

from __future__ import annotations

import tensorflow as tf

from nst_tf.optimizers import smoothing
from nst_tf.optimizers.optimizer import Evaluation, Optimizer, State, scheduled_rate


class Adam(Optimizer):
    """Adam with a falling rate, averaged iterates, and moments carried from level to level.

    ```
    m = beta_1 m + (1 - beta_1) gradient
    v = beta_2 v + (1 - beta_2) gradient²
    r = sqrt(1 - beta_2^t)
    x = x - rate · r / (1 - beta_1^t) · m / (sqrt(v) + r epsilon + epsilon_hat)
    ```

    This is Kingma and Ba (2015): with `epsilon` their algorithm 1, as in PyTorch, and with
    `epsilon_hat` the variant at the end of their section 2, as in TensorFlow and Keras. The
    result is an exponential average of the iterates, bias-corrected in the same way (Polyak and
    Juditsky, 1992). The average removes the noise of the last steps.

    With `bands`, x is each band of a Laplacian pyramid of the picture, as in Kolkin et al. (2022),
    "Neural Neighbor Style Transfer". The picture is the sum of the bands, each enlarged to its
    size (`smoothing.sum_of_bands`), so that large areas move as readily as single pixels. Bands
    move without regard to each other, so the picture moves by the sum of their enlarged moves, and
    the bands themselves need not be kept. Each level then begins with new moments.

    Args:
        learning_rate: rate of the first step of each level, in pixel values.
        beta_1: decay of the first moment.
        beta_2: decay of the second moment.
        epsilon: number added to the bias-corrected root of the second moment.
        epsilon_hat: number added to the uncorrected root of the second moment.
        final_rate: last rate of a level relative to its first; see `scheduled_rate`.
        rate_decay: factor of the rate from step to step.
        average: decay of the average of iterates; 0 shows the last iterate.
        bands: number of bands of the pyramid, a last one of what remains apart; 0 moves pixels.
        bounds: lowest and highest pixel value, or None.
    """

    def __init__(
        self,
        learning_rate: float = 0.02,
        *,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        epsilon: float = 1e-14,
        epsilon_hat: float = 0.0,
        final_rate: float = 0.1,
        rate_decay: float = 1.0,
        average: float = 0.9,
        bands: int = 0,
        bounds: tuple[float, float] | None = (0.0, 1.0),
    ) -> None:
        self.learning_rate = learning_rate
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.epsilon_hat = epsilon_hat
        self.final_rate = final_rate
        self.rate_decay = rate_decay
        self.average = average
        self.bands = bands
        self.bounds = bounds
        self.whole = bands > 0

    def init(self, image: tf.Tensor, steps: int) -> State:
        zeros = smoothing.no_bands(image, self.bands)
        return {
            **smoothing.by_band("first_moment", zeros),
            **smoothing.by_band("second_moment", zeros),
            "moment_steps": tf.constant(0.0),
            "average": (1 - self.average) * image,
            "step": tf.constant(0.0),
            "steps": tf.constant(float(steps)),
            "backoff": tf.constant(1.0),
        }

    def carried_state(self, state: State, image: tf.Tensor, steps: int) -> State:
        if self.bands:
            return self.init(image, steps)
        size = image.shape[1:3]
        return {
            **self.init(image, steps),
            "first_moment/0": tf.image.resize(state["first_moment/0"], size, "bicubic"),
            "second_moment/0": tf.image.resize(state["second_moment/0"], size, "bilinear"),
            "moment_steps": tf.identity(state["moment_steps"]),
        }

    def update(
        self, image: tf.Tensor, state: State, evaluation: Evaluation
    ) -> tuple[tf.Tensor, State]:
        moment_steps = state["moment_steps"] + 1
        root = tf.sqrt(1 - tf.pow(self.beta_2, moment_steps))
        scale = root / (1 - tf.pow(self.beta_1, moment_steps))
        firsts, seconds, directions = [], [], []
        for band, gradient in enumerate(smoothing.band_gradients(evaluation.gradient, self.bands)):
            first = self.beta_1 * state[f"first_moment/{band}"] + (1 - self.beta_1) * gradient
            second = self.beta_2 * state[f"second_moment/{band}"]
            second += (1 - self.beta_2) * tf.square(gradient)
            divisor = tf.sqrt(second) + root * self.epsilon + self.epsilon_hat
            firsts.append(first)
            seconds.append(second)
            directions.append(scale * first / divisor)
        moved = image - self._rate(state) * smoothing.sum_of_bands(directions)
        if self.bounds is not None:
            moved = tf.clip_by_value(moved, *self.bounds)
        after = {
            **smoothing.by_band("first_moment", firsts),
            **smoothing.by_band("second_moment", seconds),
            "moment_steps": moment_steps,
            "average": self.average * state["average"] + (1 - self.average) * moved,
            "step": state["step"] + 1,
            "steps": state["steps"],
            "backoff": state["backoff"],
        }
        return moved, after

    def _rate(self, state: State) -> tf.Tensor:
        schedule = scheduled_rate(state["step"], state["steps"], self.final_rate, self.rate_decay)
        return self.learning_rate * schedule * state["backoff"]

    def restarted_state(self, state: State, image: tf.Tensor) -> State:
        weight = 1 - tf.pow(self.average, state["step"] + 1)
        return {**super().restarted_state(state, image), "average": weight * image}

    def result(self, image: tf.Tensor, state: State) -> tf.Tensor:
        weight = 1 - tf.pow(self.average, state["step"] + 1)
        return tf.where(state["step"] > 0, state["average"] / weight, image)
