"""Forward and backward pass of one segment of the network, tile by tile."""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf import backbones
from nst_tf import objective as objectives
from nst_tf.kernels import arrays
from nst_tf.tiling import spill
from nst_tf.tiling.tiles import Tile

Compile = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Turns a function of tensors into a graph, for pictures of any size."""

Save = Callable[[tf.Tensor], Callable[[], Any]]
"""Saves a tensor, and returns a function that loads it."""


@dataclasses.dataclass(frozen=True)
class BackwardContext:
    """Inputs of the backward pass of a segment.

    Attributes:
        shared: targets that hold for the whole picture.
        slopes: derivatives of the loss with respect to the sums of all statistics.
        upstream: gradient of the loss with respect to the link, or None for the last segment.
    """

    shared: objectives.Targets
    slopes: objectives.Targets
    upstream: spill.SpilledArray | None


class SavedLayer(NamedTuple):
    """The saved inputs of a layer's backward pass, for one tile.

    Attributes:
        size: height and width of the layer's inputs.
        switches: functions that load the switches of the layer.
        features: function that loads the layer's activations; None where no term needs them or
            they are computed again.
    """

    size: tf.Tensor
    switches: Sequence[Callable[[], Any]]
    features: Callable[[], Any] | None


def tiled_segment(objective: objectives.Objective, compiled: Compile) -> TiledSegment:
    """Returns an objective's segment of the network, with its terms."""
    if isinstance(objective.backbone, backbones.Segment):
        return WalkedSegment(objective, compiled)
    return ModelSegment(objective, compiled)


class TiledSegment(abc.ABC):
    """A segment of the network with its terms, computed tile by tile.

    Args:
        objective: the objective of the segment.
        compiled: turns a function into a graph.
    """

    def __init__(self, objective: objectives.Objective, compiled: Compile) -> None:
        self.objective = objective

        @functools.cache
        def measure_of(reference: str) -> Callable[..., Any]:
            return compiled(functools.partial(objective.measure, reference=reference))

        self._measure_of = measure_of

    @property
    def link_stride(self) -> int:
        """Positions of the input per position of the link; 1 without a link."""
        return self.objective.backbone.reach(backbones.LINK)[0] if self._linked else 1

    def stride_of(self, term: str) -> int:
        """Returns the positions of the segment's input per position of a term's layer."""
        (layer,) = (each.layer for each in self.objective.terms if each.name == term)
        return self.objective.backbone.reach(layer)[0]

    @property
    def _linked(self) -> bool:
        return backbones.LINK in self.objective.backbone.output

    def reach(self) -> tuple[int, int]:
        """Returns the largest stride and halo of the exposed layers."""
        backbone = self.objective.backbone
        strides, halos = zip(*(backbone.reach(name) for name in backbone.output), strict=True)
        around = [self.objective.halo(term) for term in self.objective.terms]
        # The last position also takes the weights of pixels that poolings drop.
        return max(strides), max([*halos, *around, max(strides) - 1])

    def measure_all(
        self, image: Any, weights: tf.Tensor, tiles: Sequence[Tile], reference: str
    ) -> tuple[objectives.Targets, Sequence[objectives.Targets], Any]:
        """Returns the sums of all tiles, the positional entries of each tile, and the link."""
        sums: Any = None
        maps, link = spill.SpillFile(), _Link(image, self.link_stride)
        for tile in tiles:
            everywhere = weights if weights.shape[1] == 1 else _shown(weights, tile)
            found, part, handed = self._measure_of(reference)(
                _shown(image, tile), everywhere, _owned(tile)
            )
            sums = added(sums, found)
            maps.append(part)
            for each in handed:
                link.place(each, tile)
        return sums, maps, link.whole()

    def forward_all(
        self,
        image: Any,
        shared: objectives.Targets,
        tiles: Sequence[Tile],
        maps: Sequence[objectives.Targets],
        save: Save | None,
    ) -> tuple[objectives.Targets, Any, Sequence[Sequence[SavedLayer] | None]]:
        """Returns the statistics of all tiles, added up, the link, and the saved layers."""
        sums: Any = None
        link, kept = _Link(image, self.link_stride), []
        for tile, part in zip(tiles, maps, strict=True):
            wanted = _merged(shared, part)
            try:
                found, features, aside = self._forward_tile(image, tile, wanted, save)
            except OSError:  # The disk is full: the backward pass computes the rest again.
                save = None
                found, features, aside = self._forward_tile(image, tile, wanted, save)
            sums = added(sums, found)
            kept.append(aside)
            if self._linked:
                owned = _owned(tile) // self.link_stride
                link.place(objectives.part(features, owned), tile)
        return sums, link.whole(), kept

    def backward_all(
        self,
        image: Any,
        context: BackwardContext,
        tiles: Sequence[Tile],
        maps: Sequence[objectives.Targets],
        kept: Sequence[Sequence[SavedLayer] | None],
    ) -> spill.SpilledArray:
        """Returns the gradient with respect to the input of the segment."""
        gradient = spill.SpilledArray(image.shape, tf.as_dtype(image.dtype).as_numpy_dtype)
        for tile, part, aside in zip(tiles, maps, kept, strict=True):
            found = self._backward_tile(image, tile, _merged(context.shared, part), context, aside)
            rows, columns = tile.rows, tile.columns
            if found is not None:
                whole = gradient.mapped()
                whole[:, rows.start : rows.stop, columns.start : columns.stop] += found
        return gradient

    @abc.abstractmethod
    def _forward_tile(
        self,
        image: Any,
        tile: Tile,
        targets: objectives.Targets | None,
        save: Save | None,
    ) -> tuple[objectives.Targets, tf.Tensor | None, list[SavedLayer] | None]:
        """Returns a tile's statistics, its activations at the last layer, and its saved layers.

        Without targets the statistics are empty.
        """

    @abc.abstractmethod
    def _backward_tile(
        self,
        image: Any,
        tile: Tile,
        targets: objectives.Targets,
        context: BackwardContext,
        kept: Sequence[SavedLayer] | None,
    ) -> tf.Tensor | None:
        """Returns the gradient with respect to a tile of the segment's input, halo included.

        Returns None where neither a term nor a segment above has a gradient.
        """


