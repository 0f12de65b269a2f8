"""The architecture of a backbone."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

import keras

from nst_tf.backbones.convolution import FrozenConv2D
from nst_tf.backbones.pooling import FrozenAveragePooling2D, FrozenMaxPooling2D


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A network of `keras.applications`, and the place of its ImageNet weights.

    Attributes:
        name: name of the network.
        application: function that builds the Keras model, called with `include_top=False`.
        mean: mean that the Keras weights expect to be subtracted from blue, green and red in
            0 to 255.
        url: address of the Keras weight file without the classifier.
        md5: hash of that file, as `keras.applications` records it.
        bundled: name of the weight file beside this module, or an empty text.
    """

    name: str
    application: Callable[..., keras.Model]
    mean: tuple[float, ...]
    url: str
    md5: str
    bundled: str = ""

    def layers(self, pooling: str = "max") -> list[keras.layers.Layer]:
        """Returns the layers of a new network, unconnected, the shallowest first.

        Weights are random. The classes of the layers are those of `convolution` and `pooling`.

        Args:
            pooling: `max` or `avg`.
        """
        pool = FrozenAveragePooling2D if pooling == "avg" else FrozenMaxPooling2D
        kinds = {keras.layers.Conv2D: FrozenConv2D, keras.layers.MaxPooling2D: pool}
        state = random.getstate()  # Keras draws the seeds of initialisers from it.
        try:
            made = self.application(include_top=False, weights=None).layers[1:]
            return [
                kinds[type(layer)].from_config(
                    {**layer.get_config(), "data_format": "channels_last"}
                )
                for layer in made
            ]
        finally:
            random.setstate(state)
