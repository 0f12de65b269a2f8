"""A backbone in two sections, of which the second begins where the first ends."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

LINK = "link"
"""Name under which a section exposes the activations that the next one begins with."""


@dataclasses.dataclass(frozen=True)
class Section:
    """A consecutive part of a backbone, with its layers and their weights.

    Attributes:
        model: from the picture, or from the activations that the section begins with, to
            those of the exposed layers.
        reaches: of the exposed layers, as `Backbone.reach` counts them, but in positions of
            the section's input.
    """

    model: keras.Model
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


def split(backbone: Any, cut: str) -> tuple[Section, Section]:
    """Returns what is below a layer, that layer included, and what is above it.

    Args:
        backbone: a functional model with a dict of outputs, and `reach`.
        cut: name of a layer. The lower section exposes it as `LINK`.
    """
    order = [layer.name for layer in backbone.layers]
    place, link = order.index(cut), backbone.get_layer(cut).output
    upper = {name for name in backbone.output if name in order[place + 1 :]}
    below = {name: tensor for name, tensor in backbone.output.items() if name not in upper}
    above = {name: backbone.output[name] for name in backbone.output if name in upper}
    stride, halo = backbone.reach(cut)
    reaches = {name: backbone.reach(name) for name in backbone.output}
    return (
        Section(
            keras.Model(backbone.input, {**below, LINK: link}),
            {**{name: reaches[name] for name in below}, LINK: (stride, halo)},
        ),
        Section(
            keras.Model(link, above),
            {
                name: (reaches[name][0] // stride, (reaches[name][1] - halo) // stride)
                for name in above
            },
        ),
    )
