"""The history of L-BFGS, and the estimate of the inverse Hessian from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from nst_tf.optimizers.optimizer import State


class Differences(NamedTuple):
    """A new pair, and the vector to multiply by the inverse Hessian.

    `CurvaturePairs.measured` relies on the order of the entries.

    Attributes:
        move: difference of the variable.
        smoothed_change: difference of the smoothed gradient.
        smoothed_vector: the vector, smoothed.
        change: difference of the gradient, unsmoothed.
        vector: the vector, unsmoothed.
    """

    move: tf.Tensor
    smoothed_change: tf.Tensor
    smoothed_vector: tf.Tensor
    change: tf.Tensor
    vector: tf.Tensor


@dataclasses.dataclass(frozen=True)
class CurvaturePairs:
    """Pairs of past differences, each a separate tensor, and their dot products.

    The inverse Hessian times a vector is a weighted sum of the pairs and the vector. The factors
    of that sum follow from dot products alone (Chen, Wang and Zhou, "Large-scale L-BFGS using
    MapReduce", 2014). So the pairs, which are the bulk of the state of L-BFGS, may be read in
    parts: once for the products, and once for the sum.

    The initial inverse Hessian need not be a multiple of the identity. If it is a multiple of a
    smoothing P, the sum runs over moves, smoothed changes and the smoothed vector. P is
    symmetric, so that each gradient is smoothed only once.

    Separate tensors move up one place without a copy. A stacked tensor would be rewritten at every
    step.

    Attributes:
        moves: differences of the variable, the newest last.
        changes: differences of the smoothed gradient, likewise.
        products: dot products of moves and changes, moves first, over the whole picture:
            `(2 * count, 2 * count)`.
        slopes: dot products of moves and changes with the differences of the unsmoothed gradient,
            `(2 * count, count)`. The product of a move with an older difference is not needed and
            stays 0. A pair whose move and difference have the product 0 has no effect: it is
            empty, or forgotten.
    """

    moves: Sequence[tf.Tensor]
    changes: Sequence[tf.Tensor]
    products: tf.Tensor
    slopes: tf.Tensor

    @classmethod
    def empty(cls, image: tf.Tensor, count: int) -> CurvaturePairs:
        """Returns a history without pairs and with room for `count`."""
        nothing = [tf.zeros_like(image)] * count
        return cls(nothing, nothing, tf.zeros((2 * count, 2 * count)), tf.zeros((2 * count, count)))

    @classmethod
    def of(cls, state: State) -> CurvaturePairs:
        """Returns the history that `to_state` put into a state."""
        places = range(state["slopes"].shape[1])
        moves, changes = ([state[f"{name}/{i}"] for i in places] for name in ("moves", "changes"))
        return cls(moves, changes, state["products"], state["slopes"])

    def to_state(self) -> State:
        """Returns the tensors by name: `moves/0`, `changes/0`, ..., `products` and `slopes`."""
        return {
            **{f"moves/{i}": move for i, move in enumerate(self.moves)},
            **{f"changes/{i}": change for i, change in enumerate(self.changes)},
            "products": self.products,
            "slopes": self.slopes,
        }

    @property
    def count(self) -> int:
        """Number of pairs that there is room for."""
        return len(self.moves)

    @property
    def known(self) -> tf.Tensor:
        """Whether there is any pair."""
        return self.slopes[self.count - 1, -1] > 0

    def measured(self, new: Differences) -> tf.Tensor:
        """Returns the dot products of the entries of `new` with all pairs and with each other.

        They add up over the parts of a picture.

        Returns:
            `(5, 2 * count + 3)`: the products of each entry of `new` with the moves, the changes,
            and the first three entries of `new`.
        """
        rows = tf.stack([tf.reshape(each, [-1]) for each in new])
        others = [*self.moves, *self.changes, *new[:3]]
        # One at a time: a stack of all would be a copy of the history.
        columns = [tf.matmul(rows, tf.reshape(each, (-1, 1))) for each in others]
        return tf.concat(columns, axis=1)

    def pushed(
        self, new: Differences, measured: tf.Tensor, remembered: tf.Tensor
    ) -> tuple[CurvaturePairs, tf.Tensor]:
        """Returns the history without its oldest pair and with a new one last, if `remembered`.

        Args:
            new: the new pair and vector.
            measured: result of `measured` for `new`, added up over the whole picture.
            remembered: whether to remember the new pair.

        Returns:
            The history, and the dot products of the new vector, smoothed and unsmoothed, with the
            history's moves, its changes and the smoothed vector: `(2, 2 * count + 1)`.
        """
        moves, changes = tf.cond(
            remembered,
            lambda: ([*self.moves[1:], new.move], [*self.changes[1:], new.smoothed_change]),
            lambda: (list(self.moves), list(self.changes)),
        )
        count, old = self.count, 2 * self.count
        stay = [*range(old)]
        shift = [*range(1, count), old, *range(count + 1, old), old + 1]
        places = tf.where(remembered, shift, stay)
        columns = tf.where(remembered, [*range(1, count + 1)], [*range(count)])

        right = tf.concat([self.products, tf.transpose(measured[:2, :old])], axis=1)
        products = tf.concat([right, measured[:2, : old + 2]], axis=0)
        # The smoothing is symmetric: it may move to the other factor of a product.
        below = tf.stack([tf.zeros(count), measured[3, count:old]])
        left = tf.concat([self.slopes, below], axis=0)
        slopes = tf.concat([left, measured[3, : old + 2, tf.newaxis]], axis=1)
        history = CurvaturePairs(
            moves,
            changes,
            tf.gather(tf.gather(products, places), places, axis=1),
            tf.gather(tf.gather(slopes, places), columns, axis=1),
        )
        vectors = tf.gather(measured, [2, 4])
        return history, tf.concat([tf.gather(vectors, places, axis=1), vectors[:, -1:]], axis=1)

    def forgotten(self, stuck: tf.Tensor) -> CurvaturePairs:
        """Returns the history without its pairs, if `stuck`."""
        nothing = {
            name: tf.where(stuck, 0.0, getattr(self, name)) for name in ("products", "slopes")
        }
        return dataclasses.replace(self, **nothing)

    def gram(self, own: tf.Tensor) -> tf.Tensor:
        """Returns the dot products of the moves, the changes and a smoothed vector, in float64.

        Args:
            own: dot products of the vector, as `pushed` returns them.
        """
        upper = tf.concat([self.products, own[0, :-1, tf.newaxis]], axis=1)
        return tf.cast(tf.concat([upper, own[:1]], axis=0), tf.float64)

    def inverse_hessian_factors(self, own: tf.Tensor) -> tf.Tensor:
        """Returns the estimated inverse Hessian times a vector, as factors for `combined`.

        It is the two-loop recursion, algorithm 7.4 of Nocedal and Wright, "Numerical Optimization"
        (2006), with the initial scaling of equation 7.20 for a smoothed gradient:
        move · change / change · smoothed change.

        Args:
            own: dot products of the vector, as `pushed` returns them.

        Returns:
            Factors, float64 of shape `(2 * count + 1,)`; zeros without a history.
        """
        count = self.count
        vector, slopes = tf.cast(own[1], tf.float64), tf.cast(self.slopes, tf.float64)
        curvatures = [slopes[i, i] for i in range(count)]
        projections = tf.zeros(count, tf.float64)
        for i in reversed(range(count)):
            along = vector[i] - tf.tensordot(slopes[i], projections, 1)
            projection = tf.math.divide_no_nan(along, curvatures[i])
            projections += projection * tf.one_hot(i, count, dtype=tf.float64)
        scale = tf.math.divide_no_nan(curvatures[-1], slopes[-1, -1])
        factors = scale * tf.concat([tf.zeros(count, tf.float64), -projections, [1.0]], axis=0)
        for i in range(count):
            change = tf.concat([slopes[:, i], vector[count + i, tf.newaxis]], axis=0)
            along = tf.tensordot(change, factors, 1)
            correction = projections[i] - tf.math.divide_no_nan(along, curvatures[i])
            factors += correction * tf.one_hot(i, 2 * count + 1, dtype=tf.float64)
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
