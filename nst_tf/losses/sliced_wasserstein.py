"""The sliced Wasserstein style loss."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from nst_tf.kernels import autodiff
from nst_tf.losses.loss import Loss, Statistics, position_weights

_BINS = 1024
_FINE, _LARGEST = 0.01, 1e5  # Bins are even up to the first, and proportional up to the second.
_SCALE = (_BINS - 1) / (2 * math.log1p(_LARGEST / _FINE))  # Bins per unit of the log scale.
_LEAST_SHARE = 1e-12  # Below any float32 share of the positions.


class SlicedWasserstein(Loss):
    """Squared Wasserstein-2 distance of the activations along many directions, on average.

    ```
    distance = mean over directions of  ∫ (quantile(u) - target quantile(u))² du
             = mean over directions of 2∫ dx ∫ from target cdf(x) to cdf(x) of
                                             (target quantile(u) - x) du

    relative:  loss = distance / mean square of the target's activations
    mean:      loss = distance
    ```

    The first line is the distance of Heitz, Vanhoey, Chambon and Belcour (2021), "A Sliced
    Wasserstein Loss for Neural Texture Synthesis", equations 3 to 6, who sort the activations of
    two pictures of one size. The second line says the same in terms of distribution functions.
    These are sums over positions, so that masks, pictures of different sizes and tiles are
    possible. They are taken at the edges of 1024 bins, and an activation is shared between the two
    bins around it. Bins are .0003 wide at 0 and 3% of the activation far from it. Smaller
    differences of two distributions are lost.

    The directions are the axes of one fixed random rotation, as many as there are channels.

    Args:
        normalization: `relative` or `mean`.

    Raises:
        ConfigError: `normalization` is neither.
    """

    references = ("style",)
    normalizations = ("relative", "mean")

    def directions(self, channels: int) -> np.ndarray | None:
        """Returns unit vectors, `(channels, directions)`, or None for the channels themselves."""
        return _rotation(channels)

    def measure(self, features: tf.Tensor, weights: tf.Tensor) -> Statistics:
        energy = tf.reduce_sum(weights * tf.square(features)) / features.shape[-1]
        return {**self.statistics(features, weights, {}), "energy": energy}

    def summary(self, sums: Statistics) -> Statistics:
        positions = sums["positions"]
        return {
            "shares": tf.math.divide_no_nan(sums["masses"], positions),
            "energy": tf.math.divide_no_nan(sums["energy"], positions),
        }

    def statistics(self, features: tf.Tensor, weights: tf.Tensor, target: Statistics) -> Statistics:
        del target
        channels = features.shape[-1]
        each = position_weights(features, weights)
        values, directions = tf.reshape(features, (-1, channels)), self.directions(channels)
        if directions is not None:
            values = values @ tf.constant(directions, features.dtype)
        return {
            "masses": binned(values, each[:, tf.newaxis]),
            "positions": tf.reduce_sum(each),
        }

    def value(self, statistics: Statistics, target: Statistics) -> tf.Tensor:
        shares = tf.math.divide_no_nan(statistics["masses"], statistics["positions"])
        distance = tf.reduce_mean(transport(shares, target["shares"]))
        if self.normalization == "mean":
            return distance
        return tf.math.divide_no_nan(distance, target["energy"])


@functools.cache
def _rotation(channels: int) -> np.ndarray:
    random = np.random.default_rng(channels).normal(size=(channels, channels))
    return np.linalg.qr(random)[0]


@functools.cache
def bin_centres() -> np.ndarray:
    """Returns the centres of the bins, float64, symmetric around 0, which is not a centre."""
    places = (np.arange(_BINS) - (_BINS - 1) / 2) / _SCALE
    return np.sign(places) * _FINE * np.expm1(np.abs(places))


def binned(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Returns the weight in each bin; a value is shared between the two bins around it.

    Args:
        values: values to put into bins, `(positions, directions)`.
        weights: weights of the positions, `(positions, 1)`.

    Returns:
        `(directions, bins)`.
    """
    return _masses(values, weights)


@autodiff.custom_gradient
def _masses(
    values: tf.Tensor, weights: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    count = values.shape[1]
    size = tf.abs(values) / _FINE
    place = tf.sign(values) * tf.math.log1p(size) * _SCALE + (_BINS - 1) / 2
    below = tf.clip_by_value(tf.floor(place), 0, _BINS - 2)
    cells = tf.cast(below, tf.int32) + _BINS * tf.range(count)

    def added(data: tf.Tensor) -> tf.Tensor:
        found = tf.math.unsorted_segment_sum(data, cells, count * _BINS)
        return tf.reshape(found, (count, _BINS))

    above = added(weights * tf.clip_by_value(place - below, 0, 1))

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        rises = tf.pad(upstream[:, 1:] - upstream[:, :-1], ((0, 0), (0, 1)))
        slope = _SCALE / (_FINE * (1 + size))
        return weights * slope * tf.gather(tf.reshape(rises, (-1,)), cells)

    everything = added(tf.broadcast_to(weights, tf.shape(values)))
    return everything - above + tf.roll(above, 1, axis=1), gradient


def transport(shares: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Returns the squared Wasserstein-2 distance of two distributions over the bins.

    Args:
        shares: share of each bin, `(directions, bins)`.
        target: share of each bin in the target, likewise.

    Returns:
        `(directions,)`, float32.
    """
    return tf.cast(_distance(_cumulated(shares), _cumulated(target)), tf.float32)


@autodiff.custom_gradient
def _distance(
    found: tf.Tensor, wanted: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Returns the distance of two distributions, given the shares below the edges of the bins."""
    centres = bin_centres()
    edges, widths = (centres[1:] + centres[:-1]) / 2, np.diff(centres)
    # The quantile function of the target, which is linear between knots, and the area under it.
    quantiles = np.concatenate([centres[:1], edges, centres[-1:]])
    knots = tf.pad(wanted, ((0, 0), (1, 0)))
    knots = tf.pad(knots, ((0, 0), (0, 1)), constant_values=1.0)
    gaps = knots[:, 1:] - knots[:, :-1]
    areas = tf.cumsum(gaps * (quantiles[1:] + quantiles[:-1]) / 2, axis=1)
    areas = tf.pad(areas, ((0, 0), (1, 0)))

    left = tf.searchsorted(knots, tf.maximum(found, _LEAST_SHARE), side="left") - 1
    beyond = found - tf.gather(knots, left, batch_dims=1)
    part = tf.math.divide_no_nan(beyond, tf.gather(gaps, left, batch_dims=1))
    start, rise = tf.gather(quantiles, left), part * tf.gather(np.diff(quantiles), left)
    area = tf.gather(areas, left, batch_dims=1) + beyond * (start + rise / 2)
    excess = area - areas[:, 1:-1] - edges * (found - wanted)

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return upstream[:, tf.newaxis] * 2 * widths * (start + rise - edges)

    return 2 * tf.reduce_sum(widths * excess, axis=1), gradient


def _cumulated(shares: tf.Tensor) -> tf.Tensor:
    """Returns the share below each edge between two bins, float64."""
    sums = tf.cumsum(tf.cast(shares, tf.float64), axis=1)
    return tf.math.divide_no_nan(sums, sums[:, -1:])[:, :-1]
