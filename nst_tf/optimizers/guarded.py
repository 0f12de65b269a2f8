"""An optimiser with rollback when the loss explodes."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from nst_tf.optimizers.optimizer import UNKNOWN, Evaluation, Optimizer, State
from nst_tf.optimizers.summed import SummedOptimizer, Sums, summed

_EXPLOSION = 100.0  # Times the first loss of a level.
# Good pictures are stored as integers: with half precision oneDNN prints an error on some CPUs.
_STEPS = 65535 / 3  # Steps per unit, in 16 bits.


class Guarded(SummedOptimizer):
    """Rolls back to the last good picture when the loss becomes NaN or grows a hundredfold.

    ```
    good = x                  if loss(x) is finite and at most 100 times the level's first
    x, rate = good, rate / 2  otherwise; moments and history are forgotten
    ```

    A loss of 0 at the beginning of a level can only rise, and sets no limit. An optimiser with a
    line search is not rolled back; its bad steps are only counted.

    The state has these further entries: `first_loss`, the first loss of the level, or `UNKNOWN`
    until there is one; `failures`, the number of bad steps in a row; `rollbacks`, the number of
    all bad steps; and, unless the optimiser has a line search, `good`, the picture of the
    rollback, in 16 bits a value for the range from -1 to 2.

    Args:
        optimizer: the optimiser to guard.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self._inner = summed(optimizer)
        self.has_line_search, self.whole = self._inner.has_line_search, self._inner.whole

    def init(self, image: tf.Tensor, steps: int) -> State:
        return self._watched(self._inner.init(image, steps), image)

    def carried_state(self, state: State, image: tf.Tensor, steps: int) -> State:
        carried = self._inner.carried_state(state, image, steps)
        kept = {name: state[name] for name in ("backoff", "rollbacks") if name in state}
        return {**self._watched(carried, image), **kept}

    def _watched(self, state: State, image: tf.Tensor) -> State:
        mine = {
            "first_loss": tf.constant(UNKNOWN),
            "failures": tf.constant(0.0),
            "rollbacks": tf.constant(0.0),
        }
        good = {} if self.has_line_search else {"good": _packed(image)}
        return {**state, **mine, **good}

    def point(self, image: tf.Tensor, state: State) -> tf.Tensor:
        return self._inner.point(image, state)

    def smoothing(self, state: State) -> Sequence[tf.Tensor]:
        return self._inner.smoothing(state)

    def projected(self, point: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        return self._inner.projected(point, gradient)

    def sums(self, image: tf.Tensor, state: State, evaluation: Evaluation) -> Sums:
        return self._inner.sums(image, state, evaluation)

    def update_with_sums(
        self, image: tf.Tensor, state: State, evaluation: Evaluation, sums: Sums
    ) -> tuple[tf.Tensor, State]:
        loss, first = evaluation.loss, state["first_loss"]
        sound = tf.math.is_finite(loss)
        first = tf.where(sound & (first >= UNKNOWN), loss, first)
        if not self.has_line_search:
            sound &= (first <= 0) | (loss <= _EXPLOSION * first)
        bad = tf.cast(~sound, tf.float32)
        mine = {
            "first_loss": first,
            "failures": bad * (state["failures"] + 1),
            "rollbacks": state["rollbacks"] + bad,
        }

        def go_on() -> tuple[tf.Tensor, State]:
            moved, after = self._inner.update_with_sums(image, state, evaluation, sums)
            good = {} if self.has_line_search else {"good": _packed(image)}
            return moved, {**after, **mine, **good}

        def go_back() -> tuple[tf.Tensor, State]:
            good = _unpacked(state["good"], image.dtype)
            after = self._watched(self._inner.restarted_state(state, good), good)
            return good, {**after, **mine}

        return go_on() if self.has_line_search else tf.cond(sound, go_on, go_back)

    def result(self, image: tf.Tensor, state: State) -> tf.Tensor:
        return self._inner.result(image, state)


def _packed(image: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.round((tf.clip_by_value(image, -1, 2) + 1) * _STEPS), tf.uint16)


def _unpacked(packed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return tf.cast(packed, dtype) / _STEPS - 1
