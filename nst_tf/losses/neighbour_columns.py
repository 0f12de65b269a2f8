"""Neighbour matching of hypercolumns, a style loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from nst_tf import errors
from nst_tf.kernels import laplacian, nearest
from nst_tf.losses import hypercolumns
from nst_tf.losses.loss import (
    CONTENT,
    START,
    STYLE,
    Loss,
    Reference,
    Statistics,
    position_count,
)
from nst_tf.losses.neighbours import ALLOWED, LAYERS, TURNS, turned

_CELL = 4  # Pixels from one column to the next.


class NeighbourColumns(Loss):
    """Angle between each hypercolumn and the most similar hypercolumn of the style.

    ```
    column = activations of all layers / channels of the layer, at one of (height / 4) x (width / 4)
             places, interpolated linearly
    query = (1 - share) content + share (start with the finest band of the content)
    match of a place = column of the style with the largest cosine to the query's column,
                       the mean over all places taken off both
    loss = mean over places of 1 - cosine(column, column of the style at the match)
    ```

    This is the loss of Kolkin, Kucera, Paris, Sykora, Shechtman and Shakhnarovich (2022), "Neural
    Neighbor Style Transfer", sections 3.1 to 3.3, in the form of their program. `Neighbours` has
    the same matches, and a target at the resolution of each layer. Between the places of the
    fine layers, pixels of this loss have no target of their own.

    The loss is not a function of sums over positions: it needs the whole picture at once.

    Args:
        normalization: `relative`, the formula above, which has no units.
        layers: names of the layers.
        share: share of the picture at the start of the level in the query, 0 to 1. Before the
            first step of a run the query is the content.
        orientations: `upright` for the style as it is; `turned` for its quarter turns, too;
            `mirrored` for their mirror images, too.
        most_places: most columns of all styles and orientations together to choose from. A
            random sample, always the same, stands for more.

    Raises:
        ConfigError: an argument is out of range.
    """

    references = (CONTENT, STYLE, START)
    additive = False
    of_the_target = ("share",)
    knobs: ClassVar[Mapping[str, str]] = {
        "layers": "matched_layers",
        "share": "match_share",
        "orientations": "match_orientations",
        "most_places": "match_places",
    }

    def __init__(
        self,
        normalization: str = "relative",
        *,
        layers: Sequence[str] = LAYERS,
        share: float = 0.25,
        orientations: str = "turned",
        most_places: int = 1_000_000,
    ) -> None:
        super().__init__(normalization)
        self.orientations = errors.known("orientations", orientations, TURNS)
        if not (0 <= share <= 1 and most_places >= 1):
            raise errors.ConfigError(
                f"share is {share} and most_places {most_places}; expected a share from 0 to 1, "
                "and a place or more."
            )
        self.layers = tuple(layers)
        self.share = share
        self.most_places = most_places

    @property
    def stacked(self) -> bool:
        return True

    def stack(self, maps: Sequence[tf.Tensor], size: tf.Tensor) -> Any:
        rows, columns = tf.unstack(tf.maximum(1, size // _CELL))
        return hypercolumns.between(maps, rows, columns)

    def joint_target(
        self, references: Mapping[str, Sequence[Reference]]
    ) -> Mapping[str, Statistics]:
        (content,), (start,) = references[CONTENT], references[START]
        offered = self._offered(references[STYLE])
        share = np.float32(self.share * start.share)
        query = content.picture + share * (_with_finest_of(content, start) - content.picture)
        columns, weights = self._seen(content, query, content.pixel_weights)
        sought = columns[weights > 0]
        choices = nearest.Choices(offered.copy(), len(sought), exact=True)
        columns[weights > 0] = offered[choices.nearest(tf.constant(sought - sought.mean(0)))]
        return {
            hypercolumns.JOIN.join(content.activations.layers): {
                "columns": nearest.unit(columns)[tf.newaxis],
                "weights": weights[np.newaxis, ..., np.newaxis],
            }
        }

    def _offered(self, styles: Sequence[Reference]) -> np.ndarray:
        """Returns the columns of the styles to choose from, `(number, channels)`.

        Raises:
            ConfigError: there is none.
        """
        random = np.random.default_rng(0)
        offered = []
        for style in styles:
            found = []
            for turn in TURNS[self.orientations]:
                picture, pixel_weights = (
                    turned(each, turn) for each in (style.picture, style.pixel_weights)
                )
                columns, weights = self._seen(style, picture, pixel_weights)
                found.append(columns[weights >= ALLOWED])
            own, most = np.concatenate(found), max(1, round(self.most_places * style.share))
            sample = np.sort(random.permutation(len(own))[:most])
            offered.append(own if len(own) <= most else own[sample])
        if not sum(map(len, offered)):
            raise errors.ConfigError(
                "the style mask leaves no place of any style to match with; expected a larger "
                "region."
            )
        return np.concatenate(offered)

    def _seen(
        self, reference: Reference, picture: np.ndarray, pixel_weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the columns of a picture, `(rows, columns, channels)`, and their weights."""
        maps = reference.activations.whole(picture)
        size = tf.constant(picture.shape[:2])
        weights = tf.constant(np.ascontiguousarray(pixel_weights)[np.newaxis, ..., np.newaxis])
        columns = self.stack([maps[layer] for layer in reference.activations.layers], size)
        return columns[0].numpy(), self.stack([weights], size)[0, ..., 0].numpy()

    def statistics(self, features: tf.Tensor, weights: tf.Tensor, target: Statistics) -> Statistics:
        cosines = tf.reduce_sum(nearest.unit(features) * target["columns"], -1, keepdims=True)
        return {
            "error": tf.reduce_sum(weights * (1 - cosines)),
            "positions": position_count(features, weights),
        }

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        del target
        return tf.math.divide_no_nan(statistics["error"], statistics["positions"])


def _with_finest_of(content: Reference, start: Reference) -> np.ndarray:
    """Returns the start with the finest band of the content instead of its own."""
    there, here = (tf.constant(each.picture[np.newaxis]) for each in (content, start))
    return (here - laplacian.finest_band(here) + laplacian.finest_band(there))[0].numpy()
