"""Photo and paintings as the network is shown them: recoloured, and weighed by regions."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import weakref
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from nst_tf import config as configs
from nst_tf import errors
from nst_tf.imaging import color, images, masks, pyramid

logger = logging.getLogger("nst_tf")

_EVERY_PIXEL = np.ones((1, 1, 1, 1), np.float32)  # Weighs all pixels alike.
_NOTHING = 1e-3  # Share of a picture that is not worth a region.
_READ: weakref.WeakKeyDictionary[images.Picture, masks.Regions] = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True, eq=False)
class Matched:
    """The regions of photo and paintings, in one order.

    Attributes:
        shares: the share of the photo that each region covers; empty where there are no masks.
        blends: for each region, or for the whole picture, the share of each painting's style.
        regions: of the photo, float32 `(h, w, regions)`, of any size, or None.
        style_regions: of each painting, likewise, or None where all of it is the style of every
            region.
        names: of the regions, as a person is told: their colours.
    """

    shares: tuple[float, ...]
    blends: Sequence[Sequence[float]]
    regions: np.ndarray | None
    style_regions: Sequence[np.ndarray | None]
    names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
    """What a picture is made from.

    Attributes:
        content: as the network is shown it.
        styles: likewise.
        matched: their regions.
        colors_of: the photo whose colours the result is shown in, or None.
        kept: the photo that the result shows outside of its regions, or None.
        space: the colour space in which colours are kept.
    """

    content: images.Picture
    styles: Sequence[images.Picture]
    matched: Matched
    colors_of: images.Picture | None
    kept: images.Picture | None
    space: str

    def content_weights(self, height: int, width: int) -> np.ndarray:
        """Returns the weights of the photo's pixels at a size, `(1, height, width, 1 + regions)`.

        The first channel is all of the picture; without regions it is `(1, 1, 1, 1)`.
        """
        return _stacked(None, self.matched.regions, len(self.matched.shares), height, width)

    def style_weights(self, index: int, height: int, width: int) -> np.ndarray:
        """Returns the weights of a painting's pixels, as `content_weights` does."""
        alpha, regions = self.styles[index].alpha, self.matched.style_regions[index]
        return _stacked(alpha, regions, len(self.matched.shares), height, width)

    def style_key(self, index: int) -> tuple[object, ...]:
        """Returns what tells a painting with its regions from others."""
        regions = self.matched.style_regions[index]
        part = None if regions is None else hashlib.sha256(regions.tobytes()).hexdigest()
        return self.styles[index].digest, part

    def finished(self, picture: np.ndarray) -> np.ndarray:
        """Returns a picture `(height, width, 3)` as it is shown to people."""
        size = picture.shape[:2]
        if self.colors_of is not None:
            content = self.colors_of.resized(*size)
            picture = color.with_colors_of(picture, content, self.space)
        if self.kept is not None and self.matched.regions is not None:
            inside = (
                images.resize(self.matched.regions, *size).sum(axis=2, keepdims=True).clip(0, 1)
            )
            content = self.kept.resized(*size)
            picture = content + inside * (picture - content)
        return picture

    @property
    def changes_results(self) -> bool:
        """Whether `finished` does anything."""
        return self.colors_of is not None or self.kept is not None


def prepare(
    config: configs.StyleTransferConfig,
    content: images.Picture,
    styles: Sequence[images.Picture],
    content_mask: images.Picture | None = None,
    style_masks: Sequence[images.Picture] = (),
) -> Inputs:
    """Returns what the network is shown.

    Args:
        config: the settings.
        content: as it was given.
        styles: as they were given.
        content_mask: of the photo, or None.
        style_masks: of the paintings, one for each, or none.

    Raises:
        ConfigError: masks, pictures and settings do not fit each other.
    """
    matched = match_masks(config, len(styles), content_mask, style_masks)
    shown, painted = _recolored(config, content, styles)
    return Inputs(
        shown,
        painted,
        matched,
        content if config.color == "content" else None,
        content if config.outside == "keep" else None,
        config.color_space,
    )


