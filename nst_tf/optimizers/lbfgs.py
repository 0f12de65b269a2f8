"""L-BFGS within bounds."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from nst_tf.optimizers.curvature import CurvaturePairs, Differences, dot
from nst_tf.optimizers.optimizer import UNKNOWN, Evaluation, State
from nst_tf.optimizers.summed import SummedOptimizer, Sums

_SUFFICIENT_DECREASE = 1e-4  # c1 of the Armijo condition, Nocedal and Wright, equation 3.4.
_LEAST_CURVATURE = 1e-10  # Of a remembered pair: s·y relative to y·y.
_OCTAVES_LATER = 2  # Most octaves of finer levels: longer waves are settled.
_STEPS_A_PAIR = 3  # More pairs for the steps of a level do not lower its last loss.


class LBFGS(SummedOptimizer):
    """Limited-memory BFGS, projected to bounds, with a backtracking line search.

    Each step is one evaluation: of the full move along the current direction, or, after a
    move that did not lower the loss enough, of half that move. The first step evaluates the
    start and does not move.

    The direction comes from the two-loop recursion, algorithm 7.4 of Nocedal and Wright,
    "Numerical Optimization" (2006), with the initial scaling of equation 7.20. Values on a bound
    that would move outwards are left out of it (Bertsekas, 1982). A pair of differences is
    remembered only if its curvature is positive.

    With `octaves`, the initial inverse Hessian takes long waves for flatter than short ones: it is
    `smoothing.smoothed`. The same number of steps ends at about the same loss, in a picture with
    less grain and more of the colours of the style.

    Args:
        history: most pairs of past differences to remember. A level of few steps remembers a
            third as many pairs as it has steps.
        octaves: number of times that the length of a wave doubles, from two pixels on, before all
            longer waves count alike; at most 2 on finer levels. 0 takes all waves for equally
            flat.
        first_step: root mean square change of a move when no curvature is known.
        largest_step: largest root mean square change of any move.
        largest_backtracks: number of halvings after which the history is forgotten.
        scale: factor of the loss. It matters only for rounding.
        bounds: lowest and highest pixel value, or None.
    """

    has_line_search = True

    def __init__(
        self,
        history: int = 10,
        *,
        octaves: int = 0,
        first_step: float = 0.01,
        largest_step: float = 0.1,
        largest_backtracks: int = 5,
        scale: float = 1.0,
        bounds: tuple[float, float] | None = (0.0, 1.0),
    ) -> None:
        self.history = history
        self.octaves = octaves
        self.first_step = first_step
        self.largest_step = largest_step
        self.largest_backtracks = largest_backtracks
        self.scale = scale
        self.bounds = bounds

    def init(self, image: tf.Tensor, steps: int) -> State:
        pairs = max(1, min(self.history, steps // _STEPS_A_PAIR))
        return {
            "loss": tf.constant(UNKNOWN),
            "gradient": tf.zeros_like(image),
            "direction": tf.zeros_like(image),
            "backtracks": tf.constant(0.0),
            **self._smoothing_state(tf.zeros_like(image), tf.constant(float(self.octaves))),
            **CurvaturePairs.empty(image, pairs).to_state(),
        }

    def carried_state(self, state: State, image: tf.Tensor, steps: int) -> State:
        octaves = tf.constant(float(min(self.octaves, _OCTAVES_LATER)))
        smoothing = self._smoothing_state(tf.zeros_like(image), octaves)
        return {**self.init(image, steps), **smoothing}

    def _smoothing_state(self, smoothed: tf.Tensor, octaves: tf.Tensor) -> State:
        """Returns the entries of the state that only smoothed gradients need."""
        return {"smoothed": smoothed, "octaves": octaves} if self.octaves else {}

    def smoothing(self, state: State) -> Sequence[tf.Tensor]:
        return [tf.cast(state["octaves"] > each, tf.float32) for each in range(self.octaves)]

    def point(self, image: tf.Tensor, state: State) -> tf.Tensor:
        moved = image + tf.pow(0.5, state["backtracks"]) * state["direction"]
        return moved if self.bounds is None else tf.clip_by_value(moved, *self.bounds)

    def sums(self, image: tf.Tensor, state: State, evaluation: Evaluation) -> Sums:
        evaluation = self._scaled(evaluation)
        news = self._news(image, state, self.point(image, state), evaluation)
        stayed = self.projected(image, state["gradient"])
        smoothed = state.get("smoothed", stayed)
        return {
            "products": CurvaturePairs.of(state).measured(news),
            "expected": dot(state["gradient"], news.move),
            "gradient": dot(evaluation.gradient, evaluation.gradient),
            "stayed": tf.stack([dot(smoothed, smoothed), dot(smoothed, stayed)]),
            "values": tf.cast(tf.size(image), tf.float32),
        }

    def update_with_sums(
        self, image: tf.Tensor, state: State, evaluation: Evaluation, sums: Sums
    ) -> tuple[tf.Tensor, State]:
        evaluation, point = self._scaled(evaluation), self.point(image, state)
        accepted = evaluation.loss <= state["loss"] + _SUFFICIENT_DECREASE * sums["expected"]
        accepted &= tf.math.is_finite(sums["gradient"])
        # Without a history there is nothing to forget, and the halving goes on.
        stuck = ~accepted & (state["backtracks"] >= self.largest_backtracks)
        history = CurvaturePairs.of(state)
        stuck &= history.known
        curvature, squares = tf.unstack(sums["products"][3, -3:-1])
        curved = curvature > _LEAST_CURVATURE * squares
        remembered = accepted & curved & (state["loss"] < UNKNOWN)

        news = self._news(image, state, point, evaluation)
        history, own = history.pushed(news, sums["products"], remembered)
        history = history.forgotten(stuck)
        own = tf.where(accepted, own, sums["stayed"][:, tf.newaxis] * _last_of(own[0]))
        image = tf.where(accepted, point, image)
        gradient = tf.where(accepted, evaluation.gradient, state["gradient"])
        smoothed = self.projected(image, gradient)
        if self.octaves:
            smoothed = tf.where(accepted, evaluation.smoothed, state["smoothed"])
        factors = self._factors(history, own, sums)
        turned = self._free(image, gradient) * history.combined(factors, -smoothed)
        after = {
            "loss": tf.where(accepted, evaluation.loss, state["loss"]),
            "gradient": gradient,
            "direction": tf.where(accepted | stuck, turned, state["direction"]),
            "backtracks": tf.where(accepted | stuck, 0.0, state["backtracks"] + 1),
            **self._smoothing_state(smoothed, state.get("octaves")),
            **history.to_state(),
        }
        return image, after

    def _scaled(self, evaluation: Evaluation) -> Evaluation:
        if self.scale == 1:
            return evaluation
        loss, gradient = self.scale * evaluation.loss, self.scale * evaluation.gradient
        smoothed = self.scale * evaluation.smoothed if self.octaves else ()
        return evaluation._replace(loss=loss, gradient=gradient, smoothed=smoothed)

    def _news(
        self, image: tf.Tensor, state: State, point: tf.Tensor, evaluation: Evaluation
    ) -> Differences:
        """Returns the differences that an evaluation adds to the history, and the way downhill."""
        before = self.projected(image, state["gradient"])
        now = self.projected(point, evaluation.gradient)
        smoothed = evaluation.smoothed if self.octaves else now
        smoothed_change = smoothed - state.get("smoothed", before)
        return Differences(point - image, smoothed_change, -smoothed, now - before, -now)

    def _free(self, image: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        """Returns 0 for values on a bound that the gradient holds there, and 1 elsewhere."""
        if self.bounds is None:
            return tf.ones_like(image)
        low, high = self.bounds
        stopped = ((image <= low) & (gradient > 0)) | ((image >= high) & (gradient < 0))
        return tf.where(stopped, 0.0, tf.ones_like(image))

    def projected(self, point: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        return self._free(point, gradient) * gradient

    def _factors(self, history: CurvaturePairs, own: tf.Tensor, sums: Sums) -> tf.Tensor:
        """Returns the factors of a downhill direction, for `CurvaturePairs.combined`.

        `own` holds the dot products of the negative gradient, smoothed and unsmoothed. The root
        mean square of the direction is at most `largest_step`. It includes values on a bound,
        which are left out later, and so is an upper limit.
        """
        gram, values = history.gram(own), tf.cast(sums["values"], tf.float64)
        newton = history.inverse_hessian_factors(own)
        steepest = tf.math.divide_no_nan(self.first_step, tf.sqrt(gram[-1, -1] / values))
        leads_down = tf.tensordot(newton, tf.cast(own[1], tf.float64), 1) > 0
        factors = tf.where(leads_down, newton, steepest * _last_of(newton))
        squares = tf.tensordot(factors, tf.linalg.matvec(gram, factors), 1)
        size = tf.sqrt(tf.maximum(squares, 0) / values)
        return factors / tf.maximum(size / self.largest_step, 1)


def _last_of(vector: tf.Tensor) -> tf.Tensor:
    """Returns the unit vector of the same length with its 1 in the last place."""
    return tf.one_hot(vector.shape[0] - 1, vector.shape[0], dtype=vector.dtype)
