"""From a picture to the input that the published networks were trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nst_tf.backbones.layer import Layer

_RANGE = 255.0


class Preprocessing(Layer, keras.layers.Layer):
    """Turns sRGB in [0, 1] into blue, green and red in 0 to 255, less a mean.

    Args:
        mean: mean to subtract from blue, green and red.
    """

    def __init__(self, mean: Sequence[float], **settings: object) -> None:
        super().__init__(trainable=False, **settings)
        self.mean = tuple(mean)

    def call(self, image: tf.Tensor) -> tf.Tensor:
        return image[..., ::-1] * _RANGE - tf.constant(self.mean, image.dtype)

    def backward(
        self, upstream: tf.Tensor, switches: Sequence[tf.Tensor], size: tf.Tensor
    ) -> tf.Tensor:
        del switches, size
        return tf.cast(upstream, self.compute_dtype)[..., ::-1] * _RANGE


class Applied(keras.layers.Layer):
    """Calls a function, or another layer, on a picture.

    Args:
        function: function of a tensor `(1, height, width, 3)`, sRGB in [0, 1].

    Attributes:
        pointwise: whether the function treats every pixel by itself, as far as a picture of
            noise shows.
    """

    def __init__(self, function: Callable[[Any], Any], **settings: Any) -> None:
        super().__init__(trainable=False, **settings)
        self.function = function
        self.pointwise = _is_pointwise(function, self.compute_dtype)

    def call(self, image: tf.Tensor) -> tf.Tensor:
        return self.function(image)


def _is_pointwise(function: Callable[[Any], Any], dtype: str) -> bool:
    """Returns whether a function gives the same values for a picture and for its parts."""
    picture = tf.constant(np.random.default_rng(0).random((1, 9, 8, 3)), dtype)
    whole = np.asarray(function(picture))
    for rows, columns in ((slice(2, 7), slice(1, 4)), (slice(5, 6), slice(3, 4))):
        part = np.asarray(function(picture[:, rows, columns]))
        expected = whole[:, rows, columns] if whole.ndim == 4 else whole
        if part.shape != expected.shape or not np.allclose(part, expected, rtol=1e-5, atol=1e-6):
            return False
    return whole.shape[:3] == picture.shape[:3]
