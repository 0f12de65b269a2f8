"""Paint an original picture, "Dawn over the Estuary", to be used as a style image.

The scene is a post-impressionist landscape: a low sun inside a halo of concentric strokes, a sky
of swirling bands that runs from cream and orange to deep ultramarine, two ranges of hills, an
estuary that carries the sun's broken reflection, a bank of ochre reeds and a group of cypresses.

A plan of the scene (region, tone and brush direction for every pixel) is worked out first.
Brush strokes then follow the plan in layers, broad to fine, over a warm underpainting. Every
stroke has its own bristles, a two-colour brush load and a thickness; the thickness builds up a
height map that is finally lit from the upper left as impasto. All of it is drawn at twice the
final size and scaled down. The result depends on nothing but the seed.

Usage: python paint_estuary.py OUTPUT.png
"""

from __future__ import annotations

import numpy as np
from paint_tools import run, smooth_noise
from PIL import Image

WIDTH, HEIGHT, SCALE, SEED = 768, 576, 2, 1889
SUN, SHORE = (492.0, 176.0), 352.0
SKY, FAR, NEAR, WATER, BANK, TREE = range(6)
Part = tuple[np.ndarray, int, np.ndarray, np.ndarray]  # mask, region, tone, brush direction
# x, y, radius and spin of each eddy; x, base, top and half-width of each tree
VORTICES = ((268, 122, 90, 1.9), (664, 74, 66, -1.7), (694, 232, 50, 1.4), (50, 62, 62, 1.3))
CYPRESSES = ((122, 500, 40, 36), (183, 500, 168, 25), (72, 490, 214, 23))
PAINT = {
    "night": (20, 27, 78),
    "ultramarine": (34, 56, 146),
    "cobalt": (52, 104, 190),
    "viridian": (12, 62, 72),
    "teal": (22, 124, 138),
    "turquoise": (118, 192, 188),
    "cream": (252, 238, 198),
    "yellow": (247, 204, 88),
    "ochre": (208, 152, 46),
    "orange": (233, 122, 38),
    "crimson": (172, 36, 58),
    "wine": (78, 28, 58),
}
RAMPS = {  # each region's paints, from light (tone 0) to dark (tone 1)
    SKY: "cream yellow yellow orange ochre turquoise teal cobalt ultramarine ultramarine night",
    FAR: "orange turquoise cobalt teal ultramarine",
    NEAR: "ochre teal ultramarine viridian night",
    WATER: "cream yellow orange turquoise teal cobalt ultramarine night",
    BANK: "yellow ochre orange ochre teal crimson viridian night",
    TREE: "ochre teal viridian night wine night",
}
LAYERS = (  # spacing, length, width (pixels), tone jitter
    (9.0, 88.0, 14.0, 0.04),
    (8.0, 68.0, 10.0, 0.06),
    (8.0, 50.0, 6.5, 0.08),
    (10.0, 34.0, 4.0, 0.11),
)


