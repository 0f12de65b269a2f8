"""RMSprop."""

from __future__ import annotations

import tensorflow as tf

from nst_tf.optimizers import smoothing
from nst_tf.optimizers.optimizer import Evaluation, Optimizer, State, scheduled_rate


class RMSprop(Optimizer):
    """Gradient descent with each value's step divided by the running size of its gradient.

    ```
    v = decay v + (1 - decay) gradient²
    x = x - rate · gradient / (sqrt(v) + epsilon)
    ```

    This is Tieleman and Hinton (2012), lecture 6.5, as in PyTorch: v begins at 0 and is not
    corrected for it, so that the first steps are up to 10 times as long as the later ones.

    With `bands`, x is each band of a Laplacian pyramid of the picture, as in Kolkin, Salavon and
    Shakhnarovich (2019), "Style Transfer by Relaxed Optimal Transport and Self-Similarity"; see
    `Adam`.

    Args:
        learning_rate: rate of the first step of each level, in pixel values.
        decay: decay of the mean square of the gradient.
        epsilon: number added to its root.
        final_rate: last rate of a level relative to its first; see `scheduled_rate`.
        rate_decay: factor of the rate from step to step.
        bands: number of bands of the pyramid, a last one of what remains apart; 0 moves pixels.
        bounds: lowest and highest pixel value, or None.
    """

    def __init__(
        self,
        learning_rate: float = 0.002,
        *,
        decay: float = 0.99,
        epsilon: float = 1e-8,
        final_rate: float = 1.0,
        rate_decay: float = 1.0,
        bands: int = 0,
        bounds: tuple[float, float] | None = (0.0, 1.0),
    ) -> None:
        self.learning_rate = learning_rate
        self.decay = decay
        self.epsilon = epsilon
        self.final_rate = final_rate
        self.rate_decay = rate_decay
        self.bands = bands
        self.bounds = bounds
        self.whole = bands > 0

    def init(self, image: tf.Tensor, steps: int) -> State:
        return {
            **smoothing.by_band("mean_square", smoothing.no_bands(image, self.bands)),
            "step": tf.constant(0.0),
            "steps": tf.constant(float(steps)),
            "backoff": tf.constant(1.0),
        }

    def update(
        self, image: tf.Tensor, state: State, evaluation: Evaluation
    ) -> tuple[tf.Tensor, State]:
        squares, directions = [], []
        for band, gradient in enumerate(smoothing.band_gradients(evaluation.gradient, self.bands)):
            square = self.decay * state[f"mean_square/{band}"]
            square += (1 - self.decay) * tf.square(gradient)
            squares.append(square)
            directions.append(gradient / (tf.sqrt(square) + self.epsilon))
        schedule = scheduled_rate(state["step"], state["steps"], self.final_rate, self.rate_decay)
        rate = self.learning_rate * schedule * state["backoff"]
        moved = image - rate * smoothing.sum_of_bands(directions)
        if self.bounds is not None:
            moved = tf.clip_by_value(moved, *self.bounds)
        after = {
            **smoothing.by_band("mean_square", squares),
            "step": state["step"] + 1,
            "steps": state["steps"],
            "backoff": state["backoff"],
        }
        return moved, after
