"""The coarse-to-fine pyramid: the sizes of a picture, and the steps at each of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from nst_tf import config as configs
from nst_tf import errors
from nst_tf.config import vgg_layers

MOST_STEPS, ENOUGH_STEPS, LEAST_STEPS = 160, 30, 10
_STEPS_ON = 60  # Of a run that continues an earlier result.
_DECLINE = 1.3  # Ratio of the steps of two levels, below `ENOUGH_STEPS`.
_MATCHED_STEPS = (150, 100, 60, 35, 20, 15, 10)  # Of levels with matched places, from the coarsest.


@dataclasses.dataclass(frozen=True)
class Level:
    """One resolution of the pyramid.

    Attributes:
        height: height of the picture at this level, in pixels.
        width: width of the picture at this level, in pixels.
        steps: number of optimiser steps at this level.
    """

    height: int
    width: int
    steps: int

    @property
    def long_side(self) -> int:
        """The longer one of height and width, in pixels."""
        return max(self.height, self.width)


def fit(height: int, width: int, long_side: int) -> tuple[int, int]:
    """Returns the size with the given long side and the aspect ratio of `height:width`.

    The short side has at least one pixel.
    """
    scale = long_side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def levels(
    height: int,
    width: int,
    steps: Sequence[int],
    *,
    count: int = 0,
    factor: float = math.sqrt(2),
    growth: float = 1.75,
    coarsest: int = 181,
    minimum: int = 32,
    matched: bool = False,
) -> list[Level]:
    """Returns the levels of a pyramid, coarse to fine.

    Args:
        height: height of the finished picture, in pixels.
        width: width of the finished picture, in pixels.
        steps: steps of the levels. One number: the steps of the finest level; each coarser level
            takes `growth` times the steps of the next finer one. Several numbers: the steps of
            every level, coarse to fine. No number: `MOST_STEPS` at the coarsest level, and fewer
            by `growth` at each finer one, down to `ENOUGH_STEPS`; still finer levels, which only
            add detail, take fewer by 1.3, down to `LEAST_STEPS`.
        matched: whether places are matched at every level. Then one number is that of every level,
            and no number takes `_MATCHED_STEPS`: most steps where they are cheap.
        count: number of levels. 0 takes as many as `steps` has numbers, or, with at most one
            number, as many as bring the long side of the coarsest level near to `coarsest`.
        factor: ratio of the sizes of two neighbouring levels.
        growth: ratio of the steps of two neighbouring levels.
        coarsest: intended long side of the coarsest level, in pixels.
        minimum: shortest side that the backbone can use, in pixels. Levels below it are
            left out of an automatic pyramid, and refused in a requested one.

    Raises:
        ConfigError: `count` and `steps` disagree, or a level would be too small.
    """
    if min(height, width) < minimum:
        raise errors.ConfigError(
            f"a picture of {width}x{height} pixels is too small: the chosen layers need a short "
            f"side of at least {minimum}. Raise image_size, choose shallower layers, or crop a "
            "very long picture."
        )
    if count and len(steps) > 1 and count != len(steps):
        raise errors.ConfigError(
            f"levels={count}, but steps lists {len(steps)} numbers; give one number of steps, or "
            "one for every level."
        )
    wanted = count or (len(steps) if len(steps) > 1 else 0)
    largest = 1 + math.floor(math.log(min(height, width) / minimum, factor) + 1e-9)
    if wanted > largest:
        raise errors.ConfigError(
            f"{wanted} levels are too many for {width}x{height} pixels: the coarsest would have a "
            f"short side below {minimum}. Take at most {largest}."
        )
    if not wanted:
        span = math.log(max(height, width) / coarsest, factor)
        wanted = max(1, min(largest, 1 + round(span)))
    if not steps:
        steps = _matched_steps(wanted) if matched else _default_steps(wanted, growth)
    elif len(steps) == 1 and matched:
        steps = [steps[0]] * wanted
    elif len(steps) == 1:
        steps = [round(steps[0] * growth**depth) for depth in reversed(range(wanted))]
    return [
        Level(max(1, round(height / scale)), max(1, round(width / scale)), number)
        for number, scale in zip(
            steps, (factor**depth for depth in reversed(range(wanted))), strict=True
        )
    ]


def _default_steps(count: int, growth: float) -> list[int]:
    """Returns the default steps of every level, coarse to fine."""
    found = [float(MOST_STEPS)]
    while len(found) < count:
        fewer = found[-1] / (growth if found[-1] > ENOUGH_STEPS else _DECLINE)
        found.append(max(fewer, ENOUGH_STEPS if found[-1] > ENOUGH_STEPS else LEAST_STEPS))
    return [round(number) for number in found[:count]]


def _matched_steps(count: int) -> list[int]:
    """Returns the default steps of every level with matched places, coarse to fine."""
    return [_MATCHED_STEPS[min(level, len(_MATCHED_STEPS) - 1)] for level in range(count)]


def minimum_side(config: configs.StyleTransferConfig) -> int:
    """Returns the shortest side, in pixels, that leaves the deepest layer of a VGG 2x2 positions.

    For the layers of a network of your own, see `Backbone.least_side`.
    """
    if config.network_name == configs.CUSTOM:
        return 2
    matched = config.matched_layers if config.matching else ()
    names = (*config.content_layers, *config.style_layers, *matched)
    strides = (vgg_layers.stride(vgg_layers.canonical(name, "vgg19")) for name in names)
    return 2 * max(strides, default=1)


def plan(
    config: configs.StyleTransferConfig,
    content: tuple[int, int],
    styles: Sequence[tuple[int, int]],
    least: int = 0,
) -> list[Level]:
    """Returns the levels of a stylisation, coarse to fine.

    Args:
        config: the settings.
        content: height and width of the content picture.
        styles: height and width of each style picture.
        least: shortest side that the network can use, in pixels; 0 for `minimum_side`.

    Raises:
        ConfigError: a picture is too small, too narrow or too large for the settings, or
            `style_blend` is for another number of styles.
    """
    if len(config.style_blend) not in (0, len(styles)):
        raise errors.ConfigError(
            f"style_blend has {len(config.style_blend)} numbers for {len(styles)} style "
            "pictures; give one number for each, or none."
        )
    least = least or minimum_side(config)
    for name, size in (("content", content), *(("style", size) for size in styles)):
        if min(size) < least:
            raise errors.ConfigError(
                f"the {name} picture has {size[1]}x{size[0]} pixels; the chosen layers need a "
                f"short side of at least {least}. Give a larger picture."
            )
    long_side = config.image_size or max(content)
    height, width = fit(*content, long_side)
    if height * width > config.max_pixels:
        raise errors.ConfigError(
            f"the output would be {width}x{height}, {height * width} pixels, and max_pixels allows "
            f"{config.max_pixels}. Lower image_size, or raise max_pixels."
        )
    count, steps = config.levels, config.steps
    if config.goes_on and not count and len(steps) < 2:
        count, steps = 1, steps or (_STEPS_ON,)
    found = levels(
        height,
        width,
        steps,
        count=count,
        factor=config.level_factor,
        coarsest=config.coarsest,
        minimum=least,
        matched=config.matched,
    )
    found = [level for level in found for _ in range(config.passes)]
    if config.ends_apart:
        found.append(dataclasses.replace(found[-1], steps=config.final_steps))
    if config.padding == "circular":
        found = [_periodic(level, least // 2) for level in found]
    for size in styles:
        height, width = fit(*size, round(long_side * config.style_scale))
        if min(height, width) < least:
            raise errors.ConfigError(
                f"the style would be {width}x{height} pixels; the chosen layers need a short side "
                f"of at least {least}. Raise style_scale or image_size, or crop a very long style."
            )
        if height * width > config.max_pixels:
            raise errors.ConfigError(
                f"the style would be {width}x{height}, {height * width} pixels, and max_pixels "
                f"allows {config.max_pixels}. Lower style_scale or image_size, or raise max_pixels."
            )
    return found


def _periodic(level: Level, stride: int) -> Level:
    """Returns a level whose sides are multiples of a stride, so that pooling leaves no rest."""
    height, width = (max(1, round(side / stride)) * stride for side in (level.height, level.width))
    return dataclasses.replace(level, height=height, width=width)


def style_size(
    config: configs.StyleTransferConfig, style: tuple[int, int], level: Level, least: int = 0
) -> tuple[int, int]:
    """Returns height and width of a style picture at a level.

    Its long side is `style_scale` times the level's. At coarse levels a narrow style picture stays
    large enough for the layers: its short side is at least `least`, or else `minimum_side`.
    """
    long_side = round(level.long_side * config.style_scale)
    narrowest = (least or minimum_side(config)) * max(style) / min(style)
    return fit(*style, max(long_side, round(narrowest)))
