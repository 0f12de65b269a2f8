"""The total variation loss."""

from __future__ import annotations

import tensorflow as tf

from nst_tf import errors
from nst_tf.losses.loss import Loss, Statistics, position_count


class TotalVariation(Loss):
    """Mean difference of neighbouring values, which grain raises and smoothness lowers.

    ```
    squared:   loss = mean((x[i+1, j] - x[i, j])² + (x[i, j+1] - x[i, j])²)
    absolute:  loss = mean(|x[i+1, j] - x[i, j]| + |x[i, j+1] - x[i, j]|)
    ```

    A pair of neighbours counts with the weight of the upper or left one. The absolute form is
    the anisotropic total variation of Rudin, Osher and Fatemi (1992); the squared form is that of
    Mahendran and Vedaldi (2015), equation 3, with beta = 2.

    Args:
        form: `squared` or `absolute`.

    Raises:
        ConfigError: `form` is neither.
    """

    def __init__(self, form: str = "squared") -> None:
        if form not in ("squared", "absolute"):
            raise errors.unknown_name("form of total variation", form, ("squared", "absolute"))
        self.form = form

    def statistics(self, features: tf.Tensor, weights: tf.Tensor, target: Statistics) -> Statistics:
        del target
        measure = tf.square if self.form == "squared" else tf.abs
        variation = tf.reduce_sum(weights * measure(_differences(features)))
        values = position_count(features, weights) * features.shape[-1]
        return {"variation": variation, "values": values}

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        del target
        return tf.math.divide_no_nan(statistics["variation"], statistics["values"])


def _differences(image: tf.Tensor) -> tf.Tensor:
    """Returns each value's differences to the next below and the next to the right.

    They are one convolution, so that the image has one gradient of them: TensorFlow does not
    fix the order in which it adds up the gradients of several uses.

    Args:
        image: `(1, height, width, channels)`.

    Returns:
        `(1, height, width, 2 channels)`, zero where there is no next one.
    """
    padded = tf.pad(image, ((0, 0), (0, 1), (0, 1), (0, 0)), "SYMMETRIC")
    down, right = [[-1.0, 0.0], [1.0, 0.0]], [[-1.0, 1.0], [0.0, 0.0]]
    kernel = tf.stack([down, right], axis=-1)[:, :, tf.newaxis]
    kernel = tf.tile(kernel, (1, 1, image.shape[-1], 1))
    return tf.nn.depthwise_conv2d(padded, kernel, (1, 1, 1, 1), "VALID")
