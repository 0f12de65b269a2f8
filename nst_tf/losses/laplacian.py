"""The Laplacian content loss."""

from __future__ import annotations

import tensorflow as tf

from nst_tf.losses.content import Content


class Laplacian(Content):
    """Squared difference of the Laplacians of two pictures: keeps lines, edges and faces.

    ```
    response = sum over the channels of laplacian(mean of size x size pixels)
    error = sum((response - target)²)
    ```

    This is the loss of Li, Xu, Nie and Liu (2017), "Laplacian-Steered Neural Style Transfer",
    equations 4 and 5, which filter the picture after an average pooling. Here every place of the
    pooling's grid counts, not one of size², so that the response has a value at every pixel. What
    lies outside of the picture is taken to be like its border.

    Args:
        normalization: as for `Content`.
        size: side of the pooling in pixels; the neighbours of the Laplacian are that far apart.

    Raises:
        ConfigError: `normalization` is unknown.
    """

    layer = "image"

    def __init__(self, normalization: str = "relative", size: int = 4) -> None:
        super().__init__(normalization)
        self.size = size
        self.neighbourhood = size + size // 2

    def response(self, features: tf.Tensor) -> tf.Tensor:
        """Returns the filtered picture, `(1, height, width, 1)`."""
        around, size = self.neighbourhood, self.size
        padded = tf.reduce_sum(_extended(features, around), axis=-1, keepdims=True)
        pooled = tf.nn.avg_pool2d(padded, size, 1, "VALID")
        height, width = tf.unstack(tf.shape(features)[1:3])

        def shifted(rows: int, columns: int) -> tf.Tensor:
            top, left = size + rows, size + columns
            return pooled[:, top : top + height, left : left + width]

        beside = shifted(-size, 0) + shifted(size, 0) + shifted(0, -size) + shifted(0, size)
        return beside - 4 * shifted(0, 0)


def _extended(picture: tf.Tensor, around: int) -> tf.Tensor:
    """Returns a picture with its border repeated around it."""
    for axis in (1, 2):
        length = tf.shape(picture)[axis]
        places = tf.clip_by_value(tf.range(-around, length + around), 0, length - 1)
        picture = tf.gather(picture, places, axis=axis)
    return picture