def match_masks(
    config: configs.StyleTransferConfig,
    count: int,
    content_mask: images.Picture | None,
    style_masks: Sequence[images.Picture],
) -> Matched:
    """Returns the regions that masks show.

    Args:
        config: the settings.
        count: of the style pictures.
        content_mask: of the photo, or None.
        style_masks: of the paintings, one for each, or none.

    Raises:
        ConfigError: masks and settings do not fit each other.
    """
    check(config, count, content_mask is not None, len(style_masks))
    shares = config.style_blend or (1.0,) * count
    styles = [regions_of(mask, "style mask") for mask in style_masks]
    if content_mask is not None:
        content = regions_of(content_mask, "content mask")
        return _matched(content, styles, shares, config.outside == "style")
    inside = [regions.inside[..., np.newaxis] for regions in styles]
    return Matched((), [shares], None, inside or _all_of(count))


def regions_of(mask: images.Picture, name: str) -> masks.Regions:
    """Returns the regions that a mask shows, which are looked for once.

    Args:
        mask: as it was given.
        name: of the mask, for the error.

    Raises:
        ConfigError: it has no region.
    """
    if mask not in _READ:
        _READ[mask] = masks.read(mask.rgb, name, mask.alpha)
    return _READ[mask]


def check(
    config: configs.StyleTransferConfig, count: int, content_mask: bool, style_masks: int
) -> None:
    """Raises ConfigError where there are not the masks that the settings and pictures call for.

    Args:
        config: the settings.
        count: of the style pictures.
        content_mask: whether there is one.
        style_masks: how many there are.
    """
    if style_masks not in (0, count):
        raise errors.ConfigError(
            f"{style_masks} style masks were given for {count} style pictures; give one mask "
            "for each, in the same order, or none."
        )
    if config.outside == "keep" and not content_mask:
        raise errors.ConfigError(
            "outside=keep leaves what the content mask does not cover untouched, and there is no "
            "content mask; give one, or leave outside out."
        )


def _matched(
    content: masks.Regions,
    styles: Sequence[masks.Regions],
    shares: Sequence[float],
    paint_outside: bool,
) -> Matched:
    """Returns the regions of the photo, each with its style.

    Args:
        content: of the photo.
        styles: of each painting, or none.
        shares: of each painting's style.
        paint_outside: whether what is outside of all regions becomes one more, in the plain blend.
    """
    maps, found = content.maps, []
    blends = [list(shares) for _ in content.colors]
    for index, row in enumerate(masks.pair(content, styles) if styles else ()):
        style = np.zeros((*styles[index].maps.shape[:2], len(content.colors)), np.float32)
        for region, place in enumerate(row):
            if place is None:
                blends[region][index] = 0.0
            else:
                style[..., region] = styles[index].maps[..., place]
        found.append(style)
    for color_, blend in zip(content.colors, blends, strict=True):
        if not any(blend):
            raise errors.ConfigError(
                f"style_blend leaves no style for the region {color_}; give a share above 0 to a "
                "style that has it."
            )
    covered, names = list(content.shares), content.colors
    if paint_outside and 1 - sum(covered) > _NOTHING:
        outside = (1 - content.inside)[..., np.newaxis]
        maps = np.concatenate([maps, outside], axis=2)
        found = [np.concatenate([style, np.ones_like(style[..., :1])], axis=2) for style in found]
        blends.append(list(shares))
        covered.append(float(outside.mean(dtype=np.float64)))
        names += ("black",)
    return Matched(tuple(covered), blends, maps, found or _all_of(len(shares)), names)


