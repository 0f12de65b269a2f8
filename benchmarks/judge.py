"""A judge of pictures: AlexNet, which they were never optimised on, colours and spectra.

What the figures mean is said in `quality.py`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import common  # noqa: F401 (finds the package)
import numpy as np

_WEIGHTS = Path(__file__).parent / "alexnet.h5"
_STRIDES = (4, 1, 1, 1, 1)
_POOLED_BEFORE = (1, 2)  # Index of the convolutions that a pooling precedes.
_SHIFT, _SCALE = np.float32([-0.030, -0.088, -0.188]), np.float32([0.458, 0.448, 0.450])
_SHIFTS = ((0, 0), (1, 3), (2, 1), (3, 2))  # Each row and column of the stride of 4 once.
_DIRECTIONS, _QUANTILES = 64, 256
_GRAIN_FREQUENCY = 0.35  # Cycles a pixel.
_LUMINANCE = np.float32([0.2126, 0.7152, 0.0722])
_SEARCHED, _COMPARED = 16384, 2048  # Most places of a layer for `bare` and for `structure`.


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was found of a picture; the module says what the names mean."""

    style_gain: float
    content: float
    colour: float
    clipped: float
    grain: float
    structure: float
    bare: float
    lpips_grey: float
    frechet: float


def heading(title: str) -> str:
    """Returns the first line of a table of verdicts."""
    names = [field.name for field in dataclasses.fields(Verdict)]
    return f"{title:40}" + "".join(f"{name:>12}" for name in names)


def line(title: str, verdict: Verdict) -> str:
    """Returns a line of a table of verdicts."""
    return f"{title[-40:]:40}" + "".join(f"{each:12.3f}" for each in dataclasses.astuple(verdict))


class Judge:
    """Judges pictures of one photo and one painting, at one size.

    Args:
        photo: float32 `(height, width, 3)`, sRGB in [0, 1], of the size of the pictures.
        painting: likewise, of any size of 68 pixels and more.
    """

    def __init__(self, photo: np.ndarray, painting: np.ndarray) -> None:
        self._activations, self._grey = activations(photo), activations(_in_grey(photo))
        self._painted = activations(painting)
        samples = _samples(painting)
        self._distributions = _distributions(samples)
        self._moments = [moments(each) for each in samples]
        self._colours = _quantiles(painting.reshape(-1, 3))
        self._base = _distance(_distributions(_samples(photo)), self._distributions)
        self._energy = np.mean([_fine_energy(photo), _fine_energy(painting)])

    def __call__(self, picture: np.ndarray) -> Verdict:
        """Returns the verdict on a picture, float32 `(height, width, 3)`, sRGB in [0, 1]."""
        found, samples = activations(picture), _samples(picture)
        style = _distance(_distributions(samples), self._distributions)
        colours = _quantiles(picture.reshape(-1, 3))
        levels = np.round(255 * picture)
        return Verdict(
            style_gain=float(1 - style / self._base),
            content=lpips(self._activations, found),
            colour=float(np.abs(colours - self._colours).mean()),
            clipped=float(np.mean((levels <= 0) | (levels >= 255))),
            grain=float(_fine_energy(picture) / self._energy),
            structure=structure(found, self._activations),
            bare=bare(found, self._activations, self._painted),
            lpips_grey=lpips(self._grey, activations(_in_grey(picture))),
            frechet=frechet([moments(each) for each in samples], self._moments),
        )


def activations(picture: np.ndarray) -> list[np.ndarray]:
    """Returns the activations of AlexNet's five convolutions, each `(h, w, channels)`."""
    import tensorflow as tf

    x = tf.constant((2 * picture - 1 - _SHIFT) / _SCALE)[tf.newaxis]
    found = []
    for index, (kernel, bias, _) in enumerate(_weights()):
        if index in _POOLED_BEFORE:
            x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        around = 2 if index == 0 else kernel.shape[0] // 2
        x = tf.pad(x, [(0, 0), (around, around), (around, around), (0, 0)])
        x = tf.nn.relu(tf.nn.conv2d(x, kernel, _STRIDES[index], "VALID") + bias)
        found.append(x[0].numpy())
    return found


