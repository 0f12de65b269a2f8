"""What L-BFGS remembers of past steps, and the Hessian that it makes of that."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from nst_tf.optimizers.optimizer import State


@dataclasses.dataclass(frozen=True)
class History:
    """Pairs of past differences, each a tensor of its own.

    A history is the bulk of what L-BFGS keeps. With tensors of their own the pairs move up one
    place without a copy, where a stacked tensor would be written anew at every step.

    Attributes:
        moves: differences of the variable, the newest last.
        changes: differences of the gradient, likewise.
        curvatures: product of each move and its change, `(len(moves),)`. A pair whose curvature
            is 0 has no effect: it is not there, or forgotten.
    """

    moves: Sequence[tf.Tensor]
    changes: Sequence[tf.Tensor]
    curvatures: tf.Tensor

    @classmethod
    def empty(cls, image: tf.Tensor, count: int) -> History:
        """Returns a history without pairs, and with room for `count`."""
        nothing = [tf.zeros_like(image)] * count
        return cls(nothing, nothing, tf.zeros(count))

    @classmethod
    def of(cls, state: State) -> History:
        """Returns what `to_state` put into a state."""
        places = range(state["curvatures"].shape[0])
        moves, changes = ([state[f"{name}/{i}"] for i in places] for name in ("moves", "changes"))
        return cls(moves, changes, state["curvatures"])

    def to_state(self) -> State:
        """Returns the tensors by name: `moves/0`, ..., `changes/0`, ..., and `curvatures`."""
        return {
            **{f"moves/{i}": move for i, move in enumerate(self.moves)},
            **{f"changes/{i}": change for i, change in enumerate(self.changes)},
            "curvatures": self.curvatures,
        }

    @property
    def known(self) -> tf.Tensor:
        """Whether there is any pair."""
        return self.curvatures[-1] > 0

    def pushed(
        self, move: tf.Tensor, change: tf.Tensor, curvature: tf.Tensor, remembered: tf.Tensor
    ) -> History:
        """Returns the history with its oldest pair gone and a new one last, if `remembered`."""
        moves, changes, curvatures = tf.cond(
            remembered,
            lambda: (
                [*self.moves[1:], move],
                [*self.changes[1:], change],
                tf.concat([self.curvatures[1:], curvature[tf.newaxis]], 0),
            ),
            lambda: (list(self.moves), list(self.changes), self.curvatures),
        )
        return History(moves, changes, curvatures)

    def forgotten(self, stuck: tf.Tensor) -> History:
        """Returns the history without its pairs, if `stuck`."""
        return dataclasses.replace(self, curvatures=tf.where(stuck, 0.0, self.curvatures))

    def inverse_hessian_product(self, vector: tf.Tensor) -> tf.Tensor:
        """Returns the estimated inverse Hessian times `vector`: the two-loop recursion.

        It is algorithm 7.4 of Nocedal and Wright, "Numerical Optimization" (2006), with the
        initial scaling of equation 7.20.

        Args:
            vector: like the moves.

        Returns:
            A tensor like `vector`; zero where there is no history.
        """
        count = len(self.moves)
        projections = [tf.constant(0.0)] * count
        for i in reversed(range(count)):
            projections[i] = tf.math.divide_no_nan(dot(self.moves[i], vector), self.curvatures[i])
            vector -= projections[i] * self.changes[i]
        newest = self.changes[-1]
        vector *= tf.math.divide_no_nan(self.curvatures[-1], dot(newest, newest))
        for i in range(count):
            correction = tf.math.divide_no_nan(dot(self.changes[i], vector), self.curvatures[i])
            vector += (projections[i] - correction) * self.moves[i]
        return vector


def dot(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Returns the sum of the products of two tensors' values."""
    return tf.reduce_sum(left * right)
