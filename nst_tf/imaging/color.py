"""Colours of a picture: colour spaces, keeping the content's colours, and matching a palette.

A picture is an array `(height, width, 3)`, sRGB in [0, 1]; in a colour space its last axis holds
the three values of that space, the lightness first if there is one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from nst_tf import errors

_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_WHITE = _XYZ.sum(axis=1)
_YIQ = np.array(
    [
        [0.299, 0.587, 0.114],
        [0.59590059, -0.27455667, -0.32134392],
        [0.21153661, -0.52273617, 0.31119955],
    ]
)
_EDGE = 6 / 29  # Where the cube root of CIELAB becomes a line.
_ROUNDING = 0.5 / 255  # Standard deviation of a colour from rounding.


@dataclasses.dataclass(frozen=True)
class Space:
    """A colour space.

    Attributes:
        encode: function from sRGB in [0, 1] to the space.
        decode: function from the space to sRGB; the result may lie outside of [0, 1].
        scale: difference in the space that is about as large as a difference of 1 in sRGB.
        has_lightness: whether the first value is the lightness, and the others colour alone.
    """

    encode: Callable[[np.ndarray], np.ndarray]
    decode: Callable[[np.ndarray], np.ndarray]
    scale: float = 1.0
    has_lightness: bool = True


def _to_lab(rgb: np.ndarray) -> np.ndarray:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ (_XYZ.T / _WHITE).astype(rgb.dtype)
    root = np.where(xyz > _EDGE**3, np.cbrt(xyz), xyz / (3 * _EDGE**2) + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _from_lab(lab: np.ndarray) -> np.ndarray:
    lightness, a, b = np.moveaxis(lab, -1, 0)
    y = (lightness + 16) / 116
    root = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    xyz = np.where(root > _EDGE, root**3, 3 * _EDGE**2 * (root - 4 / 29))
    linear = xyz @ np.linalg.inv(_XYZ.T / _WHITE).astype(lab.dtype)
    curved = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curved)


SPACES = {
    "lab": Space(_to_lab, _from_lab, scale=100.0),
    "yiq": Space(
        lambda rgb: rgb @ _YIQ.T.astype(rgb.dtype),
        lambda yiq: yiq @ np.linalg.inv(_YIQ.T).astype(yiq.dtype),
    ),
    "rgb": Space(lambda rgb: rgb, lambda rgb: rgb, has_lightness=False),
}
"""CIELAB for the white D65 (CIE 15, with the curve of IEC 61966-2-1), YIQ of NTSC, and sRGB."""


def lightness(rgb: np.ndarray, space: str) -> np.ndarray:
    """Returns a picture without its colours.

    Args:
        rgb: `(height, width, 3)`, sRGB in [0, 1].
        space: `lab` or `yiq`, whose first value is the lightness.
    """
    encoded = _with_lightness(space).encode(rgb)
    encoded[..., 1:] = 0
    return _decoded(encoded, space)


def with_colors_of(rgb: np.ndarray, content: np.ndarray, space: str) -> np.ndarray:
    """Returns the lightness of a picture with the colours of the content.

    Args:
        rgb: the picture, `(height, width, 3)`, sRGB in [0, 1].
        content: the content picture, likewise, of the same size.
        space: `lab` or `yiq`, whose first value is the lightness.
    """
    encoded = _with_lightness(space).encode(rgb)
    encoded[..., 1:] = SPACES[space].encode(content)[..., 1:]
    return _decoded(encoded, space)


def match_lightness(
    rgb: np.ndarray, palette: np.ndarray, space: str, weights: np.ndarray | None = None
) -> np.ndarray:
    """Returns a picture in grey, its lightness with the mean and deviation of another picture's.

    This is equation 4 of Gatys, Bethge, Hertzmann and Shechtman (2016), "Preserving Color in
    Neural Artistic Style Transfer".

    Args:
        rgb: the picture, `(height, width, 3)`, sRGB in [0, 1].
        palette: the other picture, `(h, w, 3)`.
        space: `lab` or `yiq`, whose first value is the lightness.
        weights: weights of the picture's pixels, `(height, width)`, or None for all alike.
    """
    encoded = _with_lightness(space).encode(rgb)
    own, other = encoded[..., 0], SPACES[space].encode(palette)[..., 0]
    mean = np.average(own, weights=weights)
    deviation = np.sqrt(np.average((own - mean) ** 2, weights=weights))
    least = _ROUNDING * SPACES[space].scale
    encoded[..., 0] = (own - mean) * (max(other.std(), least) / max(deviation, least))
    encoded[..., 0] += other.mean()
    encoded[..., 1:] = 0
    return _decoded(encoded, space)


def match(
    rgb: np.ndarray,
    palette: np.ndarray,
    method: str,
    space: str,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Returns a picture in the colours of another.

    Args:
        rgb: the picture, `(height, width, 3)`, sRGB in [0, 1].
        palette: the other picture, `(h, w, 3)`.
        method: a key of `METHODS`.
        space: a key of `SPACES`, the space in which colours are compared.
        weights: weights of the picture's pixels, `(height, width)`, or None for all alike.
    """
    shape, kind = rgb.shape, SPACES[space]
    own, other = (kind.encode(each).reshape(-1, 3) for each in (rgb, palette))
    share = np.ones(len(own)) if weights is None else weights.reshape(-1).astype(np.float64)
    moved = METHODS[method](own / kind.scale, other / kind.scale, share / share.sum())
    return _decoded((moved * kind.scale).reshape(shape), space)