def check_regions(
    config: configs.StyleTransferConfig,
    shown: Inputs,
    level: pyramid.Level,
    strides: Mapping[str, int],
) -> None:
    """Warns of regions that are smaller than what one position of a style layer stands for.

    Args:
        config: the settings.
        shown: photo and paintings with their regions.
        level: the finest.
        strides: pixels between two positions of each style layer, by its name.

    Raises:
        ConfigError: nothing is left of a region.
    """
    for name, place, size, pixels in _areas(config, shown, level):
        at = f"{pixels:.3g} pixels of the {place} at {size[1]}x{size[0]}"
        if not pixels > 0:
            raise errors.ConfigError(
                f"{name} covers {at}: what it marks there is transparent. Mark a part that can be "
                "seen."
            )
        coarse = [name for name, stride in strides.items() if stride**2 > pixels]
        if coarse:
            logger.warning(
                "%s covers %s, and a position of %s stands for more than that: there it is hardly "
                "told from what is around it. Enlarge the region, raise image_size, or leave such "
                "layers out of style_layers.",
                name,
                at,
                ", ".join(coarse),
            )


def _areas(
    config: configs.StyleTransferConfig, shown: Inputs, level: pyramid.Level
) -> Iterator[tuple[str, str, tuple[int, int], float]]:
    """Returns each region, the picture it is in, the size of that, and the pixels it covers."""
    names = [f"the region {name}" for name in shown.matched.names] or ["what is seen"]
    size = level.height, level.width
    pixels = shown.content_weights(*size).sum(axis=(0, 1, 2), dtype=np.float64)
    yield from ((name, "photo", size, area) for name, area in zip(names, pixels[1:], strict=False))
    for index, style in enumerate(shown.styles):
        size = pyramid.style_size(config, style.size, level)
        weights = shown.style_weights(index, *size)
        if weights.shape[1:3] != size:
            continue  # All of it.
        pixels = weights.sum(axis=(0, 1, 2), dtype=np.float64)[1 if shown.matched.names else 0 :]
        place = f"style picture {index + 1}" if len(shown.styles) > 1 else "style picture"
        for name, area, blend in zip(names, pixels, shown.matched.blends, strict=True):
            if blend[index]:
                yield name, place, size, area


def _all_of(count: int) -> list[None]:
    """Returns what stands for the regions of paintings without masks."""
    return [None] * count


def _stacked(
    alpha: np.ndarray | None, regions: np.ndarray | None, count: int, height: int, width: int
) -> np.ndarray:
    """Returns weights of pixels, `(1, height, width, 1 + count)`.

    Args:
        alpha: that all are multiplied by, `(h, w)`, or None.
        regions: `(h, w, count)`; `(h, w, 1)` for a part of the picture where there is no count; or
            None for all of it, for every region.
        count: of the regions.
        height: of the result.
        width: of the result.
    """
    if alpha is None and regions is None and not count:
        return _EVERY_PIXEL
    base = np.ones((height, width, 1 + count), np.float32)
    if alpha is not None:
        base *= images.resize(alpha, height, width)[..., np.newaxis]
    if regions is not None:
        base[..., 1 if count else 0 :] *= images.resize(regions, height, width)
    return base[np.newaxis]


def _recolored(
    config: configs.StyleTransferConfig,
    content: images.Picture,
    styles: Sequence[images.Picture],
) -> tuple[images.Picture, list[images.Picture]]:
    """Returns the pictures in the colours that the network is shown."""
    space, method = config.color_space, config.color_method

    def changed(style: images.Picture, pixels: np.ndarray) -> images.Picture:
        return dataclasses.replace(style, pixels=pixels)

    if config.color == "content":
        grey = changed(content, color.lightness(content.rgb, space))
        return grey, [
            changed(each, color.match_lightness(each.rgb, content.rgb, space, each.alpha))
            for each in styles
        ]
    if config.color == "match":
        return content, [
            changed(each, color.match(each.rgb, content.rgb, method, space, each.alpha))
            for each in styles
        ]
    return content, list(styles)
