"""What the painters of the style pictures share: noise, curves and the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Points = Sequence[Sequence[float]] | np.ndarray


def smooth_noise(rng: np.random.Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Return noise in about -1..1 whose features are `cell` pixels wide."""
    grid = rng.uniform(-1, 1, (int(height / cell) + 3, int(width / cell) + 3)).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))


def mottle(
    rng: np.random.Generator, height: int, width: int, cell: float, octaves: int = 4
) -> np.ndarray:
    """Return noise of several octaves, the broadest `cell` pixels wide, of standard deviation 1."""
    total = sum(smooth_noise(rng, height, width, cell / 2**i) * 0.6**i for i in range(octaves))
    return ((total - np.mean(total)) / np.std(total)).astype(np.float32)


def curve(points: Points, step: float = 2.0) -> np.ndarray:
    """Return a smooth line through the points (Catmull-Rom), with a point about every `step`.

    Args:
        points: Two points or more, x and y first; any further columns are interpolated, too.
        step: Distance between points of the result, in pixels.
    """
    knots = np.asarray(points, float)
    knots = np.vstack((2 * knots[0] - knots[1], knots, 2 * knots[-1] - knots[-2]))
    pieces = []
    for a, b, c, d in zip(knots, knots[1:], knots[2:], knots[3:], strict=False):
        t = np.linspace(0, 1, max(2, int(np.hypot(*(c - b)[:2]) / step)), endpoint=False)[:, None]
        pieces.append(
            b + t * ((c - a) + t * ((2 * a - 5 * b + 4 * c - d) + t * (3 * (b - c) + d - a))) / 2
        )
    return np.vstack((*pieces, knots[-2:-1]))


def run(paint: Callable[[], Image.Image]) -> None:
    """Paint a picture and save it where the command line says: PNG, or JPEG as in this folder."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} OUTPUT.png")
    jpeg = Path(sys.argv[1]).suffix == ".jpg"
    paint().save(sys.argv[1], **({"quality": 92, "optimize": True} if jpeg else {}))