class ModelSegment(TiledSegment):
    """A whole network, with TensorFlow's own gradients.

    The backward pass of a tile repeats its forward pass, and nothing is saved.
    """

    def __init__(self, objective: objectives.Objective, compiled: Compile) -> None:
        super().__init__(objective, compiled)
        self._terms = _LayerTerms(objective, objective.backbone, compiled)

    def reach(self) -> tuple[int, int]:
        """Returns the least common multiple of the layers' strides, and the largest halo."""
        backbone = self.objective.backbone
        reaches = [backbone.reach(name) for name in backbone.output]
        around = [self.objective.halo(term) for term in self.objective.terms]
        # The last position of a tile takes the weights of all pixels beyond.
        beyond = [stride + halo for stride, halo in reaches]
        return math.lcm(*(stride for stride, _ in reaches)), max([*beyond, *around])

    def _forward_tile(
        self,
        image: Any,
        tile: Tile,
        targets: objectives.Targets | None,
        save: Save | None,
    ) -> tuple[objectives.Targets, tf.Tensor | None, list[SavedLayer] | None]:
        del save
        found = self._terms.statistics(_shown(image, tile), targets or {}, _owned(tile))
        return found, None, None

    def _backward_tile(
        self,
        image: Any,
        tile: Tile,
        targets: objectives.Targets,
        context: BackwardContext,
        kept: Sequence[SavedLayer] | None,
    ) -> tf.Tensor | None:
        del kept
        return self._terms.slope(_shown(image, tile), targets, _owned(tile), context.slopes)


