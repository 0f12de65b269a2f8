"""The nearest of many vectors, by the cosine of the angle, in bounded memory."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from nst_tf.kernels import arrays

_PRODUCTS = 1 << 24  # Cosines in memory at a time.
_DIMENSIONS = 256  # Of a large search: less than 1% from the least 1 - cosine of all.
_SPARE = 16  # Further random directions, from which the dimensions are found.
TINY = 1e-16
"""Least square of a length that is divided by."""


def unit(vectors: tf.Tensor) -> tf.Tensor:
    """Returns vectors `(..., channels)` with length 1; a vector of zeros stays one."""
    squares = tf.reduce_sum(tf.square(vectors), axis=-1, keepdims=True)
    return vectors * tf.math.rsqrt(tf.maximum(squares, TINY))


def lengths(vectors: np.ndarray) -> np.ndarray:
    """Returns the lengths of vectors `(number, channels)`, for dividing by them, `(number,)`."""
    return np.sqrt(np.maximum(np.einsum("nc,nc->n", vectors, vectors), TINY))


class Choices:
    """Vectors among which the nearest ones are searched.

    A large search takes place in the subspace in which the choices lie nearly, found by random
    directions: Halko, Martinsson and Tropp (2011), "Finding Structure with Randomness", algorithm
    4.4 with one iteration.

    Args:
        vectors: the choices, `(number, channels)`, float32. They are centred, and the memory
            is used on.
        searches: number of vectors for which the nearest choice will be searched.
        exact: search in the whole space, however large the search.
    """

    def __init__(self, vectors: np.ndarray, searches: int, *, exact: bool = False) -> None:
        vectors -= vectors.mean(0)
        vectors /= lengths(vectors)[:, np.newaxis]
        self._choices = tf.identity(arrays.to_tensor(vectors))  # On the device of the run.
        self._basis: tf.Tensor | None = None
        number, channels = vectors.shape
        large = number > channels > 2 * _DIMENSIONS and number * searches > _PRODUCTS
        if large and not exact:
            self._basis = tf.constant(_basis(self._choices))
            self._choices = tf.matmul(self._choices, self._basis)

    def nearest(self, vectors: tf.Tensor, penalties: np.ndarray | None = None) -> np.ndarray:
        """Returns for each vector the number of the choice with the largest cosine, `(count,)`.

        Args:
            vectors: `(count, channels)`, of any length.
            penalties: subtracted from the cosine of each choice, `(number,)`, or None.
        """
        found = [np.zeros(0, np.int64)]
        rows = max(1, _PRODUCTS // self._choices.shape[0])
        for first in range(0, vectors.shape[0], rows):
            part = unit(vectors[first : first + rows])
            if self._basis is not None:
                part = tf.matmul(part, self._basis)
            cosines = tf.matmul(part, self._choices, transpose_b=True)
            if penalties is not None:
                cosines -= penalties
            found.append(tf.argmax(cosines, axis=1).numpy())
        return np.concatenate(found)


def numbers(vectors: tf.Tensor, choices: tf.Tensor) -> tf.Tensor:
    """Returns for each vector the number of the choice with the largest product, `(count,)`.

    It has no gradient, and may be part of a graph.

    Args:
        vectors: `(count, channels)`.
        choices: `(number, channels)`.
    """
    count, channels = tf.shape(vectors)[0], choices.shape[-1]
    rows = tf.clip_by_value(_PRODUCTS // tf.shape(choices)[0], 1, tf.maximum(count, 1))
    padded = tf.pad(tf.stop_gradient(vectors), [[0, -count % rows], [0, 0]])
    found = tf.map_fn(
        lambda part: tf.argmax(tf.matmul(part, choices, transpose_b=True), axis=1),
        tf.reshape(padded, (-1, rows, channels)),
        fn_output_signature=tf.int64,
        parallel_iterations=1,
    )
    return tf.reshape(found, (-1,))[:count]


def _basis(vectors: tf.Tensor) -> np.ndarray:
    """Returns an orthonormal basis of nearly the row space, `(channels, dimensions)`."""
    shape = vectors.shape[1], _DIMENSIONS + _SPARE
    directions = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    spanned = tf.matmul(vectors, tf.matmul(vectors, directions), transpose_a=True)
    return np.linalg.qr(spanned.numpy())[0]
