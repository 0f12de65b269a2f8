"""The Laplacian content loss."""

from __future__ import annotations

import tensorflow as tf

from nst_tf.losses.content import Content
from nst_tf.losses.loss import Statistics


class Laplacian(Content):
    """Squared difference of the Laplacians of two pictures: keeps lines, edges and faces.

    ```
    grey = sum over the channels of the picture
    pooled = mean of size x size values of grey
    response = mean of the four neighbours of pooled, size pixels apart - pooled
    error = sum((response - target)²)

    relative:  loss = error / sum((grey of the content)²)
    mean, sum, gatys: as for Content
    ```

    This is the loss of Li, Xu, Nie and Liu (2017), "Laplacian-Steered Neural Style Transfer",
    equations 4 and 5. They filter the picture after an average pooling, and their Laplacian is 4
    times the response. Here the pooling has a stride of 1 instead of `size`, so that the response
    has a value at every pixel. The border of the picture is repeated around it. The error is
    relative to the content and not to its Laplacian, as a small change of a picture is a large
    change of its Laplacian. The loss ignores brightness and sees little but lines: the authors add
    it to `features`.

    Args:
        normalization: as for `Content`.
        size: side of the pooling in pixels; the neighbours of the Laplacian are that far apart.

    Raises:
        ConfigError: `normalization` is unknown.
    """

    layers = ("image",)

    def __init__(self, normalization: str = "relative", size: int = 4) -> None:
        super().__init__(normalization)
        self.size = size
        self.neighbourhood = size + size // 2

    def measure(self, features: tf.Tensor, weights: tf.Tensor) -> Statistics:
        return {"energy": tf.reduce_sum(weights * tf.square(_grey(features)))}

    def response(self, features: tf.Tensor) -> tf.Tensor:
        """Returns the filtered picture, `(1, height, width, 1)`."""
        around, size = self.neighbourhood, self.size
        padded = _extended(_grey(features), around)
        pooled = tf.nn.avg_pool2d(padded, size, 1, "VALID")
        height, width = tf.unstack(tf.shape(features)[1:3])

        def shifted(rows: int, columns: int) -> tf.Tensor:
            top, left = size + rows, size + columns
            return pooled[:, top : top + height, left : left + width]

        beside = shifted(-size, 0) + shifted(size, 0) + shifted(0, -size) + shifted(0, size)
        return beside / 4 - shifted(0, 0)


def _grey(features: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(features, axis=-1, keepdims=True)


def _extended(picture: tf.Tensor, around: int) -> tf.Tensor:
    """Returns a picture with its border repeated around it."""
    for axis in (1, 2):
        length = tf.shape(picture)[axis]
        places = tf.clip_by_value(tf.range(-around, length + around), 0, length - 1)
        picture = tf.gather(picture, places, axis=axis)
    return picture
