"""Neighbour matching, a style loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf import errors
from nst_tf.kernels import arrays, autodiff, nearest
from nst_tf.losses.loss import (
    CONTENT,
    START,
    STYLE,
    Activations,
    Loss,
    Patch,
    Reference,
    Statistics,
    position_count,
)

LAYERS = (
    "block1_conv1",
    "block1_conv2",
    "block2_conv1",
    "block2_conv2",
    "block3_conv1",
    "block3_conv2",
    "block3_conv3",
    "block4_conv1",
    "block4_conv2",
    "block4_conv3",
)
TURNS = {"upright": range(1), "turned": range(4), "mirrored": range(8)}
CELL = 4  # Side of a cell in pixels.
_ROUNDS = 4  # Searches of a match with even use.
FEW = 1 << 15
"""Most cells of a picture whose columns stay in memory between searches."""
ALLOWED = 0.5  # Least weight of the cells of a style that may be used.


class Neighbours(Loss):
    """Angle between each activation and that of the most similar place of the style.

    ```
    column of a cell = activations of all layers / channels of the layer, at a cell of 4x4 pixels
    query = (1 - share) content + share start
    match of a cell = style cell of the largest cosine to the column of the query's cell,
                      the mean over all cells taken off both
    loss = mean over positions of 1 - cosine(features, features of the style at the match)
    ```

    The match and the loss are those of Kolkin, Kucera, Paris, Sykora, Shechtman and
    Shakhnarovich (2022), "Neural Neighbor Style Transfer", sections 3.1 to 3.3. The matches of a
    level are fixed, so the loss is a sum over positions. It differs from theirs in the target: each
    layer has its own, at its own resolution, copied from the matched cell. A cell has 4x4
    positions of a layer as large as the picture, all from one place of the style.

    Args:
        normalization: `relative`, the formula above, which has no units.
        layers: names of the layers.
        share: share of the picture at the start of the level in the query, 0 to 1. Before the
            first step of a run the query is the content.
        orientations: `upright` for the style as it is; `turned` for its quarter turns, too;
            `mirrored` for their mirror images, too.
        most_places: most cells of all styles and orientations together to choose from. A random
            sample, always the same, stands for more.
        evenness: penalty on the cosine of a cell that is used more often than the average; 0 for
            none.

    Raises:
        ConfigError: an argument is out of range.
    """

    references = (CONTENT, STYLE, START)
    positional = ("places",)
    of_the_target = ("share",)
    knobs: ClassVar[Mapping[str, str]] = {
        "layers": "matched_layers",
        "share": "match_share",
        "orientations": "match_orientations",
        "most_places": "match_places",
        "evenness": "match_evenness",
    }

    def __init__(
        self,
        normalization: str = "relative",
        *,
        layers: Sequence[str] = LAYERS,
        share: float = 0.5,
        orientations: str = "turned",
        most_places: int = 16384,
        evenness: float = 0.0,
    ) -> None:
        super().__init__(normalization)
        self.orientations = errors.known("orientations", orientations, TURNS)
        if not (0 <= share <= 1 and most_places >= 1 and evenness >= 0):
            raise errors.ConfigError(
                f"share is {share}, most_places {most_places} and evenness {evenness}; expected a "
                "share from 0 to 1, a place or more, and an evenness of 0 or above."
            )
        self.layers = tuple(layers)
        self.share = share
        self.most_places = most_places
        self.evenness = evenness

    def joint_target(
        self, references: Mapping[str, Sequence[Reference]]
    ) -> Mapping[str, Statistics]:
        (content,), (start,) = references[CONTENT], references[START]
        if not all(content.activations.strides.values()):
            raise errors.ConfigError(
                "neighbours matches places, and the positions of "
                f"{', '.join(content.activations.layers)} in a picture are unknown. Name layers "
                "below those that look at the whole picture."
            )
        palette = _Palette(references[STYLE], TURNS[self.orientations], self.most_places)
        query = start.picture - content.picture
        query *= np.float32(self.share * start.share)
        query += content.picture
        inside = cell_weights(content.pixel_weights) > 0
        sought = _Columns(content.activations, query, inside)
        matches = self._matches(sought, palette)
        chosen, places = np.unique(matches, return_inverse=True)
        tables = {layer: _table(each) for layer, each in self._rows(palette, chosen).items()}
        cells = np.zeros(inside.shape, np.int64)
        cells[inside] = places.reshape(-1)
        sizes = content.activations.sizes(*query.shape[:2])
        return {
            layer: {
                "places": rows_of(cells, sizes[layer], stride),
                "table": tables[layer],
            }
            for layer, stride in content.activations.strides.items()
        }

    def _matches(self, sought: _Columns, palette: _Palette) -> np.ndarray:
        """Returns the number of the match of each cell inside, in their order."""
        return self._searched(sought, palette, sought.inside)

    def _searched(self, sought: _Columns, palette: _Palette, wanted: np.ndarray) -> np.ndarray:
        """Returns the number of the match of each wanted cell, in their order."""
        count = int(wanted.sum())
        choices = self._choices(palette, len(sought))
        mean = sought.mean()
        penalties: np.ndarray | None = None
        prices = np.zeros(len(palette))
        found: list[np.ndarray] = []
        for _ in range(_ROUNDS if self.evenness else 1):
            found.append(sought.nearest(choices, mean, penalties, wanted))
            uses = np.bincount(found[-1], minlength=len(prices))
            # The prices of the rounds add up, as in an auction.
            prices += uses * len(uses) / max(1, count) / _ROUNDS
            penalties = (self.evenness * prices).astype(np.float32)
        return min(found, key=lambda each: int(np.square(np.bincount(each)).sum()))

    def _choices(self, palette: _Palette, searches: int) -> nearest.Choices:
        """Returns the columns of a palette, to be searched for about so many others."""
        return nearest.Choices(palette.columns(), searches)

    def _rows(self, palette: _Palette, chosen: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the activations at chosen cells, as `_Palette.rows`."""
        return palette.rows(chosen)

    def statistics(self, features: tf.Tensor, weights: tf.Tensor, target: Statistics) -> Statistics:
        places = tf.cast(target["places"][..., 0], tf.int32)
        return {
            "error": tf.reduce_sum(weights * (1 - _cosines(features, target["table"], places))),
            "positions": position_count(features, weights),
        }

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        del target
        return tf.math.divide_no_nan(statistics["error"], statistics["positions"])