def _match_covariance(own: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Applies the affine map that gives one distribution the mean and covariance of another.

    Of all such maps it moves colours least: equation 17 of Pitié and Kokaram (2007), "The Linear
    Monge-Kantorovitch Linear Colour Mapping":

        A = S^-1/2 (S^1/2 T S^1/2)^1/2 S^-1/2

    Both covariances include the variance of rounding, so that even a picture in grey or in one
    colour has some variance in every direction.
    """
    mean, target = share @ own.astype(np.float64), other.mean(axis=0, dtype=np.float64)
    source = _covariance(own, mean, share)
    wanted = _covariance(other, target, np.full(len(other), 1 / len(other)))
    root = _power(source, 0.5)
    inverse = _power(source, -0.5)
    matrix = inverse @ _power(root @ wanted @ root, 0.5) @ inverse
    return ((own - mean.astype(own.dtype)) @ matrix.astype(own.dtype)) + target.astype(own.dtype)


def _covariance(colours: np.ndarray, mean: np.ndarray, share: np.ndarray) -> np.ndarray:
    centred = colours - mean
    return (centred * share[:, np.newaxis]).T @ centred + _ROUNDING**2 * np.eye(3)


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """Returns a power of a symmetric matrix whose eigenvalues are above 0."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values**exponent) @ vectors.T


def _match_histogram(own: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Moves each value of the space, by itself, to the value of the same rank.

    Equal values stay equal: they take the middle of their ranks.
    """
    moved = np.empty_like(own)
    places = (np.arange(len(other)) + 0.5) / len(other)
    for channel in range(3):
        inverse = np.unique(own[:, channel], return_inverse=True)[1]
        mass = np.bincount(inverse, share)
        ranks = np.cumsum(mass) - 0.5 * mass
        moved[:, channel] = np.interp(ranks, places, np.sort(other[:, channel]))[inverse]
    return moved


METHODS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "covariance": _match_covariance,
    "histogram": _match_histogram,
}
"""Ways to give colours `(n, 3)`, weighted by shares of 1, the distribution of other colours."""


def _with_lightness(space: str) -> Space:
    """Returns the space of that name.

    Raises:
        ConfigError: the space has no lightness.
    """
    names = [name for name, kind in SPACES.items() if kind.has_lightness]
    return SPACES[errors.known("colour space with a lightness", space, names)]


def _decoded(encoded: np.ndarray, space: str) -> np.ndarray:
    return SPACES[space].decode(encoded).clip(0, 1).astype(np.float32)
