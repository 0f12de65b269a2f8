"""Loss and gradient of a picture in tiles."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from nst_tf import objective as objectives
from nst_tf import optimizers
from nst_tf.kernels import graphs
from nst_tf.tiling import segments, spill
from nst_tf.tiling import tiles as tile_plans


@dataclasses.dataclass(frozen=True)
class TiledTargets:
    """The targets of a picture that is looked at tile by tile.

    Attributes:
        shared: what the whole picture is held against.
        tiles: of the picture, and of the layer that each further section begins with.
        maps: likewise, for each tile, the activations that its own are compared with one by
            one. They grow with the picture, so they are put aside on a spill.
    """

    shared: objectives.Targets
    tiles: Sequence[Sequence[tile_plans.Tile]]
    maps: Sequence[Sequence[objectives.Targets]]


class TiledObjective:
    """Loss and gradient of a picture of any size, in the memory that one tile takes.

    On the way forth the statistics of all tiles are added up. The loss is a function of the sums,
    and so are its derivatives with respect to them, which the way back takes through each
    tile, adding up the gradients of the pixels, those around the tile's own included. As every
    position of every layer belongs to one tile, which shows all that it depends on, the
    result is that of the whole picture, to rounding.

    A tile is gone through layer by layer. What its way back needs is little: the activations that
    the losses look at, and one bit for every other, as the weights are fixed. It is put aside in
    a file; where there is none, the tile is gone through once more.

    With cuts, the network is gone through in sections, each in tiles of its own. Each hands on the
    activations at its end to the next.

    A network that is not `walked` is gone through at once: the way back of a tile computes it once
    more, with TensorFlow's own gradients.

    Args:
        objective: what is minimised; its losses are functions of sums over positions.
        cuts: names of the layers, the lowest first, that each end a section.
        keeps: put aside what the way back needs; else it is computed a second time.
        run_eagerly: leave out the graphs, to debug.

    Raises:
        ConfigError: the network looks at pictures as a whole, or cannot be cut.
    """

    def __init__(
        self,
        objective: objectives.Objective,
        cuts: Sequence[str] = (),
        *,
        keeps: bool = True,
        run_eagerly: bool = False,
    ) -> None:
        def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
            if run_eagerly:
                return graphs.of_tensors(function)
            return graphs.traced(function)

        self._objective = objective
        self._sections = [segments.section(part, compiled) for part in objective.sections(cuts)]
        self._keeps = keeps
        self._shelves: list[spill.Shelf] = []  # Of evaluations that have ended.
        self._value = compiled(self._value_and_slopes)

    def cut(self, height: int, width: int, sides: Sequence[int]) -> list[list[tile_plans.Tile]]:
        """Returns the tiles of a picture for each section of the network.

        Args:
            height: of the picture, in pixels.
            width: of the picture, in pixels.
            sides: of the tiles of each section, in pixels of the picture; 0 for a single tile.
        """
        found, scale = [], 1
        for section, side in zip(self._sections, sides, strict=True):
            size = height // scale, width // scale
            stride, halo = section.reach()
            side = -(-side // scale)
            found.append(tile_plans.cut(*size, side, halo, stride, to_end=section.to_end))
            scale *= section.link_stride
        return found

    def targets(
        self,
        image: Any,
        weights: tf.Tensor,
        tiles: Sequence[Sequence[tile_plans.Tile]],
        model: str,
    ) -> TiledTargets:
        """Returns the targets of all terms that take `image` for their model.

        Args:
            image: float32 of shape `(1, height, width, 3)`, sRGB in [0, 1]: an array or a tensor.
            weights: of its pixels, `(1, height, width, regions)`, or `(1, 1, 1, 1)` for all alike.
            tiles: what `cut` returned for the picture.
            model: `content` or `style`, the role of the picture.
        """
        sums: Any = {}
        maps = []
        for section, cut in zip(self._sections, tiles, strict=True):
            found, parts, image = section.measure_all(image, weights, cut, model)
            if weights.shape[1] > 1:
                weights = objectives.pooled(weights, section.link_stride)
            sums.update(found)
            maps.append(parts)
        return TiledTargets(self._objective.summary(sums), tiles, maps)

    def value_and_gradient(self, image: Any, targets: TiledTargets) -> optimizers.Evaluation:
        """Returns the loss of a picture, its gradient, and its terms.

        What grows with the picture is kept on the host: the gradient is a NumPy array.

        Args:
            image: float32 of shape `(1, height, width, 3)`, sRGB in [0, 1]: an array or a tensor.
            targets: of the objective's terms.
        """
        if not self._keeps:
            return self._evaluate(image, targets, None)
        try:  # What threads put aside at the same time must not meet.
            file = self._shelves.pop()
        except IndexError:
            file = spill.Shelf()
        try:
            return self._evaluate(image, targets, segments.on_disk(file))
        finally:
            file.clear()
            self._shelves.append(file)

    def _evaluate(
        self, image: Any, targets: TiledTargets, put: segments.Put | None
    ) -> optimizers.Evaluation:
        """Returns what `value_and_gradient` does, given what puts tensors aside."""
        shared, pixels = targets.shared, tf.constant(image.shape[1] * image.shape[2])
        sections = list(zip(self._sections, targets.tiles, targets.maps, strict=True))
        inputs, kept = [image], []
        sums: objectives.Targets = {}
        for section, tiles, maps in sections:
            at_once = section is self._sections[-1] and len(tiles) == 1
            aside = put or (segments.in_memory if at_once else None)
            found, link, parts = section.forth_all(inputs[-1], shared, tiles, maps, aside)
            sums.update(found)
            inputs.append(link)
            kept.append(parts)
        inputs.pop()
        loss, terms, slopes = self._value(sums, shared, pixels)
        gradient: Any = None
        for section, tiles, maps in reversed(sections):
            second = segments.Second(shared, slopes, gradient)
            gradient = section.back_all(inputs.pop(), second, tiles, maps, kept.pop())
        return optimizers.Evaluation(loss, gradient.mapped(), terms)

    def _value_and_slopes(
        self, sums: Any, shared: objectives.Targets, pixels: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], Any]:
        """Returns the loss, its terms, and its derivatives with respect to the sums."""
        with tf.GradientTape() as tape:
            tape.watch(sums)
            loss, terms = self._objective.value(sums, shared, pixels)
        return loss, terms, tape.gradient(loss, sums, unconnected_gradients="zero")
