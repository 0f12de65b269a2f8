"""Neighbour matching, a style loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from nst_tf import errors
from nst_tf.kernels import nearest
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
_TURNS = {"upright": range(1), "turned": range(4), "mirrored": range(8)}
_CELL = 4  # Side of a cell in pixels.
_ROUNDS = 4  # Searches of a match with even use.
_ALLOWED = 0.5  # Least weight of the cells of a style that may be used.


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
    knobs = {
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
        self.orientations = errors.known("orientations", orientations, _TURNS)
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
        palette = _Palette.of(references[STYLE], self.orientations, self.most_places)
        share = np.float32(self.share * start.share)
        query = content.picture + share * (start.picture - content.picture)
        inside = cell_weights(content.pixel_weights) > 0
        chosen, matches = np.unique(
            self._matches(content.activations, query, inside, palette), return_inverse=True
        )
        cells = np.zeros(inside.shape, np.int64)
        cells[inside] = matches.reshape(-1)
        tables = palette.tables(chosen)
        sizes = content.activations.sizes(*query.shape[:2])
        return {
            layer: {
                "places": rows_of(cells, sizes[layer], query.shape[:2], stride),
                "table": tables[layer],
            }
            for layer, stride in content.activations.strides.items()
        }

    def _matches(
        self, activations: Activations, query: np.ndarray, inside: np.ndarray, palette: _Palette
    ) -> np.ndarray:
        """Returns the number of the match of each cell inside, in their order."""
        mean = _mean_column(activations, query, inside)
        choices = nearest.unit(palette.columns - tf.reduce_mean(palette.columns, 0))
        penalties, uses = None, np.zeros(len(choices))
        found = np.zeros(inside.shape, np.int64)
        for _ in range(_ROUNDS if self.evenness else 1):
            for rows, columns, seen in _columns_of(activations, query, inside):
                part = inside[rows, columns]
                found[rows, columns][part] = nearest.nearest(
                    nearest.unit(seen - mean), choices, penalties
                )
            used = np.bincount(found[inside], minlength=len(uses))
            # The penalties of the rounds add up, as prices do in an auction.
            uses += used / max(1.0, used.sum() / len(uses)) / _ROUNDS
            penalties = np.float32(self.evenness * uses)
        return found[inside]

    def statistics(self, features: tf.Tensor, weights: tf.Tensor, target: Statistics) -> Statistics:
        places = tf.cast(target["places"][..., 0], tf.int32)
        wanted = tf.gather(target["table"], places)
        cosines = tf.reduce_sum(nearest.unit(features) * wanted, axis=-1, keepdims=True)
        return {
            "error": tf.reduce_sum(weights * (1 - cosines)),
            "positions": position_count(features, weights),
        }

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        del target
        return tf.math.divide_no_nan(statistics["error"], statistics["positions"])


@dataclasses.dataclass(frozen=True)
class _Turned:
    """A style picture in one orientation, and the cells that may be used.

    Attributes:
        reference: the style picture.
        turn: its orientation, from 0 to 7.
        sampled: number of each cell among those of all styles, `(rows, columns)`; -1 for others.
    """

    reference: Reference
    turn: int
    sampled: np.ndarray

    @property
    def picture(self) -> np.ndarray:
        """The picture as turned."""
        return turned(self.reference.picture, self.turn)

    def patches(self, wanted: np.ndarray) -> Iterator[tuple[Patch, slice, slice]]:
        """Returns the patches with wanted cells, and the rows and columns of their cells."""
        if not wanted.any():
            return
        for patch in self.reference.activations.walk(self.picture):
            rows, columns = _cells(patch.rows), _cells(patch.columns)
            if wanted[rows, columns].any():
                yield patch, rows, columns


class _Palette:
    """The cells of all styles that may be used.

    Attributes:
        columns: the column of each, `(cells, channels)`, float32.
    """

    def __init__(self, pictures: Sequence[_Turned], count: int) -> None:
        self._pictures, self._count = pictures, count
        self._strides = pictures[0].reference.activations.strides
        found: np.ndarray | None = None
        for picture in pictures:
            wanted = picture.sampled >= 0
            for patch, rows, columns in picture.patches(wanted):
                part = picture.sampled[rows, columns]
                seen = columns_at(patch, self._strides, rows, columns)
                if found is None:
                    found = np.empty((count, seen.shape[-1]), np.float32)
                found[part[part >= 0]] = seen.numpy()[part >= 0]
        assert found is not None
        self.columns = tf.constant(found)

    @classmethod
    def of(cls, styles: Sequence[Reference], orientations: str, most: int) -> _Palette:
        """Returns the cells of styles, at most so many, by the shares of the styles.

        Raises:
            ConfigError: no style has a cell that may be used.
        """
        random, pictures, count = np.random.default_rng(0), [], 0
        turns = _TURNS[orientations]
        for style in styles:
            allowed = [
                cell_weights(turned(style.pixel_weights, turn)) >= _ALLOWED for turn in turns
            ]
            total = sum(int(each.sum()) for each in allowed)
            wanted = min(total, max(1, round(most * style.share)))
            numbers = np.full(total, -1)
            numbers[np.sort(random.permutation(total)[:wanted])] = count + np.arange(wanted)
            count += wanted
            for turn, each in zip(turns, allowed, strict=True):
                sampled = np.full(each.shape, -1)
                sampled[each], numbers = numbers[: each.sum()], numbers[each.sum() :]
                pictures.append(_Turned(style, turn, sampled))
        if not count:
            raise errors.ConfigError(
                "the style mask leaves no cell of 4x4 pixels of any style to match with; expected "
                "a larger region."
            )
        return cls(pictures, count)

    def tables(self, chosen: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the activations at chosen cells by layer, of length 1, `(rows, channels)`.

        A cell has a row for each of its positions, at least one.
        """
        place = np.full(self._count, -1)
        place[chosen] = np.arange(len(chosen))
        found: dict[str, np.ndarray] = {}
        for picture in self._pictures:
            wanted = np.where(picture.sampled >= 0, place[picture.sampled], -1)
            for patch, rows, columns in picture.patches(wanted >= 0):
                numbers = wanted[rows, columns]
                down, across = np.nonzero(numbers >= 0)
                for layer, stride in self._strides.items():
                    values = np.asarray(patch.features[layer])[0]
                    side = max(1, _CELL // stride)
                    if layer not in found:
                        shape = (len(chosen), side * side, values.shape[-1])
                        found[layer] = np.empty(shape, np.float32)
                    top = ((down + rows.start) * _CELL - patch.top) // stride
                    left = ((across + columns.start) * _CELL - patch.left) // stride
                    for index in range(side * side):
                        y = np.minimum(top + index // side, values.shape[0] - 1)
                        x = np.minimum(left + index % side, values.shape[1] - 1)
                        found[layer][numbers[down, across], index] = values[y, x]
        return {
            layer: nearest.unit(tf.constant(each.reshape(-1, each.shape[-1])))
            for layer, each in found.items()
        }


def turned(picture: np.ndarray, turn: int) -> np.ndarray:
    """Returns a picture in one of eight orientations: quarter turns, from 4 on of its mirror image."""
    return np.rot90(picture[:, ::-1] if turn >= 4 else picture, turn % 4)


def _cells(pixels: slice) -> slice:
    """Returns the cells of some rows or columns of pixels."""
    return slice(pixels.start // _CELL, -(-pixels.stop // _CELL))


def cell_weights(weights: np.ndarray) -> np.ndarray:
    """Returns the mean weight of the pixels of each cell, `(rows, columns)`."""
    height, width = weights.shape
    tops, lefts = np.arange(0, height, _CELL), np.arange(0, width, _CELL)
    sums = np.add.reduceat(np.add.reduceat(np.float64(weights), tops, 0), lefts, 1)
    sizes = np.minimum(_CELL, height - tops)[:, np.newaxis] * np.minimum(_CELL, width - lefts)
    return sums / sizes


def _columns_of(
    activations: Activations, picture: np.ndarray, inside: np.ndarray
) -> Iterator[tuple[slice, slice, tf.Tensor]]:
    """Returns the cells of each patch of a picture, and the columns of those inside."""
    for patch in activations.walk(picture):
        rows, columns = _cells(patch.rows), _cells(patch.columns)
        if inside[rows, columns].any():
            seen = columns_at(patch, activations.strides, rows, columns)
            yield rows, columns, tf.boolean_mask(seen, inside[rows, columns])


def _mean_column(
    activations: Activations, picture: np.ndarray, inside: np.ndarray
) -> tf.Tensor | float:
    total: tf.Tensor | float = 0.0
    for _, _, seen in _columns_of(activations, picture, inside):
        total += tf.reduce_sum(seen, 0) / max(1, inside.sum())
    return total


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
    if stride <= _CELL:
        per_cell = _CELL // stride
        places = np.arange(cells.start * per_cell, cells.stop * per_cell) - origin // stride
        taken = tf.gather(seen, np.clip(places, 0, last), axis=axis)
        if per_cell == 1:
            return taken
        size = [per_cell if each == axis else 1 for each in (1, 2)]
        return tf.nn.avg_pool2d(taken, size, size, "VALID")
    centres = (np.arange(cells.start, cells.stop) + 0.5) * _CELL / stride - 0.5 - origin // stride
    centres = np.clip(centres, 0, last)
    below = np.floor(centres).astype(int)
    share = np.float32(centres - below).reshape([-1 if each == axis else 1 for each in range(4)])
    above = np.minimum(below + 1, last)
    return (1 - share) * tf.gather(seen, below, axis=axis) + share * tf.gather(
        seen, above, axis=axis
    )


def rows_of(
    cells: np.ndarray, size: tuple[int, int], picture: tuple[int, int], stride: int
) -> np.ndarray:
    """Returns the row of the table for each position of a layer, `(1, height, width, 1)`.

    Args:
        cells: number of the match of each cell of the picture, `(rows, columns)`.
        size: height and width of the layer.
        picture: height and width of the picture, in pixels.
        stride: pixels between two positions of the layer.
    """
    side = max(1, _CELL // stride)
    at, within = [], []
    for count, limit in zip(size, cells.shape, strict=True):
        pixels = np.arange(count) * stride
        at.append(np.minimum(pixels // _CELL, limit - 1))
        within.append(np.minimum((pixels - at[-1] * _CELL) // stride, side - 1))
    (down, across), (oy, ox) = at, within
    found = cells[down][:, across] * side * side + oy[:, np.newaxis] * side + ox
    return np.float32(found)[np.newaxis, :, :, np.newaxis]
