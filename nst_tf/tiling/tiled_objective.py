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
        tiles: for each segment of the network, the tiles of its input.
        maps: for each segment and each tile, the entries that have a value at every position.
            They grow with the picture, so they are in spill files.
    """

    shared: objectives.Targets
    tiles: Sequence[Sequence[Tile]]
    maps: Sequence[Sequence[objectives.Targets]]

    def merged(self, other: TiledTargets) -> TiledTargets:
        """Returns targets with the entries of both, which are in the same tiles."""
        maps = [_Merged(*both) for both in zip(self.maps, other.maps, strict=True)]
        return TiledTargets(objectives.merged(self.shared, other.shared), self.tiles, maps)


class _Merged(Sequence[objectives.Targets]):
    """Two sequences of targets whose entries are merged on access."""

    def __init__(
        self, one: Sequence[objectives.Targets], other: Sequence[objectives.Targets]
    ) -> None:
        self._one, self._other = one, other

    def __len__(self) -> int:
        return len(self._one)

    def __getitem__(self, index: Any) -> Any:
        return objectives.merged(self._one[index], self._other[index])


class TiledObjective:
    """Loss and gradient of a picture of any size, in the memory of one tile.

    The forward pass adds up the statistics of all tiles. The loss is a function of the sums. The
    backward pass propagates its derivatives through each tile, and adds up the gradients of the
    tile's pixels, halo included. Every position of every layer belongs to one tile, whose halo
    covers the receptive field of the position. So the result equals that of the whole picture, up
    to rounding.

    As the weights are fixed, the backward pass of a tile needs little: the activations at the
    layers of the terms, and one bit for every other value. They are saved in a spill file; without
    one the forward pass of the tile is repeated.

    Cuts divide the network into segments, each with tiles of its own. The activations at the end
    of a segment, its link, are the input of the next.

    In a network that is not `walked`, the backward pass of a tile repeats the forward pass, with
    TensorFlow's own gradients.

    Args:
        objective: the objective; its losses are functions of sums over positions.
        cuts: names of the layers, the lowest first, that each end a segment.
        keeps: save the inputs of the backward pass in a spill file; else the forward pass is
            repeated.
        run_eagerly: run without graphs, for debugging.

    Raises:
        ConfigError: the network takes no tiles, or cannot be cut.
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
        self._spill_files: list[spill.SpillFile] = []  # Left by evaluations, for the next ones.
        self._value = compiled(self._value_and_slopes)

    def cut(self, height: int, width: int, sides: Sequence[int]) -> list[list[Tile]]:
        """Returns the tiles of a picture for each segment of the network.

        Args:
            height: height of the picture, in pixels.
            width: width of the picture, in pixels.
            sides: for each segment, the side of its tiles' owned parts, in pixels of the picture;
                0 for a single tile.
        """
        found, scale = [], 1
        for segment, side in zip(self._segments, sides, strict=True):
            size = height // scale, width // scale
            stride, halo = segment.reach()
            side = -(-side // scale)
            found.append(split_into_tiles(*size, side, halo, stride))
            scale *= segment.link_stride
        return found

    def targets(
        self,
        image: Any,
        weights: tf.Tensor,
        tiles: Sequence[Sequence[Tile]],
        reference: str,
    ) -> TiledTargets:
        """Returns the targets that one reference picture supplies; see `Objective.targets`.

        Args:
            image: the reference picture, an array or a tensor, float32 of shape
                `(1, height, width, 3)`, sRGB in [0, 1].
            weights: weights of its pixels, as for `Objective.targets`.
            tiles: tiles of the picture, as `cut` returns them.
            reference: name of the reference.
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

    def cut_targets(
        self, targets: objectives.Targets, tiles: Sequence[Sequence[Tile]]
    ) -> TiledTargets:
        """Returns targets of `Objective.join`, cut into tiles."""
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
                        if entry in term.positional
                    }
                file.append(part)
            maps.append(file)
            for term in terms:
                shared[term.name] = {
                    entry: value
                    for entry, value in targets[term.name].items()
                    if entry not in term.positional
                }
        return TiledTargets(shared, tiles, maps)

    def value_and_gradient(self, image: Any, targets: TiledTargets) -> optimizers.Evaluation:
        """Returns the loss of a picture, its gradient, and its terms.

        The gradient is a NumPy array, since all that grows with the picture is on the host.

        Args:
            image: the picture, float32 of shape `(1, height, width, 3)`, sRGB in [0, 1]: an
                array, a tensor, or an object with the method `part` of `spill.SpilledArray`.
            targets: targets of the objective's terms.
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
        """Returns the result of `value_and_gradient`, given a function that saves tensors."""
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
        """Returns the loss, its weighted terms, and its derivatives with respect to the sums."""
        with tf.GradientTape() as tape:
            tape.watch(sums)
            loss, terms = self._objective.value(sums, shared, pixels)
        return loss, terms, tape.gradient(loss, sums, unconnected_gradients="zero")


def _owned_positions(tile: Tile, last: Tile, stride: int) -> tuple[slice, slice]:
    """Returns the rows and columns of a layer that a tile owns.

    A tile at the bottom or right edge of the picture owns all that follow.
    """

    def span(own: Span, end: Span) -> slice:
        return slice(own.first // stride, None if own.last == end.last else own.last // stride)

    return span(tile.rows, last.rows), span(tile.columns, last.columns)
