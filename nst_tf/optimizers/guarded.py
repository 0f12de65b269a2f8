"""An optimiser that goes back where the loss explodes."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from nst_tf import config as configs
from nst_tf.optimizers.optimizer import UNKNOWN, Evaluation, Optimizer, State, Sums

_EXPLOSION = 100.0  # Times the first loss of a level.
# Half precision would have oneDNN print an error on some processors.
_STEPS = 65535 / 3  # Of one, in 16 bits.


class Guarded(Optimizer):
    """Goes back to the last good picture where the loss explodes or is no number.

    ```
    good = x                  where loss(x) is finite and at most 100 times the level's first
    x, rate = good, rate / 2  elsewhere; moments and history are forgotten
    ```

    A loss of 0 at the beginning of a level can only rise, and sets no limit. An optimiser that
    turns back by itself is only watched.

    The state has these entries more: `first_loss`, that of the level, `UNKNOWN` before there is
    one; `failures`, how many of the last steps in a row were bad; `returns`, how many were in all;
    and, unless the optimiser turns back by itself, `good`, the picture to go back to, in 16 bits a
    value, which hold what is between -1 and 2.

    Args:
        optimizer: to guard.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.turns_back = optimizer.turns_back
        self.point_state = optimizer.point_state
        self.result_state = optimizer.result_state

    @classmethod
    def from_config(cls, config: configs.StyleTransferConfig) -> Guarded:
        from nst_tf import optimizers

        return cls(optimizers.get(config.optimizer, config))

    def initial_state(self, image: tf.Tensor, steps: int) -> State:
        return self._watched(self.optimizer.initial_state(image, steps), image)

    def carried_state(self, state: State, image: tf.Tensor, steps: int) -> State:
        carried = self.optimizer.carried_state(state, image, steps)
        kept: State = {name: state[name] for name in ("backoff", "returns") if name in state}
        return {**self._watched(carried, image), **kept}

    def _watched(self, state: State, image: tf.Tensor) -> State:
        mine = {
            "first_loss": tf.constant(UNKNOWN),
            "failures": tf.constant(0.0),
            "returns": tf.constant(0.0),
        }
        good = {} if self.turns_back else {"good": _packed(image)}
        return {**state, **mine, **good}

    def point(self, image: tf.Tensor, state: State) -> tf.Tensor:
        return self.optimizer.point(image, state)

    def smoothing(self, state: State) -> Sequence[tf.Tensor]:
        return self.optimizer.smoothing(state)

    def projected(self, point: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        return self.optimizer.projected(point, gradient)

    def sums(
        self, image: tf.Tensor, state: State, point: tf.Tensor, evaluation: Evaluation
    ) -> Sums:
        return self.optimizer.sums(image, state, point, evaluation)

    def update(
        self, image: tf.Tensor, state: State, point: tf.Tensor, evaluation: Evaluation, sums: Sums
    ) -> tuple[tf.Tensor, State]:
        loss, first = evaluation.loss, state["first_loss"]
        sound = tf.math.is_finite(loss)
        first = tf.where(sound & (first >= UNKNOWN), loss, first)
        if not self.turns_back:
            sound &= (first <= 0) | (loss <= _EXPLOSION * first)
        bad = tf.cast(~sound, tf.float32)
        mine = {
            "first_loss": first,
            "failures": bad * (state["failures"] + 1),
            "returns": state["returns"] + bad,
        }

        def go_on() -> tuple[tf.Tensor, State]:
            moved, after = self.optimizer.update(image, state, point, evaluation, sums)
            good = {} if self.turns_back else {"good": _packed(image)}
            return moved, {**after, **mine, **good}

        def go_back() -> tuple[tf.Tensor, State]:
            good = _unpacked(state["good"], image.dtype)
            after = self._watched(self.optimizer.restarted_state(state, good), good)
            return good, {**after, **mine}

        return go_on() if self.turns_back else tf.cond(sound, go_on, go_back)

    def result(self, image: tf.Tensor, state: State) -> tf.Tensor:
        return self.optimizer.result(image, state)


def _packed(image: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.round((tf.clip_by_value(image, -1, 2) + 1) * _STEPS), tf.uint16)


def _unpacked(packed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return tf.cast(packed, dtype) / _STEPS - 1
