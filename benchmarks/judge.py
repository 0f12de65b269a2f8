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


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was found of a picture; the module says what the names mean."""

    style_gain: float
    content: float
    colour: float
    clipped: float
    grain: float


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
        self._activations = activations(photo)
        self._distributions = _distributions(painting)
        self._colours = _quantiles(painting.reshape(-1, 3))
        self._base = _distance(_distributions(photo), self._distributions)
        self._energy = np.mean([_fine_energy(photo), _fine_energy(painting)])

    def __call__(self, picture: np.ndarray) -> Verdict:
        """Returns the verdict on a picture, float32 `(height, width, 3)`, sRGB in [0, 1]."""
        style = _distance(_distributions(picture), self._distributions)
        colours = _quantiles(picture.reshape(-1, 3))
        levels = np.round(255 * picture)
        return Verdict(
            float(1 - style / self._base),
            lpips(self._activations, activations(picture)),
            float(np.abs(colours - self._colours).mean()),
            float(np.mean((levels <= 0) | (levels >= 255))),
            float(_fine_energy(picture) / self._energy),
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


def _distributions(picture: np.ndarray) -> list[np.ndarray]:
    """Returns the quantiles of the activations, of each scale and layer."""
    found = []
    for scale in (1, 2):
        height, width = (length // scale for length in picture.shape[:2])
        seen = _resized(picture, height, width) if scale > 1 else picture
        shifted = [activations(seen[top:, left:]) for top, left in _SHIFTS]
        for layer in zip(*shifted, strict=True):
            found.append(_quantiles(np.concatenate([x.reshape(-1, x.shape[-1]) for x in layer])))
    return found


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
