"""The coarse-to-fine pyramid: which sizes a picture passes through, and for how long."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from nst_tf import errors

MOST_STEPS, ENOUGH_STEPS, LEAST_STEPS = 160, 30, 10
_DECLINE = 1.3  # Of the steps from level to level, once they are enough.


@dataclasses.dataclass(frozen=True)
class Level:
    """One resolution of the pyramid.

    Attributes:
        height: of the picture at this level, in pixels.
        width: of the picture at this level, in pixels.
        steps: optimiser steps at this level.
    """

    height: int
    width: int
    steps: int


def fit(height: int, width: int, long_side: int) -> tuple[int, int]:
    """Returns the size with the given long side and the aspect ratio of `height:width`.

    A short side that would vanish is kept at one pixel.
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
) -> list[Level]:
    """Returns the levels of a pyramid, coarse to fine.

    Args:
        height: of the finished picture, in pixels.
        width: of the finished picture, in pixels.
        steps: one number: the steps of the finest level, while each coarser level takes
            `growth` times those of the level above it. Several numbers: the steps of every
            level, coarse to fine. None: `MOST_STEPS` at the coarsest level, and at each finer
            one fewer by `growth`, down to `ENOUGH_STEPS`; still finer levels, which only have
            detail to add, take fewer by 1.3, down to `LEAST_STEPS`.
        count: how many levels. 0 takes as many as `steps` lists, or, where it holds one
            number, as many as bring the long side of the coarsest near to `coarsest`.
        factor: ratio of the sizes of two neighbouring levels.
        growth: ratio of the steps of two neighbouring levels.
        coarsest: long side that the coarsest level aims at, in pixels.
        minimum: shortest side that the backbone can use, in pixels; levels below it are
            left out of an automatic pyramid, and refused in one that was asked for.

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
        steps = _default_steps(wanted, growth)
    elif len(steps) == 1:
        steps = [round(steps[0] * growth**depth) for depth in reversed(range(wanted))]
    return [
        Level(max(1, round(height / scale)), max(1, round(width / scale)), number)
        for number, scale in zip(
            steps, (factor**depth for depth in reversed(range(wanted))), strict=True
        )
    ]


def _default_steps(count: int, growth: float) -> list[int]:
    """Returns the steps of every level, coarse to fine, where none are asked for."""
    found = [float(MOST_STEPS)]
    while len(found) < count:
        fewer = found[-1] / (growth if found[-1] > ENOUGH_STEPS else _DECLINE)
        found.append(max(fewer, ENOUGH_STEPS if found[-1] > ENOUGH_STEPS else LEAST_STEPS))
    return [round(number) for number in found[:count]]
