"""A backbone in consecutive segments."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from nst_tf import errors
from nst_tf.backbones.layer import Layer

LINK = "link"
"""Name of the output in which a segment exposes the input of the next one."""


@dataclasses.dataclass(frozen=True)
class Segment:
    """A consecutive part of a backbone, with its layers and their weights.

    Attributes:
        model: Keras model from the picture, or from the last activations of the previous
            segment, to the activations of the exposed layers.
        layers: layers in the order of the forward pass.
        reaches: stride and halo of the exposed layers, as in `Backbone.reach`, but in positions
            of the segment's input.
    """

    model: keras.Model
    layers: Sequence[Layer]
    reaches: dict[str, tuple[int, int]]

    @property
    def output(self) -> dict[str, keras.KerasTensor]:
        """The exposed layers by name."""
        return self.model.output

    def __call__(self, features: Any) -> dict[str, Any]:
        """Returns the activations of the exposed layers by name."""
        return self.model(features)

    def reach(self, name: str) -> tuple[int, int]:
        """Returns stride and halo of an exposed layer; see `Backbone.reach`."""
        return self.reaches[name]

    def exposed(self, name: str, activations: tf.Tensor) -> tf.Tensor:
        """Returns a layer's activations as the backbone exposes them."""
        layers = {layer.name: layer for layer in self.model.layers}
        expose = layers.get(exposing(name))
        return expose(activations) if expose else activations


def exposing(name: str) -> str:
    """Returns the name of the layer, if there is one, that exposes the layer `name`."""
    return f"{name}_output"


def split(backbone: Any, cuts: Sequence[str]) -> list[Any]:
    """Returns the segments of a network that end with given layers, and the rest above them.

    Args:
        backbone: a `Backbone`. One that is not `walked` is its own only segment.
        cuts: names of layers, the lowest first. Each ends a segment, which exposes it as `LINK`.

    Raises:
        ConfigError: the network needs whole pictures, or cannot be cut.
    """
    if backbone.whole:
        raise errors.ConfigError(f"{backbone.name} takes no tiles: {backbone.whole}.")
    if not backbone.walked:
        if cuts:
            raise errors.ConfigError(f"{backbone.name} is no chain of layers and cannot be cut.")
        return [backbone]
    order = [layer.name for layer in backbone.layers]
    found: list[Segment] = []
    rest, inputs = dict(backbone.output), backbone.input
    begin, stride, halo = 0, 1, 0
    for cut in [*cuts, None]:
        end = order.index(cut) + 1 if cut else len(order)
        outputs = {name: rest.pop(name) for name in list(rest) if name not in order[end:]}
        reaches = {name: backbone.reach(name) for name in outputs}
        if cut:
            outputs[LINK], reaches[LINK] = backbone.get_layer(cut).output, backbone.reach(cut)
        found.append(
            Segment(
                keras.Model(inputs, outputs),
                _layers(backbone.layers[begin:end]),
                {
                    name: (deep // stride, (far - halo) // stride)
                    for name, (deep, far) in reaches.items()
                },
            )
        )
        if cut:
            begin, inputs, (stride, halo) = end, outputs[LINK], reaches[LINK]
    return found


def _layers(layers: Sequence[keras.layers.Layer]) -> list[Layer]:
    """Returns the layers of the chain, without those that only expose."""
    return [layer for layer in layers if isinstance(layer, Layer)]