class WalkedSegment(TiledSegment):
    """A chain of `backbones.Layer`s, whose backward pass needs only their `switches`."""

    def __init__(self, objective: objectives.Objective, compiled: Compile) -> None:
        super().__init__(objective, compiled)
        backbone, looked_at = objective.backbone, {term.layer for term in objective.terms}
        layers = backbone.layers
        if not self._linked:  # Layers above the deepest term have no gradient.
            count = max(
                (i for i, each in enumerate(layers, 1) if each.name in looked_at), default=0
            )
            layers = layers[:count]
        self._names = [layer.name for layer in layers]
        self._forward = [compiled(functools.partial(_forward, layer)) for layer in layers]
        self._backward = [compiled(layer.backward) for layer in layers]
        self._layer_terms = {
            name: _LayerTerms(
                objective.at(name), functools.partial(_exposed, backbone, name), compiled
            )
            for name in looked_at
        }

    def _forward_tile(
        self,
        image: Any,
        tile: Tile,
        targets: objectives.Targets | None,
        save: Save | None,
    ) -> tuple[objectives.Targets, tf.Tensor | None, list[SavedLayer] | None]:
        def counted(name: str, features: tf.Tensor) -> objectives.Targets:
            terms = self._layer_terms.get(name)
            if terms is None or targets is None:
                return {}
            return terms.statistics(features, targets, _owned(tile))

        features, kept = _shown(image, tile), []
        sums = counted(backbones.IMAGE, features)
        for name, forward in zip(self._names, self._forward, strict=True):
            size = tf.shape(features)[1:3]
            features, switches = forward(features)
            sums.update(counted(name, features))
            if save:
                wanted = name in self._layer_terms and name not in self._first
                aside = save(features) if wanted else None
                kept.append(SavedLayer(size, [save(each) for each in switches], aside))
        return sums, features, kept if save else None

    def _backward_tile(
        self,
        image: Any,
        tile: Tile,
        targets: objectives.Targets,
        context: BackwardContext,
        kept: Sequence[SavedLayer] | None,
    ) -> tf.Tensor | None:
        if kept is None:
            kept = self._forward_tile(image, tile, None, in_memory)[2] or []

        def joined(name: str, gradient: Any, features: Callable[[], Any]) -> Any:
            """Adds the gradient of the terms at a layer, if there are any."""
            if name not in self._layer_terms:
                return gradient
            found = self._layer_terms[name].slope(features(), targets, _owned(tile), context.slopes)
            return found if gradient is None else gradient + found

        gradient = self._upstream(context, tile)
        for name, back, each in reversed(list(zip(self._names, self._backward, kept, strict=True))):
            again = functools.partial(self._again, name, image, tile)
            gradient = joined(name, gradient, each.features or again)
            if gradient is not None:
                gradient = back(gradient, [bits() for bits in each.switches], each.size)
        return joined(backbones.IMAGE, gradient, lambda: _shown(image, tile))

    def _upstream(self, context: BackwardContext, tile: Tile) -> tf.Tensor | None:
        """Returns the gradient with respect to a tile's last layer; None in the last segment."""
        if context.upstream is None:
            return None
        stride = self.link_stride
        size = [span.length // stride for span in (tile.rows, tile.columns)]
        part = _owned_part(context.upstream.mapped(), tile, stride)
        return objectives.placed(part, tf.constant(size), _owned(tile) // stride)

    @property
    def _first(self) -> list[str]:
        """The names of the layers up to the first convolution, in the segment of the picture.

        The first convolution has three input channels. Computing it again is faster than reading
        its activations from disk.
        """
        begins = backbones.IMAGE in self.objective.backbone.output
        return self._names[:2] if begins else []

    def _again(self, name: str, image: Any, tile: Tile) -> tf.Tensor:
        """Returns a tile's activations at one of the first layers."""
        features = _shown(image, tile)
        for forward in self._forward[: self._names.index(name) + 1]:
            features, _ = forward(features)
        return features


class _LayerTerms:
    """The terms at one layer, or at all of them.

    Args:
        objective: the objective of these terms.
        exposed: maps the activations to differentiate by to the activations at the terms' layers,
            by layer.
        compiled: turns a function into a graph.
    """

    def __init__(
        self,
        objective: objectives.Objective,
        exposed: Callable[[tf.Tensor], Mapping[str, tf.Tensor]],
        compiled: Compile,
    ) -> None:
        self._objective, self._exposed = objective, exposed
        self._statistics, self._slope = compiled(self._count), compiled(self._differentiate)

    def statistics(
        self, features: tf.Tensor, targets: objectives.Targets, owned: tf.Tensor
    ) -> objectives.Targets:
        """Returns the statistics of the terms."""
        return self._statistics(features, self._own(targets), owned)

    def slope(
        self,
        features: tf.Tensor,
        targets: objectives.Targets,
        owned: tf.Tensor,
        slopes: objectives.Targets,
    ) -> tf.Tensor:
        """Returns the gradient with respect to the activations.

        Args:
            features: the activations to differentiate by.
            targets: targets of all terms.
            owned: int32, top, bottom, left and right of the owned part of the tile.
            slopes: derivatives of the loss with respect to the statistics.
        """
        return self._slope(features, self._own(targets), owned, self._own(slopes))

    def _own(self, of_all: objectives.Targets) -> objectives.Targets:
        return {term.name: of_all.get(term.name, {}) for term in self._objective.terms}

    def _count(
        self, features: tf.Tensor, targets: objectives.Targets, owned: tf.Tensor
    ) -> objectives.Targets:
        return self._objective.statistics_of(self._exposed(features), targets, owned)

    def _differentiate(
        self,
        features: tf.Tensor,
        targets: objectives.Targets,
        owned: tf.Tensor,
        slopes: objectives.Targets,
    ) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(features)
            found = self._count(features, targets, owned)
        return tape.gradient(
            tf.nest.flatten(found),
            features,
            tf.nest.flatten(slopes),
            unconnected_gradients="zero",
        )


class _Link:
    """The activations at the end of a segment, assembled from its tiles."""

    def __init__(self, image: Any, stride: int) -> None:
        self._size = [length // stride for length in image.shape[1:3]]
        self._stride = stride
        self._whole: spill.SpilledArray | None = None

    def place(self, part: Any, tile: Tile) -> None:
        """Writes the owned positions of a tile."""
        if self._whole is None:
            shape = (1, *self._size, part.shape[-1])
            self._whole = spill.SpilledArray(shape, tf.as_dtype(part.dtype).as_numpy_dtype)
        _owned_part(self._whole.mapped(), tile, self._stride)[...] = part

    def whole(self) -> spill.SpilledArray | None:
        """Returns the assembled activations, or None for the last segment."""
        return self._whole


def _exposed(
    segment: backbones.Segment, layer: str, activations: tf.Tensor
) -> dict[str, tf.Tensor]:
    return {layer: segment.exposed(layer, activations)}


def _forward(layer: backbones.Layer, inputs: tf.Tensor) -> tuple[tf.Tensor, Sequence[tf.Tensor]]:
    outputs = layer(inputs)
    return outputs, layer.switches(inputs, outputs)


def in_memory(tensor: tf.Tensor) -> Callable[[], tf.Tensor]:
    """Keeps a tensor in memory."""
    return lambda: tensor


def on_disk(file: spill.SpillFile) -> Save:
    """Returns a function that saves tensors in a spill file."""

    def save(tensor: tf.Tensor) -> Callable[[], tf.Tensor]:
        get = file.put(tensor)
        return lambda: arrays.to_tensor(get())

    return save


def _shown(image: Any, tile: Tile) -> tf.Tensor:
    """Returns a tile with its halo, cut from an array or from an object with a method `part`."""
    rows, columns = (slice(span.start, span.stop) for span in (tile.rows, tile.columns))
    has_parts = hasattr(image, "part")
    return tf.convert_to_tensor(image.part(rows, columns) if has_parts else image[:, rows, columns])


def _owned(tile: Tile) -> tf.Tensor:
    return tf.constant(tile.owned, tf.int32)


def _owned_part(link: Any, tile: Tile, stride: int) -> Any:
    """Returns a view of the part of a whole layer that a tile owns."""
    rows, columns = tile.rows, tile.columns
    top, bottom = rows.first // stride, rows.last // stride
    return link[:, top:bottom, columns.first // stride : columns.last // stride]


def added(sums: Any, more: Any) -> Any:
    """Returns the sum of two equal nests of tensors; where `sums` is None, `more`."""
    return more if sums is None else tf.nest.map_structure(tf.add, sums, more)


def _merged(shared: objectives.Targets, part: objectives.Targets) -> objectives.Targets:
    return {name: {**target, **part.get(name, {})} for name, target in shared.items()}
