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
from nst_tf.tiling.tiles import Span, Tile, split_into_tiles


@dataclasses.dataclass(frozen=True)
class TiledTargets:
    """The targets of a picture in tiles.

    Attributes:
        shared: entries that hold for the whole picture.
        tiles: of the picture, and of the layer that each further segment begins with.
        maps: likewise, for each tile, the entries that have a value at every position. They grow
            with the picture, so they lie in spill files.
    """

    shared: objectives.Targets
    tiles: Sequence[Sequence[Tile]]
    maps: Sequence[Sequence[objectives.Targets]]

    def merged(self, other: TiledTargets) -> TiledTargets:
        """Returns the entries of both, which are in the same tiles."""
        maps = [_Merged(*both) for both in zip(self.maps, other.maps, strict=True)]
        return TiledTargets(objectives.merged(self.shared, other.shared), self.tiles, maps)

    def replaced(self, other: TiledTargets) -> TiledTargets:
        """Returns targets in which those of the terms that the other has take their place."""
        maps = [_Replaced(*both) for both in zip(self.maps, other.maps, strict=True)]
        return TiledTargets({**self.shared, **other.shared}, self.tiles, maps)


class _Merged(Sequence[objectives.Targets]):
    """The entries of two sequences of targets, put together where they are read."""

    def __init__(
        self, one: Sequence[objectives.Targets], other: Sequence[objectives.Targets]
    ) -> None:
        self._one, self._other = one, other

    def __len__(self) -> int:
        return len(self._one)

    def __getitem__(self, index: Any) -> Any:
        return objectives.merged(self._one[index], self._other[index])


class _Replaced(_Merged):
    """The targets of two sequences, of which the context's take the place of the first's."""

    def __getitem__(self, index: Any) -> Any:
        return {**self._one[index], **self._other[index]}


