"""The total variation loss."""

from __future__ import annotations

import tensorflow as tf

from nst_tf import errors
from nst_tf.kernels import convolution
from nst_tf.losses.loss import Loss, Statistics

_DOWN, _RIGHT = ((-1.0, 0.0), (1.0, 0.0)), ((-1.0, 1.0), (0.0, 0.0))
_FALLING, _RISING = ((-1.0, 0.0), (0.0, 1.0)), ((0.0, -1.0), (1.0, 0.0))


class TotalVariation(Loss):
    """Difference of neighbouring values: high for grain, low for smoothness.

    Here d and r are the differences of a value to the next below and the next to the right, and f
    and s the differences along the two diagonals of each square of four:

    ```
    squared:     d² + r²
    absolute:    |d| + |r|
    power:       (d² + r²)^1.25
    nine_point:  ⅔ (d² + r²) + ⅙ (f² + s²), the borders repeated
    ```

    The loss is the mean of this over all values, or, with the normalisation `sum`, the sum. A
    pair of neighbours counts with the weight of the upper or left one. The power form counts only
    values that have both neighbours. A circular picture goes on at its opposite side, so every
    value has both.

    The absolute form is the anisotropic total variation of Rudin, Osher and Fatemi (1992); the
    squared and power forms are that of Mahendran and Vedaldi (2015), equation 3, with beta = 2
    and 2.5. The nine-point form also sees a checkerboard's diagonals.

    Args:
        form: `squared`, `absolute`, `power` or `nine_point`.
        normalization: `mean` or `sum`.
        circular: whether the picture goes on at its opposite side.

    Attributes:
        degree: exponent with which the loss grows with the contrast.

    Raises:
        ConfigError: an argument is none of these.
    """

    degrees = {"squared": 2.0, "absolute": 1.0, "power": 2.5, "nine_point": 2.0}  # noqa: RUF012
    normalizations = ("mean", "sum")
    layers = ("image",)
    neighbourhood = 1

    def __init__(
        self, form: str = "squared", normalization: str = "mean", circular: bool = False
    ) -> None:
        self.form = errors.known("form of total variation", form, self.degrees)
        super().__init__(normalization)
        self.circular = circular
        self.degree = self.degrees[form]

    def statistics(self, features: tf.Tensor, weights: tf.Tensor, target: Statistics) -> Statistics:
        del target
        weights = tf.broadcast_to(tf.cast(weights, features.dtype), (*_shape(features)[:3], 1))
        pad = convolution.PADDINGS["circular" if self.circular else "replicate"]
        padded = pad(features, 1)
        if self.form == "nine_point":
            at_squares = weights if self.circular else pad(weights, 1)[:, :-1, :-1]
            return _nine_point(padded, weights, at_squares)
        both = _differences(padded[:, 1:, 1:], _DOWN, _RIGHT)
        if self.form == "power":
            if not self.circular:
                weights, both = weights[:, :-1, :-1], both[:, :-1, :-1]
            squares = tf.reduce_sum(tf.square(both), axis=-1)
            # A root has no slope at 0; the least float32 stands for 0.
            variation = tf.pow(tf.maximum(squares, _TINY), self.degree / 2)
        else:
            measure = tf.square if self.form == "squared" else tf.abs
            variation = tf.reduce_sum(measure(both), axis=-1)
        return {
            "variation": tf.reduce_sum(weights * variation),
            "values": tf.reduce_sum(weights) * features.shape[-1],
        }

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        del target
        variation, values = statistics["variation"], statistics["values"]
        total = variation if self.normalization == "sum" else _ratio(variation, values)
        if self.form == "nine_point":
            diagonal, squares = statistics["diagonal"], statistics["squares"]
            total += diagonal if self.normalization == "sum" else _ratio(diagonal, squares)
        return total


_TINY = 1e-38
_ratio = tf.math.divide_no_nan


def _nine_point(padded: tf.Tensor, weights: tf.Tensor, at_squares: tf.Tensor) -> Statistics:
    """Returns the sums of the nine-point form.

    Args:
        padded: the picture with a border of one pixel.
        weights: the weights of its pixels.
        at_squares: the weights of the upper left values of the squares: of all, or of those that
            begin in the picture.
    """
    down, right, falling, rising = tf.unstack(
        tf.square(_differences(padded, _DOWN, _RIGHT, _FALLING, _RISING)), axis=-1
    )
    skipped = tf.shape(falling)[1] - tf.shape(at_squares)[1]
    diagonal = (falling + rising)[:, skipped:, skipped:]
    return {
        "variation": tf.reduce_sum(weights * (down + right)[:, 1:, 1:]) * 2 / 3,
        "values": tf.reduce_sum(weights) * padded.shape[-1],
        "diagonal": tf.reduce_sum(at_squares * diagonal) / 6,
        "squares": tf.reduce_sum(at_squares) * padded.shape[-1],
    }


def _differences(image: tf.Tensor, *kernels: tuple[tuple[float, ...], ...]) -> tf.Tensor:
    """Returns differences within each square of four neighbouring values.

    One convolution computes them all, so that the image gets a single gradient: TensorFlow does
    not fix the order in which it adds up the gradients of several uses.

    Args:
        image: values, `(1, height, width, channels)`.
        *kernels: kernels of 2x2 each.

    Returns:
        `(1, height - 1, width - 1, channels, kernels)`.
    """
    stacked = tf.transpose(tf.constant(kernels, image.dtype), (1, 2, 0))[:, :, tf.newaxis]
    filters = tf.tile(stacked, (1, 1, image.shape[-1], 1))
    found = tf.nn.depthwise_conv2d(image, filters, (1, 1, 1, 1), "VALID")
    return tf.reshape(found, (*_shape(found)[:3], image.shape[-1], len(kernels)))


def _shape(tensor: tf.Tensor) -> list[tf.Tensor]:
    return tf.unstack(tf.shape(tensor))
