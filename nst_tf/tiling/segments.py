"""One way forth and back through a section of the network, tile by tile."""

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
from nst_tf.tiling import tiles as tile_plans

Compile = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Makes a graph of a function of tensors, for pictures of any size."""

Put = Callable[[tf.Tensor], Callable[[], Any]]
"""Puts a tensor aside, and returns what gets it back."""


@dataclasses.dataclass(frozen=True)
class Second:
    """What the way back through a section takes with it.

    Attributes:
        shared: what the whole picture is held against.
        slopes: derivatives of the loss with respect to the sums of all statistics.
        upstream: its gradient with respect to what the section hands on, if it does.
    """

    shared: objectives.Targets
    slopes: objectives.Targets
    upstream: spill.Plane | None


class Kept(NamedTuple):
    """What the way back through a layer needs, of one tile.

    Attributes:
        size: height and width of the layer's inputs.
        switches: return those of the layer.
        features: returns its activations, where a term looks at them.
    """

    size: tf.Tensor
    switches: Sequence[Callable[[], Any]]
    features: Callable[[], Any] | None


def section(objective: objectives.Objective, compiled: Compile) -> Section:
    """Returns the section of the network that an objective looks at, with its terms."""
    if isinstance(objective.backbone, backbones.Section):
        return WalkedSection(objective, compiled)
    return ModelSection(objective, compiled)


class Section(abc.ABC):
    """A section of the network with its terms, gone through tile by tile.

    Attributes:
        to_end: as of `tiles.cut`.
    """

    to_end = False

    def __init__(self, objective: objectives.Objective, compiled: Compile) -> None:
        self.objective = objective

        @functools.cache
        def measure_of(reference: str) -> Callable[..., Any]:
            return compiled(functools.partial(objective.measure, reference=reference))

        self._measure_of = measure_of

    @property
    def link_stride(self) -> int:
        """Positions of the input to one of what is handed on."""
        return self.objective.backbone.reach(backbones.LINK)[0] if self._linked else 1

    def stride_of(self, term: str) -> int:
        """Returns the positions of the section's input to one of the layer of a term."""
        (layer,) = (each.layer for each in self.objective.terms if each.name == term)
        return self.objective.backbone.reach(layer)[0]

    @property
    def _linked(self) -> bool:
        return backbones.LINK in self.objective.backbone.output

    def reach(self) -> tuple[int, int]:
        """Returns the largest stride and halo of the layers that are looked at."""
        backbone = self.objective.backbone
        strides, halos = zip(*(backbone.reach(name) for name in backbone.output), strict=True)
        around = [self.objective.halo(term) for term in self.objective.terms]
        # A last position has the weights of what poolings leave over beside it.
        return max(strides), max([*halos, *around, max(strides) - 1])

    def measure_all(
        self, image: Any, weights: tf.Tensor, tiles: Sequence[tile_plans.Tile], reference: str
    ) -> tuple[objectives.Targets, Sequence[objectives.Targets], Any]:
        """Returns what all tiles measure: their sum, a map for each, and what they hand on."""
        sums: Any = None
        maps, link = spill.Shelf(), _Link(image, self.link_stride)
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

    def forth_all(
        self,
        image: Any,
        shared: objectives.Targets,
        tiles: Sequence[tile_plans.Tile],
        maps: Sequence[objectives.Targets],
        put: Put | None,
    ) -> tuple[objectives.Targets, Any, Sequence[Sequence[Kept] | None]]:
        """Returns the statistics of all tiles, added up, what they hand on, and what is kept."""
        sums: Any = None
        link, kept = _Link(image, self.link_stride), []
        for tile, part in zip(tiles, maps, strict=True):
            wanted = _merged(shared, part)
            try:
                found, features, aside = self._forth_tile(image, tile, wanted, put)
            except OSError:  # The disk is full, so what comes next is computed a second time.
                put = None
                found, features, aside = self._forth_tile(image, tile, wanted, put)
            sums = added(sums, found)
            kept.append(aside)
            if self._linked:
                owned = _owned(tile) // self.link_stride
                link.place(objectives.part(features, owned), tile)
        return sums, link.whole(), kept

    def back_all(
        self,
        image: Any,
        second: Second,
        tiles: Sequence[tile_plans.Tile],
        maps: Sequence[objectives.Targets],
        kept: Sequence[Sequence[Kept] | None],
    ) -> spill.Plane:
        """Returns the gradient with respect to the input of the section."""
        gradient = spill.Plane(image.shape, tf.as_dtype(image.dtype).as_numpy_dtype)
        for tile, part, aside in zip(tiles, maps, kept, strict=True):
            found = self._back_tile(image, tile, _merged(second.shared, part), second, aside)
            rows, columns = tile.rows, tile.columns
            if found is not None:
                whole = gradient.mapped()
                whole[:, rows.start : rows.stop, columns.start : columns.stop] += found
        return gradient

    @abc.abstractmethod
    def _forth_tile(
        self,
        image: Any,
        tile: tile_plans.Tile,
        targets: objectives.Targets | None,
        put: Put | None,
    ) -> tuple[objectives.Targets, tf.Tensor | None, list[Kept] | None]:
        """Returns a tile's statistics, its activations at the last layer, and what is kept.

        Without targets there are no statistics.
        """

    @abc.abstractmethod
    def _back_tile(
        self,
        image: Any,
        tile: tile_plans.Tile,
        targets: objectives.Targets,
        second: Second,
        kept: Sequence[Kept] | None,
    ) -> tf.Tensor | None:
        """Returns the gradient with respect to what a tile shows; None if no term looks."""