class TiledObjective:
    """Loss and gradient of a picture of any size, in the memory that one tile takes.

    The forward pass adds up the statistics of all tiles. The loss is a function of the sums. The
    backward pass takes its derivatives through each tile, and adds up the gradients of all pixels
    that the tile shows. Every position of every layer belongs to one tile, which shows all pixels
    that the position depends on, so the result is that of the whole picture, to rounding.

    As the weights are fixed, the backward pass of a tile needs little: the activations that the
    losses look at, and one bit for every other value. They are saved in a spill file; without one
    the forward pass of the tile is repeated.

    With cuts, the network is parted into segments, each with tiles of its own. The activations at
    the end of a segment, its link, are the input of the next.

    Of a network that is not `walked` the backward pass of a tile repeats the forward pass, with
    TensorFlow's own gradients.

    Args:
        objective: what is minimised; its losses are functions of sums over positions.
        cuts: names of the layers, the lowest first, that each end a segment.
        keeps: save what the backward pass needs; else the forward pass is repeated.
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
        self._segments = [
            segments.tiled_segment(part, compiled) for part in objective.segments(cuts)
        ]
        self._keeps = keeps
        self._spill_files: list[spill.SpillFile] = []  # Of evaluations that have ended.
        self._value = compiled(self._value_and_slopes)

    def cut(self, height: int, width: int, sides: Sequence[int]) -> list[list[Tile]]:
        """Returns the tiles of a picture for each segment of the network.

        Args:
            height: of the picture, in pixels.
            width: of the picture, in pixels.
            sides: of the tiles of each segment, in pixels of the picture; 0 for a single tile.
        """
        found, scale = [], 1
        for segment, side in zip(self._segments, sides, strict=True):
            size = height // scale, width // scale
            stride, halo = segment.reach()
            side = -(-side // scale)
            found.append(split_into_tiles(*size, side, halo, stride, to_end=segment.to_end))
            scale *= segment.link_stride
        return found

    def targets(
        self,
        image: Any,
        weights: tf.Tensor,
        tiles: Sequence[Sequence[Tile]],
        reference: str,
    ) -> TiledTargets:
        """Returns the targets that one reference picture asks for; see `Objective.targets`.

        Args:
            image: float32 of shape `(1, height, width, 3)`, sRGB in [0, 1]: an array or a tensor.
            weights: of its pixels, `(1, height, width, regions)`, or `(1, 1, 1, 1)` for all alike.
            tiles: what `cut` returned for the picture.
            reference: its name.
        """
        sums: Any = {}
        maps = []
        for segment, cut in zip(self._segments, tiles, strict=True):
            found, parts, image = segment.measure_all(image, weights, cut, reference)
            if weights.shape[1] > 1:
                weights = objectives.pooled(weights, segment.link_stride)
            sums.update(found)
            maps.append(parts)
        return TiledTargets(self._objective.summary(sums), tiles, maps)

    def view(self, targets: TiledTargets) -> objectives.Targets:
        """Returns what `Objective.join` takes of a reference, put together in files."""
        found: objectives.Targets = {}
        for segment, tiles, maps in zip(self._segments, targets.tiles, targets.maps, strict=True):
            names = [term.name for term in segment.objective.terms if term.loss.joint]
            last = maps[len(maps) - 1] if names else {}
            planes = {
                name: {
                    entry: _plane(part, tiles[-1], segment.stride_of(name))
                    for entry, part in last.get(name, {}).items()
                }
                for name in names
            }
            for tile, part in zip(tiles, maps if names else (), strict=bool(names)):
                for name in names:
                    stride = segment.stride_of(name)
                    for entry, plane in planes[name].items():
                        values = part[name][entry]
                        rows, columns = _positions(tile, stride, values.shape[1:3])
                        plane.mapped()[:, rows, columns] = values
            for name in names:
                found[name] = {entry: plane.mapped() for entry, plane in planes[name].items()}
        return found

    def cut_targets(
        self, targets: objectives.Targets, tiles: Sequence[Sequence[Tile]]
    ) -> TiledTargets:
        """Returns the targets that `Objective.join` returned, in tiles."""
        shared: objectives.Targets = {}
        maps = []
        for segment, cut in zip(self._segments, tiles, strict=True):
            terms = [term for term in segment.objective.terms if term.name in targets]
            file = spill.SpillFile()
            for tile in cut:
                part: objectives.Targets = {}
                for term in terms:
                    stride = segment.stride_of(term.name)
                    rows, columns = _owned_positions(tile, cut[-1], stride)
                    part[term.name] = {
                        entry: value[:, rows, columns]
                        for entry, value in targets[term.name].items()
                        if entry in (*term.loss.positional, "weights")
                    }
                file.append(part)
            maps.append(file)
            for term in terms:
                shared[term.name] = {
                    entry: value
                    for entry, value in targets[term.name].items()
                    if entry not in (*term.loss.positional, "weights")
                }
        return TiledTargets(shared, tiles, maps)

    def value_and_gradient(self, image: Any, targets: TiledTargets) -> optimizers.Evaluation:
        """Returns the loss of a picture, its gradient, and its terms.

        What grows with the picture is kept on the host: the gradient is a NumPy array.

        Args:
            image: float32 of shape `(1, height, width, 3)`, sRGB in [0, 1]: an array or a tensor.
            targets: of the objective's terms.
        """
        if not self._keeps:
            return self._evaluate(image, targets, None)
        try:  # Each evaluation has a spill file of its own.
            file = self._spill_files.pop()
        except IndexError:
            file = spill.SpillFile()
        try:
            return self._evaluate(image, targets, segments.on_disk(file))
        finally:
            file.clear()
            self._spill_files.append(file)

    def _evaluate(
        self, image: Any, targets: TiledTargets, put: segments.Save | None
    ) -> optimizers.Evaluation:
        """Returns what `value_and_gradient` does, given a function that saves tensors."""
        shared, pixels = targets.shared, tf.constant(image.shape[1] * image.shape[2])
        segments_ = list(zip(self._segments, targets.tiles, targets.maps, strict=True))
        inputs, kept = [image], []
        sums: objectives.Targets = {}
        for segment, tiles, maps in segments_:
            at_once = segment is self._segments[-1] and len(tiles) == 1
            aside = put or (segments.in_memory if at_once else None)
            found, link, parts = segment.forward_all(inputs[-1], shared, tiles, maps, aside)
            sums.update(found)
            inputs.append(link)
            kept.append(parts)
        inputs.pop()
        loss, terms, slopes = self._value(sums, shared, pixels)
        gradient: Any = None
        for segment, tiles, maps in reversed(segments_):
            context = segments.BackwardContext(shared, slopes, gradient)
            gradient = segment.backward_all(inputs.pop(), context, tiles, maps, kept.pop())
        return optimizers.Evaluation(loss, gradient.mapped(), terms)

    def _value_and_slopes(
        self, sums: Any, shared: objectives.Targets, pixels: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], Any]:
        """Returns the loss, its terms, and its derivatives with respect to the sums."""
        with tf.GradientTape() as tape:
            tape.watch(sums)
            loss, terms = self._objective.value(sums, shared, pixels)
        return loss, terms, tape.gradient(loss, sums, unconnected_gradients="zero")


def _plane(last: Any, tile: Tile, stride: int) -> spill.SpilledArray:
    """Returns a map of a layer without values, given that of the last tile."""
    rows, columns = _positions(tile, stride, last.shape[1:3])
    return spill.SpilledArray((1, rows.stop, columns.stop, *last.shape[3:]), last.dtype)


def _positions(tile: Tile, stride: int, size: Sequence[int]) -> tuple[slice, slice]:
    """Returns the rows and columns of a layer that a tile owns, given how many there are."""
    top, left = tile.rows.first // stride, tile.columns.first // stride
    return slice(top, top + size[0]), slice(left, left + size[1])


def _owned_positions(tile: Tile, last: Tile, stride: int) -> tuple[slice, slice]:
    """Returns the rows and columns of a layer that a tile owns, the last one all that are left."""

    def span(own: Span, end: Span) -> slice:
        return slice(own.first // stride, None if own.last == end.last else own.last // stride)

    return span(tile.rows, last.rows), span(tile.columns, last.columns)
