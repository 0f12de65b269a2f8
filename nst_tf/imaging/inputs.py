"""Content and styles as the network gets them: recoloured, and weighted by regions."""

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
_PALETTE_SIDE, _PALETTE_COLOURS = 256, 1 << 16
_PALETTE_SPACE = "rgb"  # In Lab, saturated colours are moved beyond what can be shown.
_SEEN = 0.5  # Least weight of a style's pixels in its palette.
_NOTHING = 1e-3  # Share of a picture that is too small for a region.
_READ: weakref.WeakKeyDictionary[images.Picture, masks.Regions] = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True, eq=False)
class Matched:
    """The regions of content and styles, in one order.

    Attributes:
        shares: share of the content that each region covers; empty without a content mask.
        blends: share of each style, for each region, or once for the whole picture.
        regions: regions of the content, float32 `(h, w, regions)`, of any size, or None.
        style_regions: regions of each style, likewise, or None if the whole style picture serves
            every region.
        names: names of the regions in messages: their colours.
    """

    shares: tuple[float, ...]
    blends: Sequence[Sequence[float]]
    regions: np.ndarray | None
    style_regions: Sequence[np.ndarray | None]
    names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs of a stylisation.

    Attributes:
        content: the content picture, as the network gets it.
        styles: the style pictures, likewise.
        matched: their regions.
        colors_of: the content picture whose colours the result takes, or None.
        moved: whether these colours are moved to the palette of the styles.
        kept: the content picture that the result shows outside of its regions, or None.
        space: colour space in which colours are kept.
        palettes: colours for each region, or for the whole picture, to which the result is
            matched, each `(1, n, 3)`; empty if it is not.
        method: how they are matched.
        extent: share of the way to those colours, 0 to 1.
    """

    content: images.Picture
    styles: Sequence[images.Picture]
    matched: Matched
    colors_of: images.Picture | None
    moved: bool
    kept: images.Picture | None
    space: str
    palettes: Sequence[np.ndarray] = ()
    method: str = "covariance"
    extent: float = 1.0

    def content_weights(self, height: int, width: int) -> np.ndarray:
        """Returns the weights of the content's pixels, `(1, height, width, 1 + regions)`.

        The first channel is the whole picture. Without regions the shape is `(1, 1, 1, 1)`.
        """
        return _stacked(None, self.matched.regions, len(self.matched.shares), height, width)

    def style_weights(self, index: int, height: int, width: int) -> np.ndarray:
        """Returns the weights of a style's pixels, as `content_weights` does."""
        alpha, regions = self.styles[index].alpha, self.matched.style_regions[index]
        return _stacked(alpha, regions, len(self.matched.shares), height, width)

    def style_key(self, index: int) -> tuple[object, ...]:
        """Returns a key that tells a style with its regions from others."""
        regions = self.matched.style_regions[index]
        part = None if regions is None else hashlib.sha256(regions.tobytes()).hexdigest()
        return self.styles[index].digest, part

    def finished(self, picture: np.ndarray) -> np.ndarray:
        """Returns a picture `(height, width, 3)` in its final colours, its outside kept."""
        size = picture.shape[:2]
        if self.palettes:
            picture = self.matched_to_palettes(picture)
        if self.colors_of is not None:
            content = self.colors_of.resized(*size)
            if self.moved:
                picture = color.in_palette(picture, content, *self._tints(max(size)))
            else:
                picture = color.with_colors_of(picture, content, self.space)
        if self.kept is not None and self.matched.regions is not None:
            inside = (
                images.resize(self.matched.regions, *size).sum(axis=2, keepdims=True).clip(0, 1)
            )
            content = self.kept.resized(*size)
            picture = content + inside * (picture - content)
        return picture

    def _tints(self, long_side: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the colours of the styles, `(n, 3)`, and the weight of each, `(n,)`."""
        areas = self.matched.shares or (1.0,)
        blends = np.array(self.matched.blends, np.float64)
        blends /= blends.sum(axis=1, keepdims=True)
        colours, weights = [], []
        for index, share in enumerate(areas @ blends):
            height, width = pyramid.fit(*self.styles[index].size, long_side)
            colours.append(self.styles[index].resized(height, width).reshape(-1, 3))
            own = self.style_weights(index, height, width)[0, :, :, 0].astype(np.float64)
            own = np.broadcast_to(own, (height, width)).reshape(-1)
            weights.append(share * own / own.sum())
        return np.concatenate(colours), np.concatenate(weights)

    @property
    def changes_results(self) -> bool:
        """Whether `finished` changes anything."""
        return bool(self.palettes) or self.colors_of is not None or self.kept is not None

    def matched_to_palettes(
        self, picture: np.ndarray, like: np.ndarray | None = None
    ) -> np.ndarray:
        """Returns a picture `(height, width, 3)` in the colours of `palettes`.

        Args:
            picture: the picture.
            like: the picture whose colours become those of the palettes, `(h, w, 3)`; None for
                the picture itself.
        """
        regions = self._regions_at(picture)
        found = picture.copy()
        for index, palette in enumerate(self.palettes):
            region = regions[..., index]
            own = region if like is None else self._regions_at(like)[..., index]
            moved = color.match(picture, palette, self.method, _PALETTE_SPACE, own, like)
            moved -= picture
            moved *= self.extent * region[..., np.newaxis]
            found += moved
        return found

    def _regions_at(self, picture: np.ndarray) -> np.ndarray:
        """Returns the regions in the size of a picture, or one of all of it."""
        if not self.matched.shares:
            return np.ones_like(picture[..., :1])
        return self.content_weights(*picture.shape[:2])[0][..., 1:]


def prepare(
    config: configs.StyleTransferConfig,
    content: images.Picture,
    styles: Sequence[images.Picture],
    content_mask: images.Picture | None = None,
    style_masks: Sequence[images.Picture] = (),
) -> Inputs:
    """Returns the inputs of the network.

    Args:
        config: the settings.
        content: the given content picture.
        styles: the given style pictures.
        content_mask: mask of the content, or None.
        style_masks: masks of the styles, one for each, or none.

    Raises:
        ConfigError: masks, pictures and settings do not fit each other.
    """
    matched = match_masks(config, len(styles), content_mask, style_masks)
    shown, painted = _recolored(config, content, styles)
    found = Inputs(
        shown,
        painted,
        matched,
        content if config.color in ("content", "tint") else None,
        config.color == "tint",
        content if config.outside == "keep" else None,
        config.color_space,
    )
    if config.color != "palette" or not config.strength:
        return found
    found = dataclasses.replace(
        found,
        palettes=[_palette(found, region) for region in range(len(matched.blends))],
        method=config.color_method,
        extent=min(1.0, config.strength / configs.NEUTRAL_STRENGTH),
    )
    pixels = found.matched_to_palettes(content.rgb)
    return dataclasses.replace(found, content=dataclasses.replace(content, pixels=pixels))


def _palette(shown: Inputs, region: int) -> np.ndarray:
    """Returns colours of the styles of a region, each as often as its share says, `(1, n, 3)`."""
    blend = shown.matched.blends[region]
    found = []
    for index, share in enumerate(blend):
        style = shown.styles[index]
        size = pyramid.fit(*style.size, min(_PALETTE_SIDE, max(style.size)))
        weights = shown.style_weights(index, *size)
        channel = min(weights.shape[-1] - 1, region + 1) if shown.matched.shares else 0
        seen = np.broadcast_to(weights[0, ..., channel], size) >= _SEEN
        colours = style.resized(*size)[seen]
        count = round(_PALETTE_COLOURS * share / sum(blend)) if len(colours) else 0
        found.append(colours[np.linspace(0, len(colours) - 1, count).round().astype(int)])
    return np.concatenate(found)[np.newaxis]


def match_masks(
    config: configs.StyleTransferConfig,
    count: int,
    content_mask: images.Picture | None,
    style_masks: Sequence[images.Picture],
) -> Matched:
    """Returns the regions of the masks, with the style of each.

    Args:
        config: the settings.
        count: number of style pictures.
        content_mask: mask of the content, or None.
        style_masks: masks of the styles, one for each, or none.

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
    """Returns the regions of a mask; a second call for the same mask is free.

    Args:
        mask: the given mask.
        name: name of the mask, for the error.

    Raises:
        ConfigError: the mask has no region.
    """
    if mask not in _READ:
        _READ[mask] = masks.read(mask.rgb, name, mask.alpha)
    return _READ[mask]


def check(
    config: configs.StyleTransferConfig, count: int, content_mask: bool, style_masks: int
) -> None:
    """Checks that there are the masks that settings and pictures need.

    Args:
        config: the settings.
        count: number of style pictures.
        content_mask: whether there is a content mask.
        style_masks: number of style masks.

    Raises:
        ConfigError: the masks do not fit.
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
    """Returns the regions of the content, each with its style.

    Args:
        content: regions of the content.
        styles: regions of each style, or none.
        shares: share of each style.
        paint_outside: whether the outside of all regions becomes one more, in the plain blend.
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
    """Warns of regions that are smaller than one position of a style layer.

    Args:
        config: the settings.
        shown: content and styles with their regions.
        level: the finest level.
        strides: pixels between two positions of each style layer, by its name.

    Raises:
        ConfigError: a region is fully transparent.
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
    """Yields each region, the name and the size of its picture, and the pixels that it covers."""
    names = [f"the region {name}" for name in shown.matched.names] or ["what is seen"]
    size = level.height, level.width
    pixels = shown.content_weights(*size).sum(axis=(0, 1, 2), dtype=np.float64)
    yield from ((name, "photo", size, area) for name, area in zip(names, pixels[1:], strict=False))
    for index, style in enumerate(shown.styles):
        size = pyramid.style_size(config, style.size, level)
        weights = shown.style_weights(index, *size)
        if weights.shape[1:3] != size:
            continue  # The whole picture.
        pixels = weights.sum(axis=(0, 1, 2), dtype=np.float64)[1 if shown.matched.names else 0 :]
        place = f"style picture {index + 1}" if len(shown.styles) > 1 else "style picture"
        for name, area, blend in zip(names, pixels, shown.matched.blends, strict=True):
            if blend[index]:
                yield name, place, size, area


def _all_of(count: int) -> list[None]:
    """Returns the regions of styles without masks: None for each."""
    return [None] * count


def _stacked(
    alpha: np.ndarray | None, regions: np.ndarray | None, count: int, height: int, width: int
) -> np.ndarray:
    """Returns weights of pixels, `(1, height, width, 1 + count)`.

    Args:
        alpha: factor of all weights, `(h, w)`, or None.
        regions: regions `(h, w, count)`; a part of the picture, `(h, w, 1)`, if `count` is 0; or
            None for the whole picture as every region.
        count: number of regions.
        height: height of the result.
        width: width of the result.
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
    """Returns the pictures in the colours that the network gets."""
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
