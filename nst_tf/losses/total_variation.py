"""The total variation loss."""

from __future__ import annotations

import tensorflow as tf

from nst_tf import errors
from nst_tf.losses.loss import Loss, Statistics


class TotalVariation(Loss):
    """Mean difference of neighbouring values, which grain raises and smoothness lowers.

    ```
    squared:   loss = mean((x[i+1, j] - x[i, j])² + (x[i, j+1] - x[i, j])²)
    absolute:  loss = mean(|x[i+1, j] - x[i, j]| + |x[i, j+1] - x[i, j]|)
    ```

    The absolute form is the anisotropic total variation of Rudin, Osher and Fatemi (1992); the
    squared form is that of Mahendran and Vedaldi (2015), equation 3, with beta = 2.

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
        size = tf.shape(features)
        weights = tf.broadcast_to(weights, tf.concat([size[:3], [1]], axis=0))
        measure = tf.square if self.form == "squared" else tf.abs
        down = measure(features[:, 1:] - features[:, :-1]) * weights[:, 1:]
        right = measure(features[:, :, 1:] - features[:, :, :-1]) * weights[:, :, 1:]
        values = tf.reduce_sum(weights) * tf.cast(size[-1], tf.float32)
        return {"variation": tf.reduce_sum(down) + tf.reduce_sum(right), "values": values}

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        del target
        return tf.math.divide_no_nan(statistics["variation"], statistics["values"])
