"""A backbone in sections, each of which begins where the one before ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from nst_tf.backbones.layer import Layer

LINK = "link"
"""Name under which a section exposes the activations that the next one begins with."""


@dataclasses.dataclass(frozen=True)
class Section:
    """A consecutive part of a backbone, with its layers and their weights.

    Attributes:
        model: from the picture, or from the activations that the section begins with, to
            those of the exposed layers.
        layers: that are gone through one after the other.
        reaches: of the exposed layers, as `Backbone.reach` counts them, but in positions of
            the section's input.
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
        """Returns what the backbone makes of a layer's activations to expose them."""
        layers = {layer.name: layer for layer in self.model.layers}
        expose = layers.get(exposing(name))
        return expose(activations) if expose else activations


def exposing(name: str) -> str:
    """Returns the name of the layer, if there is one, that exposes the layer of a name."""
    return f"{name}_output"


def split(backbone: Any, cut: str) -> list[Section]:
    """Returns what is below a layer, that layer included, and what is above it.

    Args:
        backbone: a functional model with a dict of outputs, and `reach`. All layers that have a
            say in the outputs are a `Layer`, but for those that expose.
        cut: name of a layer. The lower section exposes it as `LINK`. An empty text leaves the
            network in one section.
    """
    reaches = {name: backbone.reach(name) for name in backbone.output}
    if not cut:
        return [Section(backbone, _layers(backbone.layers), reaches)]
    order = [layer.name for layer in backbone.layers]
    place, link = order.index(cut), backbone.get_layer(cut).output
    upper = {name for name in backbone.output if name in order[place + 1 :]}
    below = {name: tensor for name, tensor in backbone.output.items() if name not in upper}
    above = {name: backbone.output[name] for name in backbone.output if name in upper}
    stride, halo = backbone.reach(cut)
    return [
        Section(
            keras.Model(backbone.input, {**below, LINK: link}),
            _layers(backbone.layers[: place + 1]),
            {**{name: reaches[name] for name in below}, LINK: (stride, halo)},
        ),
        Section(
            keras.Model(link, above),
            _layers(backbone.layers[place + 1 :]),
            {
                name: (reaches[name][0] // stride, (reaches[name][1] - halo) // stride)
                for name in above
            },
        ),
    ]


def _layers(layers: Sequence[keras.layers.Layer]) -> list[Layer]:
    """Returns those that are gone through, without those that only expose."""
    return [layer for layer in layers if isinstance(layer, Layer)]
