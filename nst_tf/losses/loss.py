"""The interface of a loss."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from nst_tf import errors
from nst_tf.config import objects
from nst_tf.losses import hypercolumns

Statistics = dict[str, tf.Tensor]
"""Named tensors. Those of an additive loss add up over the tiles of a picture."""


CONTENT, STYLE, START = "content", "style", "start"
"""Names of the references that every run has: the content, the styles, and the picture itself at
the start of the level. A run may have further references, under names of its own."""


@dataclasses.dataclass(frozen=True)
class Patch:
    """The activations of a part of a picture, with a margin of a position and more around it.

    Attributes:
        rows: rows of the picture that the patch owns, in pixels; a multiple of every stride.
        columns: columns that it owns.
        top: row of the picture at which its activations begin, in pixels.
        left: column at which they begin.
        features: activations by layer, `(1, height, width, channels)`, float32.
    """

    rows: slice
    columns: slice
    top: int
    left: int
    features: Mapping[str, Any]


class Activations(abc.ABC):
    """The network, as a loss of several references sees it.

    Attributes:
        layers: names of the layers of the loss.
        strides: pixels between two positions of each layer; 0 if unknown.
    """

    layers: tuple[str, ...]
    strides: Mapping[str, int]

    @abc.abstractmethod
    def walk(self, picture: np.ndarray) -> Iterator[Patch]:
        """Returns the activations of any picture, patch by patch, in the memory of one patch.

        Args:
            picture: `(height, width, 3)`, float32, sRGB.
        """

    @abc.abstractmethod
    def whole(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the activations of a picture by layer. Large ones are in spill files."""

    @abc.abstractmethod
    def weights(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Returns weights of pixels, `(height, width)`, at the positions of each layer."""

    @abc.abstractmethod
    def sizes(self, height: int, width: int) -> dict[str, tuple[int, int]]:
        """Returns height and width of each layer for a picture of a size."""


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """A reference picture, as a loss of several references gets it.

    Attributes:
        picture: the picture, `(height, width, 3)`, float32, sRGB in [0, 1].
        pixel_weights: weights of its pixels, `(height, width)`, float32.
        activations: the network.
        share: share of one style in the blend, by `style_blend`; 0 for `start` before the first
            step of a run; 1 for any other reference.
    """

    picture: np.ndarray
    pixel_weights: np.ndarray
    activations: Activations
    share: float = 1.0

    @functools.cached_property
    def features(self) -> Mapping[str, np.ndarray]:
        """Its activations by layer, each `(1, height, width, channels)`, float32."""
        return self.activations.whole(self.picture)

    @functools.cached_property
    def weights(self) -> Mapping[str, np.ndarray]:
        """The weights of its positions by layer, each `(1, height, width, 1)`, float32."""
        return self.activations.weights(self.pixel_weights)


class Loss(objects.Configurable, abc.ABC):
    """A function of a picture's activations at one layer.

    A loss compares the picture with its target. The target comes from one reference picture by
    `measure` and `summary`, or from several together by `joint_target`.

    Shapes: `features` is `(1, height, width, channels)`, float32; `weights` weighs its
    positions and broadcasts to `(1, height, width, 1)`; a weight of 1 everywhere means no mask.

    Sums over positions add up over the tiles of a picture.

    Args:
        normalization: name of the loss's divisor, one of `normalizations`.

    Raises:
        ConfigError: `normalization` is none of these.

    Attributes:
        references: names of the references of the target: `content`, `style`, `start`, or a
            further one of the run; none for a loss without a target.
        normalizations: names of the possible divisors; the first is the default.
        positional: names of the target's entries with a value at every position of the layer,
            `(1, height, width, ...)`; a tile gets its part of them. With one reference,
            `features` may be among them: the `response` of the reference picture.
        layers: the layers of the loss, whatever the config says; empty for those of the config.
        neighbourhood: distance, in positions, of the furthest neighbours in a position's summand.
        additive: whether the loss is a function of sums over positions. Any other loss gets the
            whole picture at once, and may have any statistics.
        yields: whether the weight of a term is divided by the ratio of content weight to style
            weight, where that is above 1.
        most_positions: most positions of the grid that the activations are resampled to, or 0
            for the layer's own positions. A loss with a grid takes one layer or several stacked,
            and one reference.
        knobs: fields of `StyleTransferConfig` by the arguments of the constructor that they
            become, if the config names the loss.
        of_the_target: arguments of the constructor that only `joint_target` depends on, so that
            compiled steps serve all their values.
    """

    references: tuple[str, ...] = ()
    normalizations: tuple[str, ...] = ("relative",)
    positional: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    neighbourhood: int = 0
    additive: bool = True
    yields: bool = False
    most_positions: int = 0
    knobs: ClassVar[Mapping[str, str]] = {}
    of_the_target: tuple[str, ...] = ()

    def __init__(self, normalization: str = "relative") -> None:
        self.normalization = errors.known("normalization", normalization, self.normalizations)

    @property
    def joint(self) -> bool:
        """Whether the target comes from several references together."""
        return len(self.references) > 1

    @property
    def stacked(self) -> bool:
        """Whether one term has all layers of the loss, of which `stack` makes its input.

        If such a loss is joint, its target is that of the names of the layers joined by `+`, and
        `weights` is an entry of the target, if there is one.
        """
        return self.most_positions > 0

    def stack(self, maps: Sequence[tf.Tensor], size: tf.Tensor) -> Any:
        """Returns the `features` of a stacked loss.

        Args:
            maps: activations of each layer, `(1, height, width, channels)`, at its own resolution.
            size: height and width of the picture, int32.
        """
        return hypercolumns.stack(maps, size, self.most_positions)

    def joint_target(
        self, references: Mapping[str, Sequence[Reference]]
    ) -> Mapping[str, Statistics]:
        """Returns the targets from several references together.

        It is called once a level, outside of any graph.

        Args:
            references: references by the names in `references`: one for each style picture, and
                one for any other name. Their activations are those of all layers at which the
                objective has this very loss. They are computed when they are asked for.

        Returns:
            The target of each layer. Its `positional` entries have the layer's size in the
            picture of the level.
        """
        raise NotImplementedError(f"{type(self).__name__} has several references")

    def target(self, features: tf.Tensor, weights: tf.Tensor) -> Statistics:
        """Returns the target of one reference.

        Args:
            features: activations of the reference picture.
            weights: weights of its positions.
        """
        target = self.summary(self.measure(features, weights))
        if "features" not in self.positional:
            return target
        return {**target, "features": self.response(features)}

    def response(self, features: tf.Tensor) -> tf.Tensor:
        """Returns the values to compare position by position, in the size of `features`."""
        return features

    def measure(self, features: tf.Tensor, weights: tf.Tensor) -> Statistics:
        """Returns sums over positions of the reference picture, from which the target follows."""
        del features, weights
        return {}

    def summary(self, sums: Statistics) -> Statistics:
        """Returns the target, given the sums of `measure` over the whole reference picture.

        Targets of several styles are averaged, so entries are means rather than sums.
        """
        return sums

    def blend(self, targets: Sequence[Statistics], shares: np.ndarray) -> Statistics:
        """Returns the target of several styles.

        Args:
            targets: target of each style.
            shares: share of each style, float32, adding up to 1.
        """

        def mean(entries: tf.Tensor) -> tf.Tensor:
            return tf.tensordot(tf.cast(shares, entries.dtype), entries, 1)

        return {name: mean(tf.stack([each[name] for each in targets])) for name in targets[0]}

    @abc.abstractmethod
    def statistics(self, features: tf.Tensor, weights: tf.Tensor, target: Statistics) -> Statistics:
        """Returns the sums over positions that `value` needs.

        Args:
            features: activations of the picture, or of a tile.
            weights: weights of its positions.
            target: result of `target` or `joint_target`.
        """

    @abc.abstractmethod
    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        """Returns the loss, a float32 scalar.

        Args:
            statistics: sums over all positions of the picture, and the number of its `pixels`.
            target: result of `target` or `joint_target`.
        """


def position_count(features: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Returns the sum of the weights over all positions, a scalar."""
    return tf.reduce_sum(position_weights(features, weights))


def position_weights(features: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Returns the weight of each position, `(positions,)`."""
    shape = tf.concat([tf.shape(features)[:3], [1]], axis=0)
    return tf.reshape(tf.broadcast_to(tf.cast(weights, features.dtype), shape), (-1,))