class ModelSection(Section):
    """All of a network, whose gradient is TensorFlow's own.

    The way back of a tile goes forth through the tile once more, and keeps nothing before.
    """

    to_end = True

    def __init__(self, objective: objectives.Objective, compiled: Compile) -> None:
        super().__init__(objective, compiled)
        self._look = _Look(objective, objective.backbone, compiled)

    def reach(self) -> tuple[int, int]:
        """Returns the stride that all layers fit into, and the largest halo."""
        backbone = self.objective.backbone
        reaches = [backbone.reach(name) for name in backbone.output]
        around = [self.objective.halo(term) for term in self.objective.terms]
        # The last position that a tile shows stands for all pixels beyond.
        beyond = [stride + halo for stride, halo in reaches]
        return math.lcm(*(stride for stride, _ in reaches)), max([*beyond, *around])

    def _forth_tile(
        self,
        image: Any,
        tile: tile_plans.Tile,
        targets: objectives.Targets | None,
        put: Put | None,
    ) -> tuple[objectives.Targets, tf.Tensor | None, list[Kept] | None]:
        del put
        found = self._look.statistics(_shown(image, tile), targets or {}, _owned(tile))
        return found, None, None

    def _back_tile(
        self,
        image: Any,
        tile: tile_plans.Tile,
        targets: objectives.Targets,
        second: Second,
        kept: Sequence[Kept] | None,
    ) -> tf.Tensor | None:
        del kept
        return self._look.slope(_shown(image, tile), targets, _owned(tile), second.slopes)


