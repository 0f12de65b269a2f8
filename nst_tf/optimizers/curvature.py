"""What L-BFGS remembers of past steps, and the Hessian that it makes of that."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from nst_tf.optimizers.optimizer import State


@dataclasses.dataclass(frozen=True)
class History:
    """Pairs of past differences, each a tensor of its own, and their dot products.

    The inverse Hessian times a vector is a sum of the pairs and the vector, and the factors of
    that sum follow from dot products alone (Chen, Wang and Zhou, "Large-scale L-BFGS using
    MapReduce", 2014). So the pairs, which are the bulk of what L-BFGS keeps, may be gone through
    in parts: once for the products, and once for the sum.

    With tensors of their own the pairs move up one place without a copy, where a stacked tensor
    would be written anew at every step.

    Attributes:
        moves: differences of the variable, the newest last.
        changes: differences of the gradient, likewise.
        products: dot products of moves and changes, moves first, over the whole of them:
            `(2 * count, 2 * count)`. A pair whose move and change have the product 0 has no effect:
            it is not there, or forgotten.
    """

    moves: Sequence[tf.Tensor]
    changes: Sequence[tf.Tensor]
    products: tf.Tensor

    @classmethod
    def empty(cls, image: tf.Tensor, count: int) -> History:
        """Returns a history without pairs, and with room for `count`."""
        nothing = [tf.zeros_like(image)] * count
        return cls(nothing, nothing, tf.zeros((2 * count, 2 * count)))

    @classmethod
    def of(cls, state: State) -> History:
        """Returns what `to_state` put into a state."""
        places = range(state["products"].shape[0] // 2)
        moves, changes = ([state[f"{name}/{i}"] for i in places] for name in ("moves", "changes"))
        return cls(moves, changes, state["products"])

    def to_state(self) -> State:
        """Returns the tensors by name: `moves/0`, ..., `changes/0`, ..., and `products`."""
        return {
            **{f"moves/{i}": move for i, move in enumerate(self.moves)},
            **{f"changes/{i}": change for i, change in enumerate(self.changes)},
            "products": self.products,
        }

    @property
    def count(self) -> int:
        """How many pairs there is room for."""
        return len(self.moves)

    @property
    def known(self) -> tf.Tensor:
        """Whether there is any pair."""
        return self.products[self.count - 1, -1] > 0

    def measured(self, move: tf.Tensor, change: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
        """Returns the dot products of three tensors with all pairs and with each other.

        They add up over the parts of a picture.

        Returns:
            Of shape `(3, 2 * count + 3)`: with the moves, the changes, and the three.
        """
        three = tf.stack([tf.reshape(each, [-1]) for each in (move, change, vector)])
        others = [*self.moves, *self.changes, move, change, vector]
        # One at a time: a stack of all would be a copy of the history.
        columns = [tf.matmul(three, tf.reshape(each, (-1, 1))) for each in others]
        return tf.concat(columns, axis=1)

    def pushed(
        self, move: tf.Tensor, change: tf.Tensor, measured: tf.Tensor, remembered: tf.Tensor
    ) -> tuple[History, tf.Tensor]:
        """Returns the history with its oldest pair gone and a new one last, if `remembered`.

        Args:
            move: of the new pair.
            change: likewise.
            measured: of these and a vector, added up over the whole of them.
            remembered: whether to.

        Returns:
            The history, and the dot products of the vector with its moves, its changes and itself.
        """
        moves, changes = tf.cond(
            remembered,
            lambda: ([*self.moves[1:], move], [*self.changes[1:], change]),
            lambda: (list(self.moves), list(self.changes)),
        )
        old = 2 * self.count
        upper = tf.concat([self.products, tf.transpose(measured[:2, :old])], axis=1)
        every = tf.concat([upper, measured[:2, : old + 2]], axis=0)
        stay = list(range(old))
        shift = [*range(1, self.count), old, *range(self.count + 1, old), old + 1]
        places = tf.where(remembered, shift, stay)
        products = tf.gather(tf.gather(every, places), places, axis=1)
        own = tf.concat([tf.gather(measured[2], places), measured[2, -1:]], axis=0)
        return History(moves, changes, products), own

    def forgotten(self, stuck: tf.Tensor) -> History:
        """Returns the history without its pairs, if `stuck`."""
        return dataclasses.replace(self, products=tf.where(stuck, 0.0, self.products))

    def gram(self, own: tf.Tensor) -> tf.Tensor:
        """Returns the dot products of the moves, the changes and a vector, in float64.

        Args:
            own: of the vector, as `pushed` returns them.
        """
        upper = tf.concat([self.products, own[:-1, tf.newaxis]], axis=1)
        return tf.cast(tf.concat([upper, own[tf.newaxis]], axis=0), tf.float64)

    def inverse_hessian_factors(self, gram: tf.Tensor) -> tf.Tensor:
        """Returns the estimated inverse Hessian times a vector, as factors for `combined`.

        It is the two-loop recursion, algorithm 7.4 of Nocedal and Wright, "Numerical Optimization"
        (2006), with the initial scaling of equation 7.20.

        Args:
            gram: what `gram` returned for the vector.

        Returns:
            float64 of shape `(2 * count + 1,)`; zeros where there is no history.
        """
        count = self.count
        unit = tf.eye(2 * count + 1, dtype=gram.dtype)
        curvatures = [gram[i, count + i] for i in range(count)]
        projections = [tf.constant(0.0, gram.dtype)] * count
        factors = unit[-1]
        for i in reversed(range(count)):
            along = tf.tensordot(gram[i], factors, 1)
            projections[i] = tf.math.divide_no_nan(along, curvatures[i])
            factors -= projections[i] * unit[count + i]
        factors *= tf.math.divide_no_nan(curvatures[-1], gram[2 * count - 1, 2 * count - 1])
        for i in range(count):
            along = tf.tensordot(gram[count + i], factors, 1)
            correction = tf.math.divide_no_nan(along, curvatures[i])
            factors += (projections[i] - correction) * unit[i]
        return factors

    def combined(self, factors: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
        """Returns the sum of the moves, the changes and the vector, each times its factor."""
        factors = tf.cast(factors, vector.dtype)
        total = factors[-1] * vector
        for factor, each in zip(
            tf.unstack(factors)[:-1], [*self.moves, *self.changes], strict=True
        ):
            total += factor * each
        return total


def dot(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Returns the sum of the products of two tensors' values."""
    return tf.reduce_sum(left * right)