def plan_sky(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sky's tone and brush direction: sun, halo, eddies and the wind between them."""
    dx, dy = x - SUN[0], y - SUN[1]
    r = np.hypot(dx, dy)
    tone = 0.98 * (np.hypot(dx * 0.8, dy) / 400) ** 0.62 + 0.045 * np.sin(r / 8.5)
    tone -= 0.2 * np.exp(-(((y - SHORE) / 70) ** 2)) * np.exp(-((dx / 330) ** 2))
    tone += 0.05 * np.sin((y + 26 * np.sin(x / 95)) / 13)
    tone = np.where(r < 28, -0.1, np.where(r < 37, 0.27, tone))
    halo = 5 * np.exp(-((r / 120) ** 2)) / (r + 1)
    u, v = 1 - dy * halo, 0.45 * np.cos(x / 95 + y / 160) + dx * halo
    for cx, cy, radius, spin in VORTICES:
        ex, ey = x - cx, y - cy
        d = np.hypot(ex, ey) + 1
        near = np.exp(-((d / radius) ** 2))
        u += 2.6 * spin * near * (-ey - 0.25 * ex) / d
        v += 2.6 * spin * near * (ex - 0.25 * ey) / d
        arms = np.sin(2 * np.arctan2(ey, ex) * np.sign(spin) - d / radius * 7)
        tone += near * (0.2 * arms - 0.12)
    return tone, np.arctan2(v, u)


def plan_hills(x: np.ndarray, y: np.ndarray, wobble: np.ndarray) -> list[Part]:
    """Return the far and the near range, lighter where they face the sun."""
    lit = 0.28 * np.exp(-(((x - SUN[0]) / 170) ** 2))
    far = y - 300 + 30 * np.sin(x / 105 + 0.4) + 9 * np.sin(x / 37)
    near = y - 336 - 21 * np.cos((x - SUN[0]) / 84) + 5 * np.sin(x / 29)
    return [
        (
            far > 0,
            FAR,
            0.25 + far / 90 - lit + 0.1 * wobble,
            -0.3 * np.cos(x / 105 + 0.4) + 0.25 * wobble,
        ),
        (
            near > 0,
            NEAR,
            0.4 + near / 50 - lit + 0.2 * wobble,
            0.35 * np.sin(x / 60) + 0.4 * wobble,
        ),
    ]


def plan_water(x: np.ndarray, y: np.ndarray, wobble: np.ndarray) -> list[Part]:
    """Return the estuary: the mirrored sky, a swell and the sun's glitter."""
    depth = np.clip(y - SHORE, 0, None)
    mirrored, _ = plan_sky(x + 10 * np.sin(y / 6), 2 * SHORE - y - 10)
    sway = (x - SUN[0] + 9 * np.sin(y / 9)) / (18 + 0.27 * depth)
    glitter = np.exp(-(sway**2)) * (0.8 + 0.35 * np.sin(y / 3.7 + x / 31))
    tone = np.clip(mirrored, 0.4, 0.9) + 0.14 * np.exp(-((depth / 21) ** 2)) - 0.46 * glitter
    tone += 0.1 * np.sin(4 * np.sqrt(depth)) + 0.1 * wobble
    return [(y > SHORE, WATER, tone, 0.1 * np.sin(x / 40 + y / 14) + 0.12 * wobble)]


def plan_bank(x: np.ndarray, y: np.ndarray, wobble: np.ndarray, reeds: np.ndarray) -> list[Part]:
    """Return the bank of wind-blown reeds and the cypresses that stand on it."""
    drop = y - 496 + 48 * np.exp(-(((x - 90) / 200) ** 2)) - 10 * np.sin(x / 70) - 5 * reeds
    rows = np.sin((drop + 16 * np.sin(x / 83)) / 8.5) + 0.6 * wobble + 0.5 * reeds
    parts = [
        (
            drop > 0,
            BANK,
            0.3 + 0.2 * rows + 0.001 * np.abs(x - 470) + drop / 260,
            -1.15 + 0.45 * np.sin(x / 64 + y / 50) + 0.35 * wobble,
        )
    ]
    for cx, base, top, half in CYPRESSES:
        rise = np.clip((base - y) / (base - top), 0, 1)
        span = half * np.clip(rise * 9, 0, 1) * (1 - rise) ** 0.7 * (1 + 0.3 * np.sin(y / 13 + cx))
        side = (x - cx - 9 * np.sin(y / 48 + cx)) / (span + 1)
        parts.append(
            (
                (np.abs(side) < 1) & (y < base) & (y > top),
                TREE,
                0.55 - 0.4 * side + 0.16 * np.sin(y / 9 + x / 7),
                -np.pi / 2 + 0.5 * side + 0.35 * np.sin(y / 21 + x / 16),
            )
        )
    return parts


def plan_scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the region, tone and brush direction of every pixel, laid from back to front."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    wobble, reeds = (smooth_noise(rng, HEIGHT, WIDTH, cell) for cell in (40, 7))
    region, (tone, angle) = np.full(x.shape, SKY), plan_sky(x, y)
    land = plan_hills(x, y, wobble) + plan_water(x, y, wobble) + plan_bank(x, y, wobble, reeds)
    for mask, label, part_tone, part_angle in land:
        region[mask], tone[mask], angle[mask] = label, part_tone[mask], part_angle[mask]
    return region, tone, angle


def at(field: np.ndarray, point: np.ndarray) -> float:
    """Return the value of a plan's field at the pixel nearest to `point` (x, y)."""
    return field[int(np.clip(point[1], 0, HEIGHT - 1)), int(np.clip(point[0], 0, WIDTH - 1))]


def trace(start: np.ndarray, length: float, slack: int, plan: tuple[np.ndarray, ...]) -> np.ndarray:
    """Follow the brush direction and return the stroke's centre line.

    Args:
        start: Where the brush touches the canvas, (x, y).
        length: Longest path in pixels of the final picture.
        slack: How many steps of 3 pixels the stroke may run on in another region.
        plan: The scene's region, tone and brush direction.
    """
    region, _, angle = plan
    points, home = [start], at(region, start)
    for _ in range(int(length / 3)):
        slack -= int(at(region, points[-1]) != home)
        if slack < 0:
            break
        heading = at(angle, points[-1])
        points.append(points[-1] + 3 * np.array((np.cos(heading), np.sin(heading))))
    return np.array(points)


def mix_paint(rng: np.random.Generator, label: int, tone: float) -> np.ndarray:
    """Return a paint for the tone: near a pure pigment, never an even mix of two far ones."""
    if label in (SKY, WATER) and 0.3 < tone < 0.45 and rng.random() < 0.07:
        return np.array(PAINT["crimson"]) + rng.normal(0, 9, 3)
    ramp = np.array([PAINT[name] for name in RAMPS[label].split()], float)
    place = np.clip(tone, 0, 0.999) * (len(ramp) - 1)
    low, part = int(place), place % 1
    part = part**4 / (part**4 + (1 - part) ** 4)
    colour = ramp[low] * (1 - part) + ramp[low + 1] * part
    return colour * rng.normal(1, 0.05) + rng.normal(0, 5, 3)


def brush(
    rng: np.random.Generator,
    canvas: np.ndarray,
    relief: np.ndarray,
    path: np.ndarray,
    width: float,
    colours: tuple[np.ndarray, np.ndarray],
) -> None:
    """Drag one loaded brush along a path, changing the canvas and its relief in place.

    Args:
        rng: Source of the bristles.
        canvas: The colours so far, at the working scale.
        relief: The paint's thickness so far, at the working scale.
        path: Centre line of the stroke, in pixels of the final picture.
        width: Width of the brush, in pixels of the final picture.
        colours: The two paints on the brush; they streak but do not blend.
    """
    along = np.linspace(0, 1, int(len(path) * 3 * SCALE / 0.7))[:, None]
    knots = np.linspace(0, 1, len(path))
    px, py = (np.interp(along[:, 0], knots, path[:, i] * SCALE)[:, None] for i in (0, 1))
    nx, ny = -np.gradient(py[:, 0])[:, None], np.gradient(px[:, 0])[:, None]
    norm = np.hypot(nx, ny) + 1e-9
    across = np.linspace(-1, 1, int(width * SCALE / 0.7))[None, :]
    swell = np.sqrt(np.minimum(along * 7, 1) * np.minimum((1 - along) * 4 + 0.15, 1))
    offset = across * swell * width * SCALE / 2
    hairs = 1.3 * smooth_noise(rng, 1, across.size, 4.5)
    drag = smooth_noise(rng, len(along), across.size, 9)
    load = 1.2 + 0.5 * hairs + 0.3 * drag - 1.25 * along**2 - 0.3 * across**4
    wet = np.clip(load * 3, 0, 0.96) * (along > 0.03 * np.abs(hairs))
    col = np.rint(px + nx / norm * offset).astype(int)
    row = np.rint(py + ny / norm * offset).astype(int)
    ok = (col >= 0) & (row >= 0) & (col < canvas.shape[1]) & (row < canvas.shape[0]) & (wet > 0.02)
    blend = np.clip(1.3 * across + 1.6 * hairs + 0.4 * drag - 0.3, 0, 1)[..., None] * 0.85
    paint = colours[0] * (1 - blend) + colours[1] * blend
    paint *= 1 + 0.09 * (hairs + 0.5 * drag)[..., None]
    where, alpha = (row[ok], col[ok]), wet[ok]
    canvas[where] += alpha[:, None] * (paint[ok] - canvas[where])
    ridge = 0.6 + 0.5 * across**4 + 0.45 * hairs + 0.25 * drag
    thick = ridge[ok] * min(width, 9) / 9
    relief[where] = relief[where] * (1 - 0.8 * alpha) + alpha * (0.5 * relief[where] + thick)


def light(canvas: np.ndarray, relief: np.ndarray) -> np.ndarray:
    """Shade the paint's thickness by a lamp at the upper left, without greying it."""
    for axis in (0, 1):
        relief = (relief + np.roll(relief, 1, axis) + np.roll(relief, -1, axis)) / 3
    dy, dx = np.gradient(relief)
    slope = np.tanh((dx + dy) * 1.8)[..., None]
    lit = np.clip(slope, 0, 1) * 0.27 * (np.array((255, 244, 206)) - canvas)
    dark = np.clip(-slope, 0, 1) * canvas * np.array((0.28, 0.36, 0.42))
    return np.clip(canvas + lit - dark, 8, 250)


def paint_picture() -> Image.Image:
    """Paint the whole picture and return it at its final size."""
    rng = np.random.default_rng(SEED)
    plan = plan_scene(rng)
    shape = (HEIGHT * SCALE, WIDTH * SCALE)
    weave = smooth_noise(rng, *shape, 5)
    stain = 16 * (smooth_noise(rng, *shape, 60) + weave)[..., None]
    canvas = np.array((176, 92, 44), np.float32) + stain
    relief = 0.15 * weave
    for spacing, length, width, jitter in LAYERS:
        grid = np.mgrid[-45 : WIDTH + 45 : spacing, -45 : HEIGHT + 45 : spacing].reshape(2, -1).T
        starts = rng.permutation(grid + rng.uniform(-0.7, 0.7, grid.shape) * spacing)
        for start in sorted(starts, key=lambda point: at(plan[0], point)):
            label = int(at(plan[0], start))
            slack = int(rng.integers(1, {BANK: 7, TREE: 3}.get(label, 2)))
            path = trace(start, length * rng.uniform(0.7, 1.1), slack, plan)
            tone = at(plan[1], path[len(path) // 3]) + rng.normal(0, jitter)
            colours = (mix_paint(rng, label, tone), mix_paint(rng, label, tone + jitter))
            if len(path) > 4 and np.all((path.max(0) > 0) & (path.min(0) < (WIDTH, HEIGHT))):
                brush(rng, canvas, relief, path, width * rng.uniform(0.8, 1.15), colours)
    final = Image.fromarray(light(canvas, relief).round().astype(np.uint8))
    return final.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    run(paint_picture)