class WalkedSection(Section):
    """A section that is gone through layer by layer, by the `switches` of each."""

    def __init__(self, objective: objectives.Objective, compiled: Compile) -> None:
        super().__init__(objective, compiled)
        backbone, looked_at = objective.backbone, {term.layer for term in objective.terms}
        layers = backbone.layers
        if not self._linked:  # Nothing is to be had from what is above the deepest term.
            count = max(
                (i for i, each in enumerate(layers, 1) if each.name in looked_at), default=0
            )
            layers = layers[:count]
        self._names = [layer.name for layer in layers]
        self._forth = [compiled(functools.partial(_forth, layer)) for layer in layers]
        self._back = [compiled(layer.pull_back) for layer in layers]
        self._looks = {
            name: _Look(objective.at(name), functools.partial(_exposed, backbone, name), compiled)
            for name in looked_at
        }

    def _forth_tile(
        self,
        image: Any,
        tile: tile_plans.Tile,
        targets: objectives.Targets | None,
        put: Put | None,
    ) -> tuple[objectives.Targets, tf.Tensor | None, list[Kept] | None]:
        def counted(name: str, features: tf.Tensor) -> objectives.Targets:
            look = self._looks.get(name)
            if look is None or targets is None:
                return {}
            return look.statistics(features, targets, _owned(tile))

        features, kept = _shown(image, tile), []
        sums = counted(backbones.IMAGE, features)
        for name, forth in zip(self._names, self._forth, strict=True):
            size = tf.shape(features)[1:3]
            features, switches = forth(features)
            sums.update(counted(name, features))
            if put:
                wanted = name in self._looks and name not in self._first
                aside = put(features) if wanted else None
                kept.append(Kept(size, [put(each) for each in switches], aside))
        return sums, features, kept if put else None

    def _back_tile(
        self,
        image: Any,
        tile: tile_plans.Tile,
        targets: objectives.Targets,
        second: Second,
        kept: Sequence[Kept] | None,
    ) -> tf.Tensor | None:
        if kept is None:
            kept = self._forth_tile(image, tile, None, in_memory)[2] or []

        def joined(name: str, gradient: Any, features: Callable[[], Any]) -> Any:
            """Adds what the terms that look at a layer, if there are any, have to say."""
            if name not in self._looks:
                return gradient
            found = self._looks[name].slope(features(), targets, _owned(tile), second.slopes)
            return found if gradient is None else gradient + found

        gradient = self._upstream(second, tile)
        for name, back, each in reversed(list(zip(self._names, self._back, kept, strict=True))):
            again = functools.partial(self._again, name, image, tile)
            gradient = joined(name, gradient, each.features or again)
            if gradient is not None:
                gradient = back(gradient, [bits() for bits in each.switches], each.size)
        return joined(backbones.IMAGE, gradient, lambda: _shown(image, tile))

    def _upstream(self, second: Second, tile: tile_plans.Tile) -> tf.Tensor | None:
        """Returns the gradient with respect to a tile's last layer, if it is handed on."""
        if second.upstream is None:
            return None
        stride = self.link_stride
        size = [span.length // stride for span in (tile.rows, tile.columns)]
        part = _owned_part(second.upstream.mapped(), tile, stride)
        return objectives.placed(part, tf.constant(size), _owned(tile) // stride)

    @property
    def _first(self) -> list[str]:
        """The layers up to the first convolution, if the section begins with the picture.

        With three channels to look at, it is sooner computed again than read.
        """
        begins = backbones.IMAGE in self.objective.backbone.output
        return self._names[:2] if begins else []

    def _again(self, name: str, image: Any, tile: tile_plans.Tile) -> tf.Tensor:
        """Returns a tile's activations at one of the first layers."""
        features = _shown(image, tile)
        for forth in self._forth[: self._names.index(name) + 1]:
            features, _ = forth(features)
        return features


class _Look:
    """The terms that look at one layer, or at all of them.

    Args:
        objective: of these terms.
        exposed: returns the activations that they look at, by layer, given those that the
            gradient is with respect to.
        compiled: makes a graph of a function.
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
        """Returns the gradient with respect to the activations, given those of the statistics."""
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
    """Puts together what the tiles of a section hand on to the next one."""

    def __init__(self, image: Any, stride: int) -> None:
        self._size = [length // stride for length in image.shape[1:3]]
        self._stride = stride
        self._whole: spill.Plane | None = None

    def place(self, part: Any, tile: tile_plans.Tile) -> None:
        """Puts what a tile owns in its place."""
        if self._whole is None:
            shape = (1, *self._size, part.shape[-1])
            self._whole = spill.Plane(shape, tf.as_dtype(part.dtype).as_numpy_dtype)
        _owned_part(self._whole.mapped(), tile, self._stride)[...] = part

    def whole(self) -> spill.Plane | None:
        """Returns all of it, or None where nothing was handed on."""
        return self._whole


def _exposed(
    section: backbones.Section, layer: str, activations: tf.Tensor
) -> dict[str, tf.Tensor]:
    return {layer: section.exposed(layer, activations)}


def _forth(layer: backbones.Layer, inputs: tf.Tensor) -> tuple[tf.Tensor, Sequence[tf.Tensor]]:
    outputs = layer(inputs)
    return outputs, layer.switches(inputs, outputs)


def in_memory(tensor: tf.Tensor) -> Callable[[], tf.Tensor]:
    """Puts a tensor aside, but not far."""
    return lambda: tensor


def on_disk(file: spill.Shelf) -> Put:
    """Returns what puts tensors of the host aside in a file."""

    def put(tensor: tf.Tensor) -> Callable[[], tf.Tensor]:
        get = file.put(tensor)
        return lambda: arrays.to_tensor(get())

    return put


def _shown(image: Any, tile: tile_plans.Tile) -> tf.Tensor:
    """Returns what a tile shows of a picture or a layer: an array, or what gives parts."""
    rows, columns = (slice(span.start, span.stop) for span in (tile.rows, tile.columns))
    has_parts = hasattr(image, "part")
    return tf.convert_to_tensor(image.part(rows, columns) if has_parts else image[:, rows, columns])


def _owned(tile: tile_plans.Tile) -> tf.Tensor:
    return tf.constant(tile.owned, tf.int32)


def _owned_part(link: Any, tile: tile_plans.Tile, stride: int) -> Any:
    """Returns the part of a layer that a tile owns, of a layer that is kept as a whole."""
    rows, columns = tile.rows, tile.columns
    top, bottom = rows.first // stride, rows.last // stride
    return link[:, top:bottom, columns.first // stride : columns.last // stride]


def added(sums: Any, more: Any) -> Any:
    """Returns the sums of nested tensors and more of their kind, or these where there are none."""
    return more if sums is None else tf.nest.map_structure(tf.add, sums, more)


def _merged(shared: objectives.Targets, part: objectives.Targets) -> objectives.Targets:
    return {name: {**target, **part.get(name, {})} for name, target in shared.items()}