@autodiff.custom_gradient
def _cosines(
    features: tf.Tensor, table: tf.Tensor, places: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Returns the cosine of features and rows of a table, `(1, height, width, 1)`.

    Args:
        features: `(1, height, width, channels)`.
        table: `(1, 1, rows, channels)`, of length 1.
        places: number of a row for each position, int32, `(1, height, width)`.
    """
    rows = table[0, 0]
    squares = tf.reduce_sum(tf.square(features), axis=-1, keepdims=True)
    inverse = tf.math.rsqrt(tf.maximum(squares, nearest.TINY))
    products = tf.reduce_sum(features * tf.gather(rows, places), axis=-1, keepdims=True)
    cosines = inverse * products

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        # The rows are gathered again: they take as much memory as the layer.
        scale = upstream * inverse
        return scale * tf.gather(rows, places) - (scale * inverse * cosines) * features

    return cosines, gradient


class _Columns:
    """The columns of the cells of a picture.

    Args:
        activations: the network.
        picture: the picture, `(height, width, 3)`.
        inside: whether to take a cell, `(rows, columns)`.
    """

    def __init__(self, activations: Activations, picture: np.ndarray, inside: np.ndarray) -> None:
        self._activations, self._picture, self.inside = activations, picture, inside
        few = len(self) <= FEW
        self._kept = list(self._walk()) if few else None

    def __len__(self) -> int:
        return int(self.inside.sum())

    def _walk(self) -> Iterator[tuple[slice, slice, tf.Tensor]]:
        """Returns the cells of each patch, and the columns of those inside."""
        for patch, rows, columns in _patches(self._activations, self._picture, self.inside):
            seen = columns_at(patch, self._activations.strides, rows, columns)
            yield rows, columns, tf.boolean_mask(seen, self.inside[rows, columns])

    def _all(self) -> Iterable[tuple[slice, slice, tf.Tensor]]:
        return self._walk() if self._kept is None else self._kept

    def mean(self) -> tf.Tensor:
        """Returns the mean of all columns, `(channels,)`."""
        return sum(tf.reduce_sum(seen, 0) for _, _, seen in self._all()) / len(self)

    def nearest(
        self,
        choices: nearest.Choices,
        mean: tf.Tensor,
        penalties: np.ndarray | None,
        wanted: np.ndarray,
    ) -> np.ndarray:
        """Returns the number of the choice nearest to each wanted column, the mean taken off.

        Args:
            choices: the columns to choose from.
            mean: the mean.
            penalties: penalties of the choices, or None.
            wanted: which of the cells inside are wanted, `(rows, columns)`.
        """
        found = np.zeros(self.inside.shape, np.int64)
        for rows, columns, seen in self._all():
            here = wanted[rows, columns]
            if here.any():
                asked = tf.boolean_mask(seen, here[self.inside[rows, columns]])
                found[rows, columns][here] = choices.nearest(asked - mean, penalties)
        return found[wanted]


class _Offered(NamedTuple):
    """A style picture in one orientation, and which of its cells are offered.

    Attributes:
        style: the style picture.
        turn: its orientation; see `turned`.
        numbers: number of each cell among all that are offered, `(rows, columns)`; -1 for others.
    """

    style: Reference
    turn: int
    numbers: np.ndarray

    def patches(self, wanted: np.ndarray) -> Iterator[tuple[Patch, slice, slice]]:
        """Returns the patches with wanted cells, and the rows and columns of their cells."""
        return _patches(self.style.activations, turned(self.style.picture, self.turn), wanted)


class _Palette:
    """The cells of all styles that are offered, at most so many, by the shares of the styles.

    Args:
        styles: the style pictures.
        turns: their orientations.
        most: most cells.

    Raises:
        ConfigError: no style has a cell that may be used.
    """

    def __init__(self, styles: Sequence[Reference], turns: Sequence[int], most: int) -> None:
        random = np.random.default_rng(0)
        self._strides = styles[0].activations.strides
        self._offered: list[_Offered] = []
        self._count = 0
        for style in styles:
            weights = [cell_weights(turned(style.pixel_weights, turn)) for turn in turns]
            allowed = np.concatenate([each.ravel() >= ALLOWED for each in weights])
            total, wanted = int(allowed.sum()), max(1, round(most * style.share))
            numbers = np.full(len(allowed), -1)
            chosen = np.sort(random.permutation(total)[:wanted])
            numbers[np.flatnonzero(allowed)[chosen]] = self._count + np.arange(len(chosen))
            self._count += len(chosen)
            ends = np.cumsum([each.size for each in weights])[:-1]
            for turn, each, own in zip(turns, weights, np.split(numbers, ends), strict=True):
                self._offered.append(_Offered(style, turn, own.reshape(each.shape)))
        if not self._count:
            raise errors.ConfigError(
                "the style mask leaves no cell of 4x4 pixels of any style to match with; expected "
                "a larger region."
            )

    def __len__(self) -> int:
        return self._count

    def columns(self) -> np.ndarray:
        """Returns the column of each cell, `(cells, channels)`, float32."""
        found: np.ndarray | None = None
        for offered in self._offered:
            for patch, rows, columns in offered.patches(offered.numbers >= 0):
                numbers = offered.numbers[rows, columns]
                seen = columns_at(patch, self._strides, rows, columns)
                if found is None:
                    found = arrays.empty((self._count, seen.shape[-1]), np.float32)
                found[numbers[numbers >= 0]] = tf.boolean_mask(seen, numbers >= 0)
        assert found is not None
        return found

    def rows(self, chosen: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the activations at some cells by layer, `(cells, positions, channels)`.

        A cell has as many positions as the layer has there, at least one.
        """
        place = np.full(self._count + 1, -1)  # The last is for cells that are not offered.
        place[chosen] = np.arange(len(chosen))
        found: dict[str, np.ndarray] = {}
        for offered in self._offered:
            wanted = place[offered.numbers]
            for patch, rows, columns in offered.patches(wanted >= 0):
                numbers = wanted[rows, columns]
                down, across = np.nonzero(numbers >= 0)
                at = down + rows.start, across + columns.start
                for layer, stride in self._strides.items():
                    values = _features_at(patch, layer, stride, *at)
                    if layer not in found:
                        found[layer] = arrays.empty((len(chosen), *values.shape[1:]), np.float32)
                    found[layer][numbers[down, across]] = values
        return {layer: found[layer] for layer in self._strides}


def _table(values: np.ndarray) -> tf.Tensor:
    """Returns vectors of length 1, `(1, 1, rows, channels)`, in the memory of `values`.

    They have the form of a picture, so that one graph serves any number of them.
    """
    rows = values.reshape(-1, values.shape[-1])
    rows /= nearest.lengths(rows)[:, np.newaxis]
    return tf.identity(arrays.to_tensor(rows[np.newaxis, np.newaxis]))  # On the device of the run.


def _features_at(
    patch: Patch, layer: str, stride: int, down: np.ndarray, across: np.ndarray
) -> np.ndarray:
    """Returns the activations of a layer at cells, `(cells, positions, channels)`."""
    values = np.asarray(patch.features[layer])[0]
    offsets = np.arange(max(1, CELL // stride))
    rows, columns = (
        np.minimum((cells * CELL - origin)[:, np.newaxis] // stride + offsets, limit - 1)
        for cells, origin, limit in (
            (down, patch.top, values.shape[0]),
            (across, patch.left, values.shape[1]),
        )
    )
    found = values[rows[:, :, np.newaxis], columns[:, np.newaxis]]
    return found.reshape(len(down), -1, values.shape[-1])


def turned(picture: np.ndarray, turn: int) -> np.ndarray:
    """Returns a picture in one of eight orientations: quarter turns, then of its mirror image."""
    return np.rot90(picture[:, ::-1] if turn >= 4 else picture, turn % 4)


def _patches(
    activations: Activations, picture: np.ndarray, wanted: np.ndarray
) -> Iterator[tuple[Patch, slice, slice]]:
    """Returns the patches of a picture with wanted cells, and the rows and columns of their cells.

    Args:
        activations: the network.
        picture: the picture, `(height, width, 3)`.
        wanted: whether a cell is wanted, `(rows, columns)`.
    """
    if wanted.any():
        for patch in activations.walk(picture):
            rows, columns = _cells(patch.rows), _cells(patch.columns)
            if wanted[rows, columns].any():
                yield patch, rows, columns


def _cells(pixels: slice) -> slice:
    """Returns the cells of some rows or columns of pixels."""
    return slice(pixels.start // CELL, -(-pixels.stop // CELL))


def cell_weights(weights: np.ndarray) -> np.ndarray:
    """Returns the mean weight of the pixels of each cell, `(rows, columns)`."""
    height, width = weights.shape
    tops, lefts = np.arange(0, height, CELL), np.arange(0, width, CELL)
    rows = np.add.reduceat(weights, tops, 0, dtype=np.float64)
    sums = np.add.reduceat(rows, lefts, 1)
    sizes = np.minimum(CELL, height - tops)[:, np.newaxis] * np.minimum(CELL, width - lefts)
    return sums / sizes


def columns_at(patch: Patch, strides: Mapping[str, int], rows: slice, columns: slice) -> tf.Tensor:
    """Returns the columns of some cells of a patch, `(rows, columns, channels of all layers)`.

    A layer finer than the cells is averaged over each cell; a coarser one is interpolated. Each
    layer is divided by its number of channels.
    """
    found = []
    for layer, stride in strides.items():
        seen = tf.convert_to_tensor(patch.features[layer])
        for axis, cells, origin in ((1, rows, patch.top), (2, columns, patch.left)):
            seen = _at_cells(seen, axis, cells, origin, stride)
        found.append(seen[0] / seen.shape[-1])
    return tf.concat(found, -1)


def _at_cells(seen: tf.Tensor, axis: int, cells: slice, origin: int, stride: int) -> tf.Tensor:
    """Returns the activations at cells along one axis; the border repeats."""
    last = seen.shape[axis] - 1
    if stride <= CELL:
        per_cell = CELL // stride
        places = np.arange(cells.start * per_cell, cells.stop * per_cell) - origin // stride
        taken = tf.gather(seen, np.clip(places, 0, last), axis=axis)
        if per_cell == 1:
            return taken
        size = [per_cell if each == axis else 1 for each in (1, 2)]
        return tf.nn.avg_pool2d(taken, size, size, "VALID")
    centres = (np.arange(cells.start, cells.stop) + 0.5) * CELL / stride - 0.5 - origin // stride
    centres = np.clip(centres, 0, last)
    below = np.floor(centres).astype(int)
    share = np.float32(centres - below).reshape([-1 if each == axis else 1 for each in range(4)])
    above = np.minimum(below + 1, last)
    return (1 - share) * tf.gather(seen, below, axis=axis) + share * tf.gather(
        seen, above, axis=axis
    )


def rows_of(cells: np.ndarray, size: tuple[int, int], stride: int) -> np.ndarray:
    """Returns the row of the table for each position of a layer, `(1, height, width, 1)`.

    Args:
        cells: number of the match of each cell of the picture, `(rows, columns)`.
        size: height and width of the layer.
        stride: pixels between two positions of the layer.
    """
    side = max(1, CELL // stride)
    at, within = [], []
    for count, limit in zip(size, cells.shape, strict=True):
        pixels = np.arange(count) * stride
        at.append(np.minimum(pixels // CELL, limit - 1))
        within.append(np.minimum((pixels - at[-1] * CELL) // stride, side - 1))
    (down, across), (below, beside) = at, within
    found = (cells * side**2).astype(np.float32)[down][:, across]
    found += (below * side)[:, np.newaxis].astype(np.float32)
    found += beside.astype(np.float32)
    return found[np.newaxis, :, :, np.newaxis]
