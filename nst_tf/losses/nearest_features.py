"""The nearest activations of each layer, a style loss."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import tensorflow as tf

from nst_tf import errors
from nst_tf.kernels import nearest
from nst_tf.losses import hypercolumns
from nst_tf.losses.loss import CONTENT, STYLE, Loss, Reference, Statistics
from nst_tf.losses.neighbours import ALLOWED, LAYERS, TURNS, turned

_T = TypeVar("_T")
_PLACES = 64  # Intervals of the grid along the longer side of a layer.


class NearestFeatures(Loss):
    """Angle between the activations of each place and the nearest ones of the style.

    ```
    stride = floor(longer side of the layer / 64), at least 1
    distance of i and j = 1 - cosine(activations at i, activations of the style at j),
                          the mean over all places taken off both
    loss = sum over layers of the mean over i of the least distance of i and any j
    ```

    This is the feature splitting of Kolkin, Kucera, Paris, Sykora, Shechtman and Shakhnarovich
    (2022), "Neural Neighbor Style Transfer", section 3.4. The matches are new at each step. The
    places i and j of a layer are grids of that stride. The authors draw the offsets of the grids
    for each step. Here that of the style is fixed, in the middle, and that of the picture follows
    from the bits of the sum of the activations: it changes with each step, and is a function of
    the picture.

    In the program of the authors, a layer with a longer side of at most 64 positions gets the
    sample of the layer before it: the values of the first channel, then of the second, and so on,
    cut into as many parts as the layer has channels. With `published_fault` this loss does so.

    The loss is not a function of sums over positions: it needs the whole picture at once.

    Args:
        normalization: `relative`, the formula above, which has no units.
        layers: names of the layers, the lowest first.
        orientations: `upright` for the style as it is; `turned` for its quarter turns, too;
            `mirrored` for their mirror images, too.
        published_fault: repeat the fault of the program. Each orientation is cut by itself.

    Raises:
        ConfigError: an argument is out of range.
    """

    references = (CONTENT, STYLE)
    additive = False
    knobs: ClassVar[Mapping[str, str]] = {
        "layers": "matched_layers",
        "orientations": "match_orientations",
        "published_fault": "final_fault",
    }

    def __init__(
        self,
        normalization: str = "relative",
        *,
        layers: Sequence[str] = LAYERS,
        orientations: str = "turned",
        published_fault: bool = False,
    ) -> None:
        super().__init__(normalization)
        self.layers = tuple(layers)
        self.orientations = errors.known("orientations", orientations, TURNS)
        self.published_fault = published_fault

    @property
    def stacked(self) -> bool:
        return True

    def stack(self, maps: Sequence[tf.Tensor], size: tf.Tensor) -> Any:
        return tuple(maps)

    def joint_target(
        self, references: Mapping[str, Sequence[Reference]]
    ) -> Mapping[str, Statistics]:
        (content,), styles = references[CONTENT], references[STYLE]
        if self.published_fault:
            for reference in (content, *styles):
                _check_fault(content, reference)
        layers = content.activations.layers
        found: Statistics = {}
        for number, columns in enumerate(self._offered(styles, layers)):
            found[f"columns/{number}"] = nearest.unit(columns - columns.mean(0))
            found[f"weights/{number}"] = content.weights[layers[number]]
        return {hypercolumns.JOIN.join(layers): found}

    def _offered(self, styles: Sequence[Reference], layers: Sequence[str]) -> list[np.ndarray]:
        """Returns the activations of the styles to choose from, for each layer.

        Raises:
            ConfigError: there are none.
        """
        largest = max(style.share for style in styles)
        offered: list[list[np.ndarray]] = [[] for _ in layers]
        for style in styles:
            for turn in TURNS[self.orientations]:
                maps = style.activations.whole(turned(style.picture, turn))
                weights = style.activations.weights(turned(style.pixel_weights, turn))
                seen = [[tf.constant(each[layer]) for layer in layers] for each in (maps, weights)]
                for found, (columns, allowed) in zip(
                    offered, self._samples(*seen, drawn=False), strict=True
                ):
                    own = columns.numpy()[allowed.numpy() >= ALLOWED]
                    order = np.random.default_rng(0).permutation(len(own))
                    found.append(own[np.sort(order[: round(len(own) * style.share / largest)])])
        if not all(sum(map(len, found)) for found in offered):
            raise errors.ConfigError(
                "the style mask leaves no place of any style to match with; expected a larger "
                "region."
            )
        return [np.concatenate(found) for found in offered]

    def statistics(self, features: Any, weights: tf.Tensor, target: Statistics) -> Statistics:
        del weights  # They are in the target.
        own = [target[f"weights/{number}"] for number in range(len(features))]
        samples = self._samples(features, own, drawn=True)
        distances = [
            _least_distance(columns, masses, target[f"columns/{number}"])
            for number, (columns, masses) in enumerate(samples)
        ]
        return {"error": tf.add_n(distances)}

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        del target
        return statistics["error"]

    def _samples(
        self, maps: Sequence[tf.Tensor], weights: Sequence[tf.Tensor], *, drawn: bool
    ) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Returns activations `(places, channels)` and weights `(places,)` on each layer's grid.

        Args:
            maps: activations of each layer, `(1, height, width, channels)`.
            weights: weights of its positions, `(1, height, width, 1)`.
            drawn: whether the offset follows from the activations.
        """
        found: list[tuple[tf.Tensor, tf.Tensor]] = []
        kept: tuple[tf.Tensor, tf.Tensor] | None = None
        for features, masses in zip(maps, weights, strict=True):
            size = tf.shape(features)[1:3]
            stride = tf.maximum(1, tf.reduce_max(size) // _PLACES)
            middle = tf.stack([stride // 2, stride // 2])
            top, left = tf.unstack((_drawn(features, stride) if drawn else middle) % size)
            columns = features[0, top::stride, left::stride]
            # Channel by channel, as in the program.
            values = tf.reshape(tf.transpose(columns, (2, 0, 1)), (-1,))
            shares = tf.reshape(masses[0, top::stride, left::stride], (-1,))
            if self.published_fault:
                fresh, stale = (values, shares), kept or (values, shares)
                large = tf.reduce_max(size) > _PLACES
                values, shares = kept = tf.cond(
                    large, functools.partial(_same, fresh), functools.partial(_same, stale)
                )
            cut = tf.reshape(values, (features.shape[-1], -1))
            parts = tf.reshape(shares, (-1, tf.shape(cut)[1]))
            found.append((tf.transpose(cut), tf.reduce_mean(parts, axis=0)))
        return found


def _same(value: _T) -> _T:
    return value


def _drawn(features: tf.Tensor, stride: tf.Tensor) -> tf.Tensor:
    """Returns two numbers below the stride, from the last bits of the sum of the activations."""
    bits = tf.bitcast(tf.reduce_sum(features), tf.int32) & 0xFFFFFF
    return tf.stack([bits % stride, bits // stride % stride])


def _least_distance(columns: tf.Tensor, masses: tf.Tensor, offered: tf.Tensor) -> tf.Tensor:
    """Returns the mean of the least centred cosine distance of each column to those offered."""
    shares = tf.math.divide_no_nan(masses, tf.reduce_sum(masses))[:, tf.newaxis]
    own = nearest.unit(columns - tf.reduce_sum(shares * columns, axis=0))
    best = tf.gather(offered, nearest.numbers(own, offered))
    return tf.reduce_sum(shares * (1 - tf.reduce_sum(own * best, axis=1, keepdims=True)))


def _check_fault(content: Reference, other: Reference) -> None:
    """Refuses sizes with which the published fault has no meaning.

    Raises:
        ConfigError: a layer of at most 64 positions has none before it to be cut.
    """
    own, sizes = (
        list(each.activations.sizes(*each.picture.shape[:2]).values()) for each in (content, other)
    )
    channels = [content.features[layer].shape[-1] for layer in content.activations.layers]
    large = [max(size) > _PLACES for size in sizes]
    fits = large[0] and large == [max(size) > _PLACES for size in own]
    values: set[int] = set()
    for size, count, is_large in zip(sizes, channels, large, strict=True):
        if is_large:
            stride = max(size) // _PLACES
            rows, columns = ({max(1, side // stride), -(-side // stride)} for side in size)
            values = {count * row * column for row in rows for column in columns}
            before = count
        elif fits:
            fits = count % before == 0 and not any(each % count for each in values)
    if not fits:
        raise errors.ConfigError(
            "with final_fault a layer of at most 64 positions a side is cut from the one before "
            "it, and at these sizes of picture and style that is not possible; set "
            "final_fault=False, or another image_size and style_scale=1."
        )