def lpips(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> float:
    """Returns the perceptual distance of two pictures from their activations.

    Equation 1 of Zhang et al. (2018), "The Unreasonable Effectiveness of Deep Features as a
    Perceptual Metric", with the weights that the authors published.
    """
    total = 0.0
    for (_, _, weights), one, other in zip(_weights(), first, second, strict=True):
        total += float((((_unit(one) - _unit(other)) ** 2) @ weights).mean())
    return total


def structure(picture: Sequence[np.ndarray], photo: Sequence[np.ndarray]) -> float:
    """Returns how alike two pictures are in which of their places are alike, at most 1.

    The mean over conv3 to conv5 of the correlation of their self-similarities: cosines of all pairs
    of places, the mean of every channel removed. The self-similarity is that of Kolkin et al.
    (2019), "Style Transfer by Relaxed Optimal Transport and Self-Similarity", equation 7.

    Args:
        picture: activations, of the same shapes as the photo's.
        photo: likewise.
    """
    found = []
    for layers in zip(picture[2:], photo[2:], strict=True):
        drawn = _drawn(layers[0], _COMPARED)
        places = [_unit(_flat(layer) - layer.mean((0, 1)))[drawn] for layer in layers]
        pairs = np.triu_indices(len(drawn), 1)
        found.append(np.corrcoef(*((each @ each.T)[pairs] for each in places))[0, 1])
    return float(np.mean(found))


def bare(
    picture: Sequence[np.ndarray], photo: Sequence[np.ndarray], painting: Sequence[np.ndarray]
) -> float:
    """Returns the share of places that are nearer to the photo than to all of the painting.

    The mean over conv1 to conv4. A place of the picture is compared by cosine with the same place
    of the photo and with every place of the painting, whose channels' means are removed from all.

    Args:
        picture: activations, of the same shapes as the photo's.
        photo: likewise.
        painting: activations of any height and width.
    """
    shares = []
    for layers in zip(picture[:4], photo[:4], painting[:4], strict=True):
        mean = layers[2].mean((0, 1))
        found, same, others = (
            _unit(_flat(layer) - mean)[_drawn(layer, _SEARCHED)] for layer in layers
        )
        chunks = np.array_split(found, -(-len(found) // 1024))
        nearest = np.concatenate([(chunk @ others.T).max(axis=1) for chunk in chunks])
        shares.append(np.mean((found * same).sum(axis=1) > nearest))
    return float(np.mean(shares))


def _flat(layer: np.ndarray) -> np.ndarray:
    return layer.reshape(-1, layer.shape[-1])


def _drawn(layer: np.ndarray, most: int) -> np.ndarray:
    """Returns the indices of a layer's places, of which a fixed draw takes at most so many."""
    count = layer.shape[0] * layer.shape[1]
    if count <= most:
        return np.arange(count)
    return np.random.default_rng(0).choice(count, most, replace=False)


def _unit(features: np.ndarray) -> np.ndarray:
    return features / (np.linalg.norm(features, axis=-1, keepdims=True) + 1e-10)


@functools.cache
def _weights() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Returns kernel, bias and LPIPS weights of every convolution."""
    import h5py

    with h5py.File(_WEIGHTS) as file:
        return [
            tuple(np.float32(file[f"conv{index}/{key}"]) for key in ("kernel", "bias", "lpips"))
            for index in range(1, 6)
        ]


def _samples(picture: np.ndarray) -> list[np.ndarray]:
    """Returns activations `(n, channels)` of each scale and layer, of several small shifts."""
    found = []
    for scale in (1, 2):
        height, width = (length // scale for length in picture.shape[:2])
        seen = _resized(picture, height, width) if scale > 1 else picture
        shifted = [activations(seen[top:, left:]) for top, left in _SHIFTS]
        found += [np.concatenate([*map(_flat, layer)]) for layer in zip(*shifted, strict=True)]
    return found


def _distributions(samples: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the quantiles of the activations, of each scale and layer."""
    return [_quantiles(each) for each in samples]


def _quantiles(samples: np.ndarray) -> np.ndarray:
    """Returns quantiles of samples `(n, channels)` along fixed directions."""
    directions = np.random.default_rng(0).normal(size=(samples.shape[1], _DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    ranked = np.sort(samples @ np.float32(directions), axis=0)
    places = (np.arange(_QUANTILES) + 0.5) / _QUANTILES * len(ranked) - 0.5
    below = np.clip(np.floor(places).astype(int), 0, len(ranked) - 1)
    above = np.minimum(below + 1, len(ranked) - 1)
    share = np.clip(places - below, 0, 1)[:, np.newaxis]
    return (1 - share) * ranked[below] + share * ranked[above]


def _distance(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> float:
    """Returns the mean distance over layers and scales, in units of the second's activations."""
    return float(
        np.mean(
            [
                np.sqrt(np.mean((one - other) ** 2) / np.mean(other**2))
                for one, other in zip(first, second, strict=True)
            ]
        )
    )


def moments(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and root of the covariance of samples `(n, channels)`, float64."""
    mean = samples.mean(axis=0, dtype=np.float64)
    apart = samples - mean
    values, vectors = np.linalg.eigh(apart.T @ apart / len(apart))
    return mean, vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T


def frechet(
    first: Sequence[tuple[np.ndarray, np.ndarray]], second: Sequence[tuple[np.ndarray, np.ndarray]]
) -> float:
    """Returns the mean Fréchet distance over layers and scales, from their `moments`.

    Dowson and Landau (1982), "The Fréchet distance between multivariate normal distributions":
    |m₁ - m₂|² + tr S₁ + tr S₂ - 2 tr (S₁ S₂)^½; the last trace is the sum of the singular values of
    the product of the roots. Relative to the second's mean square, |m₂|² + tr S₂.
    """
    found = []
    for (mean, root), (other_mean, other_root) in zip(first, second, strict=True):
        overlap = np.linalg.svd(root @ other_root, compute_uv=False).sum()
        distance = ((mean - other_mean) ** 2).sum() + (root**2).sum() + (other_root**2).sum()
        energy = (other_mean**2).sum() + (other_root**2).sum()
        found.append((distance - 2 * overlap) / energy)
    return float(np.mean(found))


def _in_grey(picture: np.ndarray) -> np.ndarray:
    """Returns the luminance of a picture in three channels."""
    return np.repeat((picture @ _LUMINANCE)[:, :, np.newaxis], 3, axis=2)


def _fine_energy(picture: np.ndarray) -> float:
    """Returns the energy a pixel of the luminance at frequencies that show as grain."""
    luminance = picture @ _LUMINANCE
    window = np.outer(*(np.hanning(length) for length in luminance.shape))
    spectrum = np.abs(np.fft.fft2((luminance - luminance.mean()) * window)) ** 2
    vertical, horizontal = (np.fft.fftfreq(length) for length in luminance.shape)
    fine = np.hypot(vertical[:, np.newaxis], horizontal) > _GRAIN_FREQUENCY
    return float(spectrum[fine].sum() / (window**2).sum() / luminance.size)


def _resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    from nst_tf.imaging import images

    return images.resize(picture, height, width)


def for_size(photo: np.ndarray, painting: np.ndarray, height: int, width: int) -> Judge:
    """Returns a judge of pictures of a size, who is shown both inputs at that size."""
    from nst_tf.imaging import pyramid

    shown = pyramid.fit(*painting.shape[:2], max(height, width))
    return Judge(_resized(photo, height, width), _resized(painting, *shown))
