"""The interface of a loss."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from nst_tf import errors

Statistics = dict[str, tf.Tensor]
"""Named tensors. Those that an additive loss counts add up over the tiles of a picture."""


class Loss(abc.ABC):
    """A function of a picture's activations at one layer.

    Shapes: `features` is `(1, height, width, channels)`, float32; `weights` weighs its
    positions and has a shape that broadcasts to `(1, height, width, 1)`; a weight of 1
    everywhere means no mask.

    Whatever is summed over positions adds up over the tiles of a picture.

    Args:
        normalization: what the loss is divided by, one of `normalizations`.

    Raises:
        ConfigError: `normalization` is none of these.

    Attributes:
        model: the picture that the target is taken from: `content`, `style`, or an empty
            text for a loss that needs none.
        normalizations: what the loss can be divided by; the first is the default.
        positional: whether the target holds the response of the model picture itself, under
            `features`, to be compared position by position.
        layer: that the loss looks at, whatever the config says, or an empty text.
        neighbourhood: positions around one that its summand depends on.
        additive: whether the loss is a function of sums over positions. One that is not looks
            at a picture as a whole, and its statistics are what it likes.
        most_positions: of the grid that the activations are resampled to, or 0 for those of the
            layer. Such a loss looks at one layer or at several that are stacked.
    """

    model: str = ""
    normalizations: tuple[str, ...] = ("relative",)
    positional: bool = False
    layer: str = ""
    neighbourhood: int = 0
    additive: bool = True
    most_positions: int = 0

    def __init__(self, normalization: str = "relative") -> None:
        self.normalization = errors.known("normalization", normalization, self.normalizations)

    def target(self, features: tf.Tensor, weights: tf.Tensor) -> Statistics:
        """Returns what the activations of the model picture ask for.

        Args:
            features: activations of the model picture.
            weights: of its positions.
        """
        target = self.summary(self.measure(features, weights))
        return {**target, "features": self.response(features)} if self.positional else target

    def response(self, features: tf.Tensor) -> tf.Tensor:
        """Returns what is compared position by position, in the size of `features`."""
        return features

    def measure(self, features: tf.Tensor, weights: tf.Tensor) -> Statistics:
        """Returns the sums over positions of the model picture that the target is made of."""
        del features, weights
        return {}

    def summary(self, sums: Statistics) -> Statistics:
        """Returns the target, given what `measure` returned, added up over the model picture.

        Targets of several paintings are averaged, so entries are means rather than sums.
        """
        return sums

    def blend(self, targets: Sequence[Statistics], shares: np.ndarray) -> Statistics:
        """Returns the target of several model pictures.

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
            target: what `target` returned.
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
