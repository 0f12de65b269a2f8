"""Tiles of a picture, each with a halo that covers the receptive fields of its activations."""

from __future__ import annotations

import dataclasses
import itertools
from typing import NamedTuple


class TilePlan(NamedTuple):
    """How a level is computed: whole or in tiles, and the network in one piece or in segments.

    Attributes:
        cuts: names of the layers, the lowest first, that each end one segment of the network.
        sides: for each segment, the side of its tiles' owned parts, in pixels of the picture; 0
            for a single tile.
        keeps: whether the inputs of the tiles' backward pass are saved in a spill file; else the
            forward pass is repeated.
        style_side: side of the tiles of a style picture, in its pixels at its size for the level;
            0 for a single tile. Style pictures go through the network in one piece.
    """

    cuts: tuple[str, ...] = ()
    sides: tuple[int, ...] = (0,)
    keeps: bool = True
    style_side: int = 0

    @property
    def tiled(self) -> bool:
        """Whether the level is not computed as a whole."""
        return self.sides != WHOLE.sides

    @property
    def of_styles(self) -> TilePlan:
        """The plan of the style pictures."""
        return TilePlan(sides=(self.style_side,), keeps=self.keeps)


WHOLE = TilePlan()
"""The plan with neither tiles nor cuts."""


@dataclasses.dataclass(frozen=True)
class Span:
    """One side of a tile, in pixels from the top or the left of the picture.

    Attributes:
        start: start of the tile, halo included.
        stop: end of the tile, halo included, exclusive.
        first: start of the owned part.
        last: end of the owned part, exclusive.
    """

    start: int
    stop: int
    first: int
    last: int

    @property
    def length(self) -> int:
        """Length in pixels, halo included."""
        return self.stop - self.start


@dataclasses.dataclass(frozen=True)
class Tile:
    """A rectangle of a picture with a halo. Exactly one tile owns each pixel.

    Attributes:
        rows: vertical span of the tile.
        columns: horizontal span of the tile.
    """

    rows: Span
    columns: Span

    @property
    def owned(self) -> tuple[int, int, int, int]:
        """Top, bottom, left and right of the owned part, from the corner of the halo."""
        rows, columns = self.rows, self.columns
        return (
            rows.first - rows.start,
            rows.last - rows.start,
            columns.first - columns.start,
            columns.last - columns.start,
        )


def split_into_tiles(height: int, width: int, side: int, halo: int, stride: int) -> list[Tile]:
    """Returns the tiles of a picture, row by row.

    All have the same height and width, halo included: oneDNN compiles code for each size of a
    tile, and keeps it.

    Args:
        height: height of the picture, in pixels.
        width: width of the picture, in pixels.
        side: largest side of a tile's owned part, in pixels, though at least `stride`; 0 for a
            single tile. The tiles of a picture are about equal.
        halo: pixels around its own that an activation depends on.
        stride: pixels between two positions of the deepest layer. Tiles begin at multiples of
            it, so that the positions of all layers align with those of the whole picture, and
            end at multiples of it from the end of the picture: the offset of TensorFlow's SAME
            padding depends on the input length modulo the stride.
    """
    both = (spans(length, side, halo, stride) for length in (height, width))
    return [Tile(rows, columns) for rows, columns in itertools.product(*both)]


def spans(length: int, side: int, halo: int, stride: int) -> list[Span]:
    """Returns the spans of one side of a picture; the arguments are those of `split_into_tiles`."""
    steps, halo = -(-length // stride), -(-halo // stride) * stride
    count = -(-steps // max(1, side // stride)) if 0 < side < length else 1
    side = -(-steps // count) * stride
    owned = [(first, min(length, first + side)) for first in range(0, length, side)]
    shown = max(min(length, last + halo) - max(0, first - halo) for first, last in owned)
    shown += (length - shown) % stride
    starts = [min(max(0, first - halo), length - shown) for first, _ in owned]
    return [Span(start, start + shown, *each) for start, each in zip(starts, owned, strict=True)]
