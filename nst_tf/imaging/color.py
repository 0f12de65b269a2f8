"""Colours of a picture: colour spaces, keeping the content's colours, and matching a palette.

A picture is an array `(height, width, 3)`, sRGB in [0, 1]; in a colour space its last axis holds
the three values of that space, the lightness first if there is one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

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
_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_NEARLY_GREY = 6e-5  # Largest covariance of the colours of a painting without colours.
_LEAST_VARIANCE = 1e-4  # Added to variances in the palette of a painting.
_FILTERED = 5  # Passes of the filter that the lightness guides.
_EDGE = 6 / 29  # Where the cube root of CIELAB becomes a line.
_PART = 1 << 18  # Pixels whose colours are matched at a time.
_ROUNDING = 0.5 / 255  # Standard deviation of a colour from rounding.

Weighted = Iterable[tuple[np.ndarray, np.ndarray]]
"""Colours `(n, 3)` and their weights `(n,)`, part by part."""

Move = Callable[[np.ndarray], np.ndarray]
"""A function of colours `(n, 3)` to others."""


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
    like: np.ndarray | None = None,
) -> np.ndarray:
    """Returns a picture in the colours of another.

    Args:
        rgb: the picture, `(height, width, 3)`, sRGB in [0, 1].
        palette: the other picture, `(h, w, 3)`.
        method: a key of `METHODS`.
        space: a key of `SPACES`, the space in which colours are compared.
        weights: weights of the picture's pixels, `(height, width)`, or None for all alike.
        like: the picture whose colours become those of the palette, so that several pictures are
            moved alike; None for the picture itself. The weights are of its pixels.
    """
    kind, pixels = SPACES[space], rgb.reshape(-1, 3)
    source = pixels if like is None else like.reshape(-1, 3)
    share = np.broadcast_to(np.float32(1), len(source)) if weights is None else weights.reshape(-1)

    def encoded(colours: np.ndarray) -> np.ndarray:
        return kind.encode(colours) / kind.scale

    other = encoded(palette.reshape(-1, 3))
    weighted = ((encoded(source[part]), share[part]) for part in _parts(len(source)))
    move = METHODS[method](weighted, other)
    found = np.empty(pixels.shape, np.float32)
    for part in _parts(len(pixels)):
        found[part] = _decoded(move(encoded(pixels[part])) * kind.scale, space)
    return found.reshape(rgb.shape)


def _parts(count: int) -> list[slice]:
    return [slice(first, first + _PART) for first in range(0, count, _PART)]


def in_palette(
    rgb: np.ndarray, content: np.ndarray, palette: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Returns the lightness of a picture with the content's colours, moved to a palette.

    ```
    L = lightness of the picture
    a, b = those of the content, with the mean and the covariance of the palette:
           mean + (covariance + 1e-4)^1/2 (content's covariance + 1e-4)^-1/2 (a, b - their mean)
    five times:  a, b = mean of the 3x3 pixels around, weighted by exp(-10 |difference in L|)
    ```

    All three are clamped to the range of the palette. Where the colours of the palette have
    covariances below 6e-5, L, a and b of the picture itself get mean and covariance of the palette
    instead, and no filter. This is the last step of the program of Kolkin et al. (2022), "Neural
    Neighbor Style Transfer". Its space is Oklab (Ottosson, 2020), for sRGB as if it were linear.

    Args:
        rgb: the picture, `(height, width, 3)`, sRGB in [0, 1].
        content: the content picture, likewise, of the same size.
        palette: colours of the paintings, `(n, 3)`, likewise.
        weights: weights of these colours, `(n,)`, not all 0.
    """
    share = weights / weights.sum()
    wanted = _to_oklab(palette)
    within = wanted[share > 0]
    low, high = within.min(axis=0), within.max(axis=0)
    own = _to_oklab(rgb)
    if np.abs(_spread(wanted[:, 1:], share)).max() < _NEARLY_GREY:
        found = _in_distribution(own, wanted, share)
    else:
        lightness_ = own[..., :1].clip(low[0], high[0])
        colours = _in_distribution(_to_oklab(content)[..., 1:], wanted[:, 1:], share)
        colours = _guided(colours, lightness_[..., 0])
        found = np.concatenate([lightness_, colours], axis=-1)
    return _from_oklab(found.clip(low, high)).clip(0, 1).astype(np.float32)


def _to_oklab(rgb: np.ndarray) -> np.ndarray:
    return np.cbrt(rgb @ _LMS.T.astype(rgb.dtype)) @ _OKLAB.T.astype(rgb.dtype)


def _from_oklab(lab: np.ndarray) -> np.ndarray:
    roots = lab @ np.linalg.inv(_OKLAB).T.astype(lab.dtype)
    return roots**3 @ np.linalg.inv(_LMS).T.astype(lab.dtype)


