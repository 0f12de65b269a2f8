"""Gradients that move large areas as fast as single pixels, and the bands of a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

_ROWS, _COLUMNS = 1, 2


def smoothed(gradient: tf.Tensor, weights: Sequence[tf.Tensor | float]) -> tf.Tensor:
    """Returns the gradient, smoothed as if the picture were a sum of coarser pictures.

    ```
    picture  = p₀ + √w₁ U (p₁ + √w₂ U (p₂ + ...))
    smoothed = (1 + w₁ U (1 + w₂ U (...) Uᵀ) Uᵀ) gradient
    ```

    U doubles a picture by linear interpolation. Descent in all the pᵢ at once moves the picture
    along `smoothed`, a symmetric and positive definite filter of the gradient. With weights of 1
    a wave of twice the length moves four times as far. It also has about four times the energy in
    a picture (Field, 1987), so that each frequency moves in proportion to its energy. Steepest
    descent takes all pixels as independent, moves all frequencies alike and leaves grain behind
    (Olah, Mordvintsev and Schubert, "Feature Visualization", 2017, on preconditioning).

    Args:
        gradient: the gradient, `(1, height, width, channels)`.
        weights: w₁, w₂ and so on, each for a picture of half the size of the previous one.
    """
    if not weights:
        return gradient
    coarser = smoothed(halved(gradient), weights[1:])
    size = tf.shape(gradient)
    enlarged = doubled(coarser)[:, : size[_ROWS], : size[_COLUMNS]]
    return gradient + weights[0] * tf.ensure_shape(enlarged, gradient.shape)


class Smoothed:
    """The result of `smoothed`, a few rows at a time, for a gradient too large for a tensor.

    Args:
        read: function that returns some rows of the gradient, `(1, rows, width, channels)`.
        height: height of the gradient, in rows.
        weights: weights as for `smoothed`.
        band: number of rows to read at a time.
    """

    def __init__(
        self,
        read: Callable[[slice], tf.Tensor],
        height: int,
        weights: Sequence[float],
        band: int,
    ) -> None:
        self._read = read
        if not any(weights):
            self._coarser = None
            return
        self._weight, *others = weights
        self._height = -(-height // 2)
        coarse = self._halved(height, max(1, band // 2) * 2)
        # Twice the rows of half the width: a band keeps its number of pixels.
        self._coarser = Smoothed(lambda rows: coarse[:, rows], self._height, others, 2 * band)

    def part(self, rows: slice) -> tf.Tensor:
        """Returns some rows of the smoothed gradient."""
        gradient = self._read(rows)
        if self._coarser is None:
            return gradient
        around = slice(max(0, rows.start // 2 - 1), min(self._height, -(-rows.stop // 2) + 1))
        first = rows.start - 2 * around.start
        enlarged = doubled(self._coarser.part(around))
        enlarged = enlarged[:, first : first + gradient.shape[1], : gradient.shape[2]]
        return gradient + self._weight * enlarged

    def _halved(self, height: int, band: int) -> np.ndarray:
        """Returns the halved gradient, read in bands of even height with two rows around each."""
        parts = []
        for start in range(0, height, band):
            stop = min(start + band, height)
            above = min(2, start)
            part = halved(self._read(slice(start - above, min(stop + 2, height))))
            parts.append(part[:, above // 2 : above // 2 - (start - stop) // 2])
        return np.concatenate(parts, axis=1)


def no_bands(image: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Returns zeros in the shapes of the bands of a picture, the finest first.

    Args:
        image: the picture, `(1, height, width, channels)`.
        count: number of times that the size is halved; there is one more band.
    """
    found = [tf.zeros_like(image)]
    for _ in range(count):
        found.append(tf.zeros_like(found[-1][:, ::2, ::2]))
    return found


def by_band(name: str, bands: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns the entries of a state that hold the bands: `name/0`, `name/1` and so on."""
    return {f"{name}/{number}": band for number, band in enumerate(bands)}


def band_gradients(gradient: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Returns the gradient of each band of a picture, given that of the picture.

    ```
    picture = b₀ + U (b₁ + U (b₂ + ...))
    ```

    The gradient of bᵢ is Uᵀ applied i times to that of the picture; U is `doubled`.

    Args:
        gradient: gradient of the picture, `(1, height, width, channels)`.
        count: number of times that the size is halved; there is one more band.
    """
    found = [gradient]
    for _ in range(count):
        found.append(halved(found[-1]))
    return found


def sum_of_bands(bands: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the picture of a Laplacian pyramid, b₀ + U (b₁ + U (b₂ + ...)).

    A band of at most two pixels a side is the last to count.

    Args:
        bands: the bands, the finest first; each has half the size of the previous one.
    """
    *finer, found = bands
    for band in reversed(finer):
        size = tf.shape(band)
        enlarged = doubled(found)[:, : size[_ROWS], : size[_COLUMNS]]
        divided = tf.reduce_max(size[_ROWS : _COLUMNS + 1]) > 2
        found = band + tf.where(divided, tf.ensure_shape(enlarged, band.shape), 0)
    return found


def doubled(picture: tf.Tensor) -> tf.Tensor:
    """Returns a picture of twice the height and width, interpolated linearly: U."""
    return _doubled(_doubled(picture, _ROWS), _COLUMNS)


def halved(picture: tf.Tensor) -> tf.Tensor:
    """Returns the adjoint of `doubled`: weighted sums of 4 by 4 pixels, not means.

    An odd side is continued with zeros, which is the adjoint of leaving out the last row.
    """
    return _halved(_halved(picture, _COLUMNS), _ROWS)


def _doubled(picture: tf.Tensor, axis: int) -> tf.Tensor:
    first, but_first = tf.split(picture, [1, -1], axis)
    but_last, last = tf.split(picture, [-1, 1], axis)
    before, after = tf.concat([first, but_last], axis), tf.concat([but_first, last], axis)
    pairs = tf.stack([0.75 * picture + 0.25 * before, 0.75 * picture + 0.25 * after], axis + 1)
    size = tf.shape(picture)
    return tf.reshape(pairs, tf.concat([size[:axis], [2 * size[axis]], size[axis + 1 :]], 0))


def _halved(picture: tf.Tensor, axis: int) -> tf.Tensor:
    size = tf.shape(picture)
    odd = size[axis] % 2
    picture = tf.pad(picture, [[0, odd if each == axis else 0] for each in range(4)])
    half = (size[axis] + odd) // 2
    pairs = tf.reshape(picture, tf.concat([size[:axis], [half, 2], size[axis + 1 :]], 0))
    upper, lower = tf.unstack(pairs, 2, axis + 1)
    first, but_first = tf.split(upper, [1, -1], axis)
    but_last, last = tf.split(lower, [-1, 1], axis)
    after, before = tf.concat([but_first, last], axis), tf.concat([first, but_last], axis)
    return 0.75 * (upper + lower) + 0.25 * (after + before)
