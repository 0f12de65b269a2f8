"""Masks: the regions of a picture. Needs no TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from nst_tf import errors

_GREY = 0.1  # Channels that differ by less are grey. JPEG artefacts differ by less.
_SAME = 0.25  # Distance of two colours below which they count as one.
_CORE = 0.1  # Distance within which pixels count as of a colour, and not as near an edge.
_EVEN = 0.03  # Difference of neighbours above which there is an edge.
_LEAST = 0.002  # Least share of a picture for a colour; a smaller one counts as an edge.
_MIXTURE = 0.05  # Least share for a colour between two others; a smaller one is a mixture.
_BLACK = np.zeros(3, np.float32)
_WHITE = "#ffffff"
_ALMOST = 8  # Of 255: distance within which a value counts as 0 or 255.


@dataclasses.dataclass(frozen=True, eq=False)
class Regions:
    """The regions of a picture.

    Attributes:
        colors: colour of each region in its mask, such as `#ff0000`.
        maps: share of each pixel that belongs to each region, float32 `(height, width, regions)` in
            [0, 1]. Where these add up to less than 1, the rest is outside of all regions.
    """

    colors: tuple[str, ...]
    maps: np.ndarray

    @property
    def shares(self) -> list[float]:
        """The share of the picture that each region covers."""
        return [float(share) for share in self.maps.mean(axis=(0, 1), dtype=np.float64)]

    @property
    def inside(self) -> np.ndarray:
        """Share of each pixel that belongs to any region, `(height, width)`."""
        return self.maps.sum(axis=2).clip(0, 1)

    def in_words(self) -> str:
        """Returns the colours and their shares, for messages."""
        found = [
            f"{color} ({share:.1%})" for color, share in zip(self.colors, self.shares, strict=True)
        ]
        outside = 1 - sum(self.shares)
        return ", ".join([*found, *([f"black ({outside:.1%})"] if outside > 1e-3 else [])])


def read(mask: np.ndarray, name: str, alpha: np.ndarray | None = None) -> Regions:
    """Returns the regions of a mask.

    A mask in grey has one region, white, and a pixel belongs to it as far as it is white. In a
    mask with colours each colour that covers an area is a region, and black is outside of all. A
    pixel between two colours, as at a soft edge, belongs to both in proportion. Colours that a
    lossy file has blurred count as one. A transparent pixel is outside of all regions, and any
    other belongs to its region as far as it is opaque.

    Args:
        mask: the mask, `(height, width, 3)`, sRGB in [0, 1].
        name: name of the mask, for the error.
        alpha: opacity of the mask, `(height, width)` in [0, 1], or None if it is opaque.

    Raises:
        ConfigError: the mask is black or transparent all over.
    """
    if alpha is not None:
        mask = np.where(alpha[..., np.newaxis] > 0, mask, _BLACK)
    if np.mean(np.ptp(mask, axis=2) > _GREY) < _LEAST:
        found = Regions((_WHITE,), mask.mean(axis=2, keepdims=True, dtype=np.float32))
    else:
        labels = _labels(mask)
        maps = _memberships(mask, np.stack([_BLACK, *labels]))[..., 1:]
        found = Regions(tuple(map(_hex, labels)), maps)
    if alpha is not None:
        found = Regions(found.colors, found.maps * alpha[..., np.newaxis])
    if not found.colors or found.maps.max() < 0.5:
        raise errors.ConfigError(
            f"the {name} is black or transparent all over, so it has no region; expected white, or "
            "colours, where a region is."
        )
    return found


def _labels(mask: np.ndarray) -> list[np.ndarray]:
    """Returns the colours that cover an area, without black, the largest first."""
    pixels = mask[:-1, :-1][_is_flat(mask)]
    if not len(pixels):
        return []
    bins = np.rint(pixels * 15).astype(np.int64) @ (256, 16, 1)
    counts = np.bincount(bins, minlength=4096)
    centres = np.stack(np.unravel_index(np.arange(4096), (16, 16, 16)), axis=1) / 15
    found, left = [_BLACK], counts.astype(np.float64) / len(pixels)
    left[np.linalg.norm(centres - _BLACK, axis=1) < _SAME] = 0
    while left.max() > 0:
        centre = centres[left.argmax()]
        near = np.linalg.norm(centres - centre, axis=1)
        share = left[near < _CORE].sum()
        if share >= (_MIXTURE if _is_mixture(centre, found) else _LEAST):
            own = np.linalg.norm(pixels - centre, axis=1) < _CORE
            found.append(np.median(pixels[own], axis=0))
        left[near < _SAME] = 0
    return found[1:]


def _is_flat(mask: np.ndarray) -> np.ndarray:
    """Returns where a pixel has the colour of its neighbours to the right and below."""
    right = np.abs(mask[:-1, 1:] - mask[:-1, :-1]).max(axis=2)
    below = np.abs(mask[1:, :-1] - mask[:-1, :-1]).max(axis=2)
    return np.maximum(right, below) < _EVEN


def _is_mixture(color: np.ndarray, labels: Sequence[np.ndarray]) -> bool:
    """Returns whether a colour lies between two others."""
    for index, one in enumerate(labels):
        for other in labels[index + 1 :]:
            place, distance = _along(color, one, other)
            if distance < _CORE and 0 < place < 1:
                return True
    return False


def _along(colors: np.ndarray, one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the places of colours between one and another, 0 to 1, and their distances."""
    line = other - one
    place = ((colors - one) @ line / (line @ line)).clip(0, 1)
    return place, np.linalg.norm(colors - one - place[..., np.newaxis] * line, axis=-1)


