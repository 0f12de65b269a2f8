"""The interface of a loss."""

from __future__ import annotations

import abc
import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf import errors

Statistics = dict[str, tf.Tensor]
"""Named tensors. Those that an additive loss counts add up over the tiles of a picture."""


CONTENT, STYLE, START = "content", "style", "start"
"""Names of references that every run has: the photo, the paintings, and the picture itself as it
was when the level began. A run may be given others, by names of its own."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """A reference picture, as a loss of several references sees it.

    Attributes:
        features: activations by layer, each `(1, height, width, channels)`, float32: a tensor, or
            an array in a file where the picture is worked on in tiles.
        weights: of the positions by layer, each `(1, height, width, 1)`, likewise.
        share: of a painting in the style, by `style_blend`; 1 for any other reference.
    """

    features: Mapping[str, Any]
    weights: Mapping[str, Any]
    share: float = 1.0


class Loss(abc.ABC):
    """A function of a picture's activations at one layer.

    What a picture is compared with is the loss's target. It comes from one reference picture by
    `measure` and `summary`, or from several of them together by `joint_target`.

    Shapes: `features` is `(1, height, width, channels)`, float32; `weights` weighs its
    positions and has a shape that broadcasts to `(1, height, width, 1)`; a weight of 1
    everywhere means no mask.

    Whatever is summed over positions adds up over the tiles of a picture.

    Args:
        normalization: what the loss is divided by, one of `normalizations`.

    Raises:
        ConfigError: `normalization` is none of these.

    Attributes:
        references: names of the pictures that the target is taken from: `content`, `style`,
            `start`, or another one that the run is given; none for a loss without a target.
        normalizations: what the loss can be divided by; the first is the default.
        positional: names of the entries of the target that have a value at every position of the
            layer, `(1, height, width, ...)`; tiles are given their part of them. With one
            reference there may be `features`, the `response` of the reference picture.
        layer: that the loss looks at, whatever the config says, or an empty text.
        neighbourhood: positions around one that its summand depends on.
        additive: whether the loss is a function of sums over positions. One that is not looks
            at a picture as a whole, and its statistics are what it likes.
        most_positions: of the grid that the activations are resampled to, or 0 for those of the
            layer. Such a loss looks at one layer or at several that are stacked.
    """

    references: tuple[str, ...] = ()
    normalizations: tuple[str, ...] = ("relative",)
    positional: tuple[str, ...] = ()
    layer: str = ""
    neighbourhood: int = 0
    additive: bool = True
    most_positions: int = 0

    def __init__(self, normalization: str = "relative") -> None:
        self.normalization = errors.known("normalization", normalization, self.normalizations)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor, which are attributes of their names."""
        names = list(inspect.signature(type(self).__init__).parameters)[1:]
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    @property
    def joint(self) -> bool:
        """Whether the target is taken from several references together."""
        return len(self.references) > 1

    def joint_target(
        self, references: Mapping[str, Sequence[Reference]]
    ) -> Mapping[str, Statistics]:
        """Returns the targets that several references ask for together.

        It is called once a level, outside of any graph.

        Args:
            references: by the names in `references`, several where the style is several paintings,
                else one. Their features and weights are those of all layers at which the
                objective has this very loss.

        Returns:
            The target of each layer. Its entries that are `positional` have the layer's size in
            the picture of the level.
        """
        raise NotImplementedError(f"{type(self).__name__} has several references")

    def target(self, features: tf.Tensor, weights: tf.Tensor) -> Statistics:
        """Returns the target of one reference.

        Args:
            features: activations of the reference picture.
            weights: of its positions.
        """
        target = self.summary(self.measure(features, weights))
        if "features" not in self.positional:
            return target
        return {**target, "features": self.response(features)}

    def response(self, features: tf.Tensor) -> tf.Tensor:
        """Returns what is compared position by position, in the size of `features`."""
        return features

    def measure(self, features: tf.Tensor, weights: tf.Tensor) -> Statistics:
        """Returns the sums over positions of the reference picture that the target is made of."""
        del features, weights
        return {}

    def summary(self, sums: Statistics) -> Statistics:
        """Returns the target, given what `measure` returned, added up over the reference picture.

        Targets of several paintings are averaged, so entries are means rather than sums.
        """
        return sums

    def blend(self, targets: Sequence[Statistics], shares: np.ndarray) -> Statistics:
        """Returns the target of several paintings.

        Args:
            targets: of each.
            shares: of each, float32, adding up to 1.
        """

        def mean(entries: tf.Tensor) -> tf.Tensor:
            return tf.tensordot(tf.cast(shares, entries.dtype), entries, 1)

        return {name: mean(tf.stack([each[name] for each in targets])) for name in targets[0]}

    @abc.abstractmethod
    def statistics(self, features: tf.Tensor, weights: tf.Tensor, target: Statistics) -> Statistics:
        """Returns sums over positions, of which the loss is a function.

        Args:
            features: activations of the picture that is being made.
            weights: of its positions.
            target: what `target` or `joint_target` returned.
        """

    @abc.abstractmethod
    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        """Returns the loss, a float32 scalar.

        Args:
            statistics: sums over all positions of the picture, and the number of its `pixels`.
            target: what `target` returned.
        """


def position_count(features: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Returns the sum of the weights over all positions, a scalar."""
    return tf.reduce_sum(position_weights(features, weights))


def position_weights(features: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Returns the weight of each position, `(positions,)`."""
    shape = tf.concat([tf.shape(features)[:3], [1]], axis=0)
    return tf.reshape(tf.broadcast_to(tf.cast(weights, features.dtype), shape), (-1,))
