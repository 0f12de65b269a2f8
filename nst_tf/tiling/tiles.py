"""Tiles of a picture, each with as much around it as its activations depend on."""

from __future__ import annotations

import dataclasses
import itertools
from typing import NamedTuple


class TilePlan(NamedTuple):
    """How a level is computed: whole or in tiles, and the network in one piece or in segments.

    Attributes:
        cuts: names of the layers, the lowest first, that each end one segment of the network.
        sides: of the tiles of each segment, in pixels of the picture; 0 for a single tile.
        keeps: whether what the backward pass of tiles needs is saved in a spill file; else the
            forward pass is repeated.
        style_side: of the tiles that a painting is measured in, all of the network at once, in
            pixels of it at its size for the level; 0 for a single tile.
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
        """How a painting is measured."""
        return TilePlan(sides=(self.style_side,), keeps=self.keeps)


WHOLE = TilePlan()
"""All of the picture and all of the network at once."""


@dataclasses.dataclass(frozen=True)
class Span:
    """One side of a tile, in pixels from the top or the left of the picture.

    Attributes:
        start: of what is shown to the network.
        stop: of the same.
        first: of the part that the tile owns.
        last: the end of that part, exclusive.
    """

    start: int
    stop: int
    first: int
    last: int

    @property
    def length(self) -> int:
        """Pixels that are shown."""
        return self.stop - self.start


@dataclasses.dataclass(frozen=True)
class Tile:
    """A rectangle of a picture; every pixel has one tile that owns it.

    Attributes:
        rows: its side from the top to the bottom.
        columns: its side from the left to the right.
    """

    rows: Span
    columns: Span

    @property
    def owned(self) -> tuple[int, int, int, int]:
        """Top, bottom, left and right of the owned part, from the corner of what is shown."""
        rows, columns = self.rows, self.columns
        return (
            rows.first - rows.start,
            rows.last - rows.start,
            columns.first - columns.start,
            columns.last - columns.start,
        )


def split_into_tiles(
    height: int, width: int, side: int, halo: int, stride: int, *, to_end: bool = False
) -> list[Tile]:
    """Returns the tiles of a picture, row by row.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        side: of the owned part of a tile, in pixels, at most, but at least `stride`; 0 for a
            single tile. The tiles of a picture are about equal.
        halo: pixels around its own that an activation depends on.
        stride: pixels between two positions of the deepest layer. Tiles begin at multiples of
            it, so that the positions of all layers fall into place.
        to_end: what a tile shows also ends at multiples of `stride` from the end of the picture.
            TensorFlow's padding SAME begins by the length of the inputs modulo the stride, so this
            gives a tile the padding of the picture.
    """
    both = (spans(length, side, halo, stride, to_end=to_end) for length in (height, width))
    return [Tile(rows, columns) for rows, columns in itertools.product(*both)]


def spans(length: int, side: int, halo: int, stride: int, *, to_end: bool = False) -> list[Span]:
    """Returns the spans of one side of a picture; the arguments are those of `split_into_tiles`."""
    steps, halo = -(-length // stride), -(-halo // stride) * stride
    count = -(-steps // max(1, side // stride)) if 0 < side < length else 1
    side = -(-steps // count) * stride

    def stop(last: int) -> int:
        beyond = max(0, length - last - halo)  # What is not shown.
        return length - (beyond // stride * stride if to_end else beyond)

    return [
        Span(max(0, first - halo), stop(last), first, last)
        for first in range(0, length, side)
        for last in [min(length, first + side)]
    ]