def _memberships(mask: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the share of each pixel that belongs to each label. The shares add up to 1.

    Every pixel is projected onto the nearest line between two labels.
    """
    best = np.full(mask.shape[:2], np.inf, np.float32)
    found = np.zeros((*mask.shape[:2], len(labels)), np.float32)
    for index in range(len(labels)):
        for other in range(index + 1, len(labels)):
            place, distance = _along(mask, labels[index], labels[other])
            # At a label itself all its lines are equally near.
            nearer = distance < best - 1e-4
            best = np.where(nearer, distance, best)
            found[nearer] = 0
            found[nearer, index] = 1 - place[nearer]
            found[nearer, other] = place[nearer]
    return _crisp(found)


def _crisp(maps: np.ndarray) -> np.ndarray:
    """Removes the noise of a lossy file from pixels that belong to one region."""
    noise = _CORE
    cleaned = ((maps - noise) / (1 - 2 * noise)).clip(0, 1)
    return (cleaned / cleaned.sum(axis=2, keepdims=True)).astype(np.float32)


def _hex(color: np.ndarray) -> str:
    values = np.rint(255 * color).astype(int)
    values = np.where(values < _ALMOST, 0, np.where(values > 255 - _ALMOST, 255, values))
    return "#" + "".join(f"{value:02x}" for value in values)


def pair(content: Regions, styles: Sequence[Regions]) -> list[list[int | None]]:
    """Returns the region of each style for every region of the content, by colour.

    Args:
        content: regions of the content.
        styles: regions of each style.

    Returns:
        For each style, the index of its region for every region of the content, or None if it
        has none; at least one style has one.

    Raises:
        ConfigError: a colour is on one side only.
    """
    found: list[list[int | None]] = [
        [_nearest(color, style.colors) for color in content.colors] for style in styles
    ]
    alone = [
        color
        for index, color in enumerate(content.colors)
        if all(row[index] is None for row in found)
    ]
    for row, style in zip(found, styles, strict=True):
        alone += [color for index, color in enumerate(style.colors) if index not in row]
    if alone:
        sides = "; ".join(f"a style mask has {style.in_words()}" for style in styles)
        raise errors.ConfigError(
            f"{', '.join(alone)} is in the masks of one side only. The content mask has "
            f"{content.in_words()}; {sides}. Give each region the same colour on both sides."
        )
    return found


def _nearest(color: str, others: Sequence[str]) -> int | None:
    distances = [np.linalg.norm(_rgb(color) - _rgb(other)) for other in others]
    index = int(np.argmin(distances))
    return index if distances[index] < _SAME else None


def _rgb(color: str) -> np.ndarray:
    return np.array([int(color[place : place + 2], 16) for place in (1, 3, 5)]) / 255


def overlay(picture: np.ndarray, regions: Regions) -> np.ndarray:
    """Returns a picture with its regions laid over it in their colours, the outside darkened.

    Args:
        picture: the picture, `(height, width, 3)`, sRGB in [0, 1].
        regions: its regions, with maps of the same size.
    """
    colors = np.stack([_rgb(color) for color in regions.colors]).astype(np.float32)
    inside = regions.inside[..., np.newaxis]
    return (0.5 * picture * (0.5 + 0.5 * inside) + 0.5 * regions.maps @ colors).clip(0, 1)