def _spread(colours: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Returns the covariance of colours `(n, channels)`, given the share of each."""
    centred = colours - share @ colours.astype(np.float64)
    return (centred * share[:, np.newaxis]).T @ centred


def _in_distribution(own: np.ndarray, wanted: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Returns colours `(height, width, channels)` with mean and covariance of others."""
    flat = own.reshape(-1, own.shape[-1])
    least = _LEAST_VARIANCE * np.eye(flat.shape[-1])
    spread = np.cov(flat.T, bias=True) + least
    matrix = _power(spread, -0.5) @ _power(_spread(wanted, share) + least, 0.5)
    moved = (flat - flat.mean(axis=0, dtype=np.float64)) @ matrix + share @ wanted
    return moved.astype(own.dtype).reshape(own.shape)


def _guided(colours: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """Returns colours smoothed where the guide, `(height, width)`, is smooth."""
    height, width = guide.shape
    around = [(down, across) for down in range(3) for across in range(3)]

    def shifted(array: np.ndarray, down: int, across: int) -> np.ndarray:
        padded = np.pad(array, [(1, 1), (1, 1), *[(0, 0)] * (array.ndim - 2)], "edge")
        return padded[down : down + height, across : across + width]

    weights = [np.exp(-10 * np.abs(shifted(guide, *place) - guide)) for place in around]
    total = sum(weights)
    for _ in range(_FILTERED):
        parts = zip(weights, around, strict=True)
        colours = sum(
            (weight / total)[..., np.newaxis] * shifted(colours, *place) for weight, place in parts
        )
    return colours


def _match_covariance(own: Weighted, other: np.ndarray) -> Move:
    """Fits the affine map that gives one distribution the mean and covariance of another.

    Of all such maps it moves colours least: equation 17 of Pitié and Kokaram (2007), "The Linear
    Monge-Kantorovitch Linear Colour Mapping":

        A = S^-1/2 (S^1/2 T S^1/2)^1/2 S^-1/2

    Both covariances include the variance of rounding, so that even a picture in grey or in one
    colour has some variance in every direction.
    """
    (mean, source), (target, wanted) = _moments(own), _moments([(other, np.ones(len(other)))])
    root, inverse = _power(source, 0.5), _power(source, -0.5)
    matrix = inverse @ _power(root @ wanted @ root, 0.5) @ inverse

    def move(colours: np.ndarray) -> np.ndarray:
        kind = colours.dtype
        return (colours - mean.astype(kind)) @ matrix.astype(kind) + target.astype(kind)

    return move


def _moments(weighted: Weighted) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean of colours, and their covariance with the variance of rounding."""
    total, sums, squares = 0.0, np.zeros(3), np.zeros((3, 3))
    for part, share in weighted:
        colours, weights = part.astype(np.float64), share.astype(np.float64)
        total += weights.sum()
        sums += weights @ colours
        squares += (colours * weights[:, np.newaxis]).T @ colours
    mean = sums / total
    return mean, squares / total - np.outer(mean, mean) + _ROUNDING**2 * np.eye(3)


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """Returns a power of a symmetric matrix whose eigenvalues are above 0."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values**exponent) @ vectors.T


def _match_histogram(own: Weighted, other: np.ndarray) -> Move:
    """Fits the map of each value of the space, by itself, to the value of the same rank.

    Equal values stay equal: they take the middle of their ranks.
    """
    colours, weights = (np.concatenate(each) for each in zip(*own, strict=True))
    share = weights / weights.sum(dtype=np.float64)
    places = (np.arange(len(other)) + 0.5) / len(other)
    curves = []
    for channel in range(3):
        values, inverse = np.unique(colours[:, channel], return_inverse=True)
        mass = np.bincount(inverse, share)
        ranks = np.cumsum(mass) - 0.5 * mass
        curves.append((values, np.interp(ranks, places, np.sort(other[:, channel]))))

    def move(colours: np.ndarray) -> np.ndarray:
        moved = [np.interp(colours[:, each], *curve) for each, curve in enumerate(curves)]
        return np.stack(moved, axis=-1).astype(colours.dtype)

    return move


METHODS: dict[str, Callable[[Weighted, np.ndarray], Move]] = {
    "covariance": _match_covariance,
    "histogram": _match_histogram,
}
"""Ways to give colours the distribution of other colours, `(n, 3)`. Each gets parts of the colours
with their weights, and returns a function of colours."""


def _with_lightness(space: str) -> Space:
    """Returns the space of that name.

    Raises:
        ConfigError: the space has no lightness.
    """
    names = [name for name, kind in SPACES.items() if kind.has_lightness]
    return SPACES[errors.known("colour space with a lightness", space, names)]


def _decoded(encoded: np.ndarray, space: str) -> np.ndarray:
    return SPACES[space].decode(encoded).clip(0, 1).astype(np.float32)
