"""Sizes that a config asks for, given the pictures' own. Needs no TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from nst_tf import config as configs
from nst_tf import errors, layers, pyramid

_STEPS_ON = 60  # Of a run that goes on with an earlier result.


def minimum_side(config: configs.StyleTransferConfig) -> int:
    """Returns the shortest side, in pixels, that leaves the deepest layer 2x2 positions."""
    names = (*config.content_layers, *config.style_layers)
    strides = (layers.stride(layers.canonical(name, "vgg19")) for name in names)
    return 2 * max(strides, default=1)


def plan(
    config: configs.StyleTransferConfig,
    photo: tuple[int, int],
    paintings: Sequence[tuple[int, int]],
) -> list[pyramid.Level]:
    """Returns the levels of a stylisation, coarse to fine.

    Args:
        config: the settings.
        photo: height and width of the photo.
        paintings: heights and widths of the paintings.

    Raises:
        ConfigError: a picture is too small or too narrow for the settings, or `style_blend` is not
            for so many paintings.
    """
    if len(config.style_blend) not in (0, len(paintings)):
        raise errors.ConfigError(
            f"style_blend has {len(config.style_blend)} numbers for {len(paintings)} style "
            "pictures; give one number for each, or none."
        )
    least = minimum_side(config)
    for name, size in (("content", photo), *(("style", size) for size in paintings)):
        if min(size) < least:
            raise errors.ConfigError(
                f"the {name} picture has {size[1]}x{size[0]} pixels; the chosen layers need a "
                f"short side of at least {least}. Give a larger picture."
            )
    long_side = config.image_size or max(photo)
    height, width = pyramid.fit(*photo, long_side)
    if height * width > config.max_pixels:
        raise errors.ConfigError(
            f"the output would be {width}x{height}, {height * width} pixels, and max_pixels allows "
            f"{config.max_pixels}. Lower image_size, or raise max_pixels."
        )
    count, steps = config.levels, config.steps
    if config.goes_on and not count and len(steps) < 2:
        count, steps = 1, steps or (_STEPS_ON,)
    levels = pyramid.levels(height, width, steps, count=count, minimum=least)
    if config.padding == "circular":
        levels = [_periodic(level, least // 2) for level in levels]
    for size in paintings:
        height, width = pyramid.fit(*size, round(long_side * config.style_scale))
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
    return levels


def _periodic(level: pyramid.Level, stride: int) -> pyramid.Level:
    """Returns a level whose sides are multiples of a stride, so that pooling leaves no rest."""
    height, width = (max(1, round(side / stride)) * stride for side in (level.height, level.width))
    return dataclasses.replace(level, height=height, width=width)


def style_size(
    config: configs.StyleTransferConfig, painting: tuple[int, int], level: pyramid.Level
) -> tuple[int, int]:
    """Returns height and width of a painting at a level.

    Its long side is `style_scale` times the level's; coarse levels keep a narrow painting
    large enough for the layers.
    """
    long_side = round(max(level.height, level.width) * config.style_scale)
    narrowest = minimum_side(config) * max(painting) / min(painting)
    return pyramid.fit(*painting, max(long_side, round(narrowest)))
