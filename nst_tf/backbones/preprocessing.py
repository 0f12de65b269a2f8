"""From a picture to what the published networks were trained on."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from nst_tf.backbones.layer import Layer

_RANGE = 255.0


class Preprocessing(Layer, keras.layers.Layer):
    """Turns sRGB in [0, 1] into blue, green and red in 0 to 255, less a mean.

    Args:
        mean: what is subtracted from blue, green and red.
    """

    def __init__(self, mean: Sequence[float], **settings: object) -> None:
        super().__init__(trainable=False, **settings)
        self.mean = tuple(mean)

    def call(self, image: tf.Tensor) -> tf.Tensor:
        return image[..., ::-1] * _RANGE - tf.constant(self.mean, image.dtype)

    def pull_back(
        self, upstream: tf.Tensor, switches: Sequence[tf.Tensor], size: tf.Tensor
    ) -> tf.Tensor:
        del switches, size
        return tf.cast(upstream, self.compute_dtype)[..., ::-1] * _RANGE
