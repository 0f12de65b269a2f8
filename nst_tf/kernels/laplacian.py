"""The finest band of a picture."""

from __future__ import annotations

import tensorflow as tf


def finest_band(picture: tf.Tensor) -> tf.Tensor:
    """Returns a picture less what remains of it at half the size.

    It is the finest band of a Laplacian pyramid (Burt and Adelson, 1983) that is halved by means
    of 2x2 pixels, and enlarged linearly.

    Args:
        picture: `(1, height, width, channels)`.
    """
    coarser = tf.nn.avg_pool2d(picture, 2, 2, "SAME")
    rows, columns = coarser.shape[1:3]
    enlarged = tf.image.resize(coarser, (2 * rows, 2 * columns))
    return picture - enlarged[:, : picture.shape[1], : picture.shape[2]]
