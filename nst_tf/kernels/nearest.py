"""The nearest of many vectors, by the cosine of the angle, in bounded memory."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

_PRODUCTS = 1 << 24  # Cosines in memory at a time.
_TINY = 1e-16


def unit(vectors: tf.Tensor) -> tf.Tensor:
    """Returns vectors `(..., channels)` with length 1; a vector of zeros stays one."""
    squares = tf.reduce_sum(tf.square(vectors), axis=-1, keepdims=True)
    return vectors * tf.math.rsqrt(tf.maximum(squares, _TINY))


def nearest(
    vectors: tf.Tensor, choices: tf.Tensor, penalties: np.ndarray | None = None
) -> np.ndarray:
    """Returns for each vector the index of the choice with the largest cosine, `(count,)`.

    Args:
        vectors: `(count, channels)`, of any length.
        choices: `(number, channels)`, of length 1.
        penalties: taken off the cosines of each choice, `(number,)`, or None. Vectors then have
            the length 1.
    """
    found = [np.zeros(0, np.int64)]
    rows = max(1, _PRODUCTS // choices.shape[0])
    for first in range(0, vectors.shape[0], rows):
        cosines = tf.matmul(vectors[first : first + rows], choices, transpose_b=True)
        if penalties is not None:
            cosines -= penalties
        found.append(tf.argmax(cosines, axis=1).numpy())
    return np.concatenate(found)
