"""Paint an original picture, "River in Mist", to be used as a style image.

The scene is an ink-and-wash landscape in the manner of sumi-e: steep peaks that sink into mist, a
vermilion sun, a boat on open water, bamboo, reeds, rocks and birds, and a red seal.

Everything is one of three things: paper with a tooth, a wash, or a stroke. A wash is an area whose
pigment granulates, settles in blooms and gathers in a dark rim where it dries. A stroke is a brush
of hairs that carry more or less ink and lose it on the way, until only the paper's high points are
touched. Both add optical depth; the picture is the paper seen through it. All of it is drawn at
twice the final size and scaled down. The result depends on nothing but the seed.

Usage: python paint_ink.py OUTPUT.png
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from paint_tools import Points, curve, mottle, run, smooth_noise
from PIL import Image

WIDTH, HEIGHT, SCALE, SEED = 768, 576, 2, 1947
PAPER = np.array((250.0, 244.0, 229.0))
INK, VERMILION = (1.04, 1.0, 0.94), (0.13, 1.3, 1.55)  # absorption of red, green and blue
FLOOR = 17.0  # what the deepest black still reflects
# far, middle and near: summits (x, y, half-width) and roughness
RANGES = (
    (((250, 178, 60), (345, 140, 54), (400, 214, 60), (470, 200, 46), (545, 244, 60)), 0.7),
    (((182, 226, 52), (270, 236, 46), (306, 268, 40), (640, 168, 62), (770, 150, 80)), 0.9),
    (((712, 218, 60), (668, 262, 40), (600, 318, 50), (800, 190, 60)), 1.1),
)
FLOCK = ((398, 92, 15), (432, 74, 19), (470, 92, 14), (498, 66, 11), (362, 118, 10), (528, 84, 9),
         (340, 96, 8))  # fmt: skip
# the cuts in the seal: ends x, y and x, y as shares of its side
SIGNS = ((0.16, 0.18, 0.46, 0.18), (0.31, 0.1, 0.31, 0.44), (0.14, 0.32, 0.48, 0.32),
         (0.16, 0.45, 0.45, 0.45), (0.2, 0.56, 0.2, 0.9), (0.2, 0.58, 0.44, 0.58),
         (0.44, 0.58, 0.44, 0.88), (0.32, 0.6, 0.32, 0.86), (0.2, 0.74, 0.44, 0.74),
         (0.6, 0.14, 0.88, 0.14), (0.6, 0.14, 0.6, 0.42), (0.88, 0.14, 0.88, 0.42),
         (0.6, 0.28, 0.88, 0.28), (0.74, 0.3, 0.74, 0.5), (0.58, 0.6, 0.9, 0.6),
         (0.74, 0.54, 0.74, 0.9), (0.74, 0.72, 0.58, 0.88), (0.74, 0.72, 0.9, 0.88))  # fmt: skip
Ridge = Callable[[np.ndarray], np.ndarray]


class Sheet:
    """A sheet of paper and the ink on it.

    Attributes:
        rng: Source of everything that is left to chance.
        tooth: Height of the paper's surface, standard deviation 1.
        depth: Optical depth of the ink and of the vermilion, at the working scale.
        x, y: Place of every working pixel, in pixels of the final picture.
    """

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.shape = (HEIGHT * SCALE, WIDTH * SCALE)
        self.tooth = 0.8 * mottle(self.rng, *self.shape, 7, 2) + 0.6 * mottle(
            self.rng, *self.shape, 2.5, 1
        )
        self.depth = np.zeros((2, *self.shape), np.float32)
        y, x = np.mgrid[0 : self.shape[0], 0 : self.shape[1]].astype(np.float32)
        self.x, self.y = x / SCALE, y / SCALE

    def noise(self, cell: float, octaves: int = 4) -> np.ndarray:
        """Return noise over the sheet, `cell` pixels of the final picture wide."""
        return mottle(self.rng, *self.shape, cell * SCALE, octaves)


def wash(
    sheet: Sheet,
    inside: np.ndarray,
    strength: np.ndarray | float,
    edge: float = 1.5,
    rim: float = 0.35,
    ragged: float = 3.0,
    pigment: int = 0,
) -> None:
    """Lay a wash.

    Args:
        sheet: The sheet; changed in place.
        inside: Distance from the wash's edge in pixels, positive inside.
        strength: Optical depth in the middle of the wash.
        edge: Softness of the edge in pixels.
        rim: How much darker the pigment dries along the edge.
        ragged: How far the edge creeps along the paper's fibres, in pixels.
        pigment: 0 for ink, 1 for vermilion.
    """
    inside = inside + ragged * (sheet.noise(26) + 0.35 * sheet.noise(5, 2))
    cover = 1 / (1 + np.exp(-np.clip(inside / edge, -30, 30)))
    line = np.exp(-(((inside - 2 * edge) / (2.2 * edge)) ** 2))
    pool = sheet.noise(110)
    bloom = np.exp(-((pool - 0.5) ** 2) / 0.012) * np.clip(sheet.noise(60), 0, 1)
    grain = 1 - 0.09 * sheet.tooth + 0.1 * sheet.noise(9, 3)
    body = cover * (1 + 0.2 * np.tanh(pool) + rim * (line + 0.5 * bloom)) * grain
    sheet.depth[pigment] += np.clip(strength * body, 0, None)


def stroke(
    sheet: Sheet,
    points: Points,
    width: float,
    ink: float,
    dry: float = 0.5,
    side: float = 0.0,
    bleed: float = 0.6,
    pigment: int = 0,
) -> None:
    """Draw one stroke of the brush.

    Args:
        sheet: The sheet; changed in place.
        points: The stroke's course: x, y and the brush's pressure in 0..1.
        width: Width at full pressure, in pixels.
        ink: Optical depth where the brush is full.
        dry: How much of the ink the brush has lost at the end; above 1 it is dry before.
        side: How much more ink the brush has on its left (positive) or right than in the middle.
        bleed: How far the ink spreads in the paper, in pixels.
        pigment: 0 for ink, 1 for vermilion.
    """
    rng = sheet.rng
    line = curve(np.asarray(points, float) * (SCALE, SCALE, 1), 0.7)
    x, y, press = line.T[:, :, None]
    along = np.linspace(0, 1, len(line))[:, None]
    across = np.linspace(-1, 1, max(5, int(width * SCALE / 0.7)))[None, :]
    nx, ny = -np.gradient(y[:, 0])[:, None], np.gradient(x[:, 0])[:, None]
    norm = np.hypot(nx, ny) + 1e-9
    frayed = 1 + 0.12 * smooth_noise(rng, len(line), 2, 14)[:, (0,)] * (across > 0)
    frayed = frayed + 0.12 * smooth_noise(rng, len(line), 2, 14)[:, (0,)] * (across < 0)
    reach = across * np.clip(press, 0, None) * frayed * width * SCALE / 2
    col, row = (
        np.rint(x + nx / norm * reach).astype(int),
        np.rint(y + ny / norm * reach).astype(int),
    )
    top, left = max(row.min() - 12, 0), max(col.min() - 12, 0)
    bottom, right = min(row.max() + 13, sheet.shape[0]), min(col.max() + 13, sheet.shape[1])
    if bottom - top < 2 or right - left < 2:
        return
    ok = (row >= top) & (col >= left) & (row < bottom) & (col < right)
    row, col = np.clip(row, 0, sheet.shape[0] - 1), np.clip(col, 0, sheet.shape[1] - 1)
    hairs = sum(smooth_noise(rng, 1, across.size, cell) for cell in (3, 7, 20)) * 0.75
    drag = smooth_noise(rng, len(line), across.size, 18)
    left_over = 1.15 - dry * (along**1.3 + 0.25 * (1 - np.clip(press, 0, 1)))
    load = left_over + min(dry, 1.0) * (0.45 * hairs + 0.3 * drag - 0.25 * across**4)
    touch = 1 / (1 + np.exp(-np.clip(9 * (load - 0.32 + 0.13 * sheet.tooth[row, col]), -30, 30)))
    dark = 0.72 + 0.28 * np.clip(left_over, 0, 1) + 0.14 * hairs + 0.1 * drag + 0.16 * across**6
    dark = dark * (1 + side * across)
    layer = np.zeros((bottom - top, right - left), np.float32)
    layer[row[ok] - top, col[ok] - left] = np.clip(ink * touch * dark, 0, None)[ok]
    layer = cv2.GaussianBlur(layer, (0, 0), max(bleed * SCALE * 0.6, 0.4))
    tooth = sheet.tooth[top:bottom, left:right]
    sheet.depth[pigment, top:bottom, left:right] += layer * (1 - 0.07 * tooth)


def peaks(rng: np.random.Generator, summits: Points, rough: float) -> Ridge:
    """Return a skyline: for every x the height y of steep summits (x, y, half-width)."""
    grid = np.arange(-60, WIDTH + 60, 1.0)
    skyline = np.full(grid.shape, HEIGHT + 40.0)
    for cx, top, half in summits:
        lean = np.where(grid < cx, rng.uniform(0.8, 1.1), rng.uniform(0.9, 1.4))
        reach = np.abs(grid - cx) * lean / half
        steps = 0.1 * np.sin(reach * rng.uniform(5, 8) + rng.uniform(0, 6)) * np.clip(reach, 0, 1)
        skyline = np.minimum(skyline, top + 150 * (reach + steps) ** 1.3)
    for cell, size in ((60, 9), (26, 7), (11, 4), (4, 1.4)):
        skyline = skyline + rough * size * smooth_noise(rng, 1, grid.size, cell)[0]
    return lambda x: np.interp(x, grid, skyline)


def mountain(sheet: Sheet, ridge: Ridge, ink: float, base: float, strokes: int) -> None:
    """Paint a range: a wash that sinks into mist, wrinkles of the rock, and a broken outline.

    Args:
        sheet: The sheet; changed in place.
        ridge: The skyline.
        ink: Optical depth of the wash at the skyline.
        base: Height y at which the mist has taken half of it.
        strokes: Number of the strokes that model the rock.
    """
    below = sheet.y - ridge(sheet.x)
    haze = base - sheet.y + 22 * sheet.noise(120)
    mist = 1 / (1 + np.exp(-haze / 20)) * (0.45 + 0.55 * np.exp(-np.clip(below, 0, None) / 60))
    wash(sheet, below, ink * mist, 1.0, 0.4, 1.0)
    wash(sheet, below - 10 - 22 * sheet.noise(55), 0.6 * ink * mist, 4, 0.2, 4)
    shade = smooth_noise(sheet.rng, HEIGHT, WIDTH, 30)
    for x in sheet.rng.uniform(0, WIDTH, strokes):
        wrinkle(sheet, ridge, shade, x, ink, base)
    outline(sheet, ridge, 1.7 * ink, base - 20)


def wrinkle(
    sheet: Sheet, ridge: Ridge, shade: np.ndarray, x: float, ink: float, base: float
) -> None:
    """Draw one stroke down the face of a mountain at `x`, unless it is lit or in the mist there."""
    rng = sheet.rng
    top = float(ridge(x)) + 2
    y = top + 1.1 * (base - top) * rng.random() ** 1.7
    if top > base - 10 or y < 0 or shade[int(y), int(x)] > 0.22:
        return
    slope = float(ridge(x + 7) - ridge(x - 7)) / 14
    spread = slope / (slope**2 + 0.5) * np.exp((top - y) / 150)
    width = min(rng.lognormal(1.45, 0.65), 24)
    length = rng.uniform(8, 20) + 1.3 * width
    heading = np.arctan2(1.0, spread + rng.normal(0, 0.12))
    step = length * np.array((np.cos(heading), np.sin(heading)))
    bend = rng.normal(0, 0.1 * length)
    middle, end = (x + step[0] / 2 + bend, y + step[1] / 2), (x + step[0], y + step[1])
    dark = (
        ink
        * rng.uniform(0.6, 1.9)
        * (0.9 - shade[int(y), int(x)])
        * np.clip((base - y) / 60, 0.1, 1)
    )
    course = ((x, y, 0.55), (*middle, 1), (*end, 0.2))
    stroke(sheet, course, width, dark, rng.uniform(0.8, 1.35), rng.normal(0, 0.3))


def outline(sheet: Sheet, ridge: Ridge, ink: float, base: float) -> None:
    """Go along a skyline with a nervous brush that is often lifted."""
    rng, x = sheet.rng, -10.0
    while x < WIDTH:
        length = rng.uniform(9, 34)
        xs = np.linspace(x, x + length, 6)
        press = np.array((0.3, 1, 0.7, 0.9, 0.5, 0.1)) * rng.uniform(0.5, 1)
        course = np.stack((xs, ridge(xs) + 1 + rng.normal(0, 0.5, 6), press), 1)
        if ridge(xs).max() < base:
            stroke(sheet, course, rng.uniform(1.5, 5.5), ink * rng.uniform(0.5, 1.3), 1.0)
        x += length * rng.uniform(0.8, 1.7)


def scrub(sheet: Sheet, ridge: Ridge, base: float, ink: float, count: int) -> None:
    """Set dabs along a skyline: the far-off trees of a wooded slope."""
    rng = sheet.rng
    for _ in range(count):
        x = rng.uniform(0, WIDTH)
        y = float(ridge(x)) + rng.normal(1, 4)
        if y > base:
            continue
        size = rng.uniform(2.5, 8)
        dab = ((x - size / 2, y, 0.7), (x, y - 1, 1), (x + size / 2, y + rng.normal(0, 1), 0.5))
        dark, bleed = ink * rng.uniform(0.4, 1.2), rng.uniform(0.5, 1.4)
        stroke(sheet, dab, size * 0.7, dark, 0.4, bleed=bleed)


def pine(sheet: Sheet, x: float, y: float, size: float, lean: float, ink: float) -> None:
    """Paint a pine that grows out of the rock: a bent trunk and tiers of needles."""
    rng = sheet.rng
    tip = np.array((x + lean * size, y - size))
    elbow = np.array((x + 0.15 * lean * size, y - 0.5 * size))
    trunk = ((x, y, 1), (*elbow, 0.8), (*tip, 0.3))
    stroke(sheet, trunk, size * 0.09, ink, 0.8)
    for tier in np.linspace(0.35, 1.0, 6):
        root = elbow + (tip - elbow) * (tier - 0.5) * 2 if tier > 0.5 else elbow
        for way in (-1, 1):
            reach = size * (1.15 - tier) * rng.uniform(0.45, 0.8) + 3
            end = np.add(root, (way * reach, rng.uniform(-0.1, 0.25) * reach))
            stroke(sheet, ((*root, 0.8), (*end, 0.3)), size * 0.035, ink, 0.7)
            for place in rng.uniform(0.3, 1.1, int(reach / 4) + 2):
                needles(sheet, root + (end - root) * place, size * 0.15, ink * rng.uniform(0.3, 1))


def needles(sheet: Sheet, root: np.ndarray, size: float, ink: float) -> None:
    """Flick a fan of pine needles upwards from a twig."""
    rng = sheet.rng
    for angle in rng.normal(-np.pi / 2, 0.8, 5):
        end = root + size * rng.uniform(0.6, 1.1) * np.array((np.cos(angle), 0.7 * np.sin(angle)))
        stroke(sheet, ((*root, 0.9), (*end, 0.2)), 1.3, ink * rng.uniform(0.5, 1.2), 0.6, bleed=0.5)


def leaf(sheet: Sheet, root: Sequence[float], angle: float, length: float, ink: float) -> None:
    """Press and lift the brush once: a bamboo leaf."""
    rng = sheet.rng
    bend = rng.normal(0, 0.16)
    course = []
    for t, press in ((0, 0.12), (0.12, 0.55), (0.35, 1), (0.6, 0.8), (0.85, 0.32), (1, 0.02)):
        turn = angle + bend * t
        course.append(
            (root[0] + t * length * np.cos(turn), root[1] + t * length * np.sin(turn), press)
        )
    stroke(sheet, course, 0.1 * length + 3, ink, rng.uniform(0.25, 0.85), rng.normal(0, 0.2))


def spray(sheet: Sheet, root: Sequence[float], way: float, size: float, ink: float) -> None:
    """Paint a twig and the bunches of leaves that hang from it."""
    rng = sheet.rng
    end = (root[0] + way * size, root[1] - rng.uniform(0.05, 0.5) * size)
    middle = ((root[0] + end[0]) / 2, (root[1] + end[1]) / 2 - 4)
    twig = curve(((*root, 0.9), (*middle, 0.7), (*end, 0.4)))
    stroke(sheet, twig[::6], 2.2, ink, 0.9)
    for place in (0.35, 0.62, 0.85, 1.0):
        knot = twig[int(place * (len(twig) - 1))][:2]
        for angle in rng.permutation(np.linspace(0.1, 1.35, int(rng.integers(2, 5)))):
            turn = angle if way > 0 else np.pi - angle
            shade = ink * rng.choice((0.35, 0.8, 1.0, 1.1))
            leaf(sheet, knot, turn + rng.normal(0, 0.2), size * rng.uniform(0.45, 0.95), shade)


def stalk(sheet: Sheet, points: Points, width: float, ink: float) -> None:
    """Push the flat brush upwards joint by joint: a bamboo stalk."""
    rng = sheet.rng
    line = curve(points)
    cuts = np.cumsum(rng.uniform(33, 44, 20)).astype(int)
    for start, stop in zip((0, *cuts), cuts, strict=False):
        joint = line[start + 1 : min(stop, len(line)) : 6]
        if len(joint) < 3:
            break
        ends = np.abs(np.linspace(-1, 1, len(joint)))
        press = np.interp(ends, (0, 0.8, 1), (0.86, 0.9, 1))
        course = np.column_stack((joint, press))
        stroke(sheet, course, width, ink * rng.uniform(0.8, 1.15), rng.uniform(0.75, 1.2), 0.35)
        x, y = joint[0]
        ring = ((x - width * 0.56, y - 1, 0.9), (x, y + 1.5, 0.5), (x + width * 0.56, y - 2, 1))
        stroke(sheet, ring, 3.2, 1.5 * ink, 0.5)


def bamboo(sheet: Sheet) -> None:
    """Paint the bamboo at the left: pale stalks behind, dark ones in front, leaves over both."""
    stalk(sheet, ((92, 600), (84, 380), (98, 180), (128, -20)), 9, 0.35)
    stalk(sheet, ((20, 600), (34, 400), (40, 200), (30, -20)), 20, 0.95)
    stalk(sheet, ((64, 600), (62, 400), (76, 210), (112, 20)), 13, 0.7)
    for root, way, size, ink in (
        ((92, 300), 1, 70, 0.45),
        ((100, 150), 1, 95, 0.5),
        ((36, 330), 1, 95, 1.5),
        ((84, 190), 1, 90, 1.9),
        ((40, 130), -1, 70, 1.6),
        ((38, 70), 1, 110, 2.1),
        ((112, 30), 1, 120, 1.7),
        ((66, 440), 1, 66, 1.3),
        ((30, 420), -1, 60, 1.2),
    ):
        spray(sheet, root, way, size, ink)


def boat(sheet: Sheet, x: float, y: float) -> None:
    """Paint a fishing boat with its awning, its lantern, its fisherman and their reflection."""
    inside = 9 - np.abs(sheet.y - y - 17) - 0.002 * (sheet.x - x) ** 2
    wash(sheet, inside, 0.22, 4, 0.1, 5)
    hull = ((x - 62, y - 9, 0.3), (x - 40, y + 2, 0.9), (x, y + 7, 1), (x + 44, y + 1, 0.8))
    stroke(sheet, (*hull, (x + 70, y - 12, 0.2)), 8, 1.9, 0.7)
    stroke(sheet, ((x - 58, y - 9, 0.6), (x, y + 1, 0.9), (x + 66, y - 11, 0.4)), 2, 1.3, 0.8)
    for k in range(5):
        left, right = x - 26 + 8 * k, x + 6 + 6 * k
        hoop = ((left, y - 1, 0.7), (left + 4, y - 20, 1), (right - 8, y - 20, 0.8))
        stroke(sheet, (*hoop, (right, y - 1, 0.5)), 2.2, 0.9, 0.8)
    stroke(sheet, ((x - 22, y - 20, 0.8), (x + 2, y - 23, 1), (x + 28, y - 19, 0.6)), 6, 1.0, 1.1)
    stroke(sheet, ((x + 43, y - 1, 1), (x + 44, y - 12, 0.9), (x + 47, y - 22, 0.5)), 9, 1.5, 0.6)
    stroke(sheet, ((x + 36, y - 22, 0.4), (x + 46, y - 28, 1), (x + 58, y - 20, 0.3)), 5, 1.8, 0.4)
    pole = ((x + 26, y + 24, 0.4), (x + 52, y - 14, 0.8), (x + 84, y - 66, 0.5))
    stroke(sheet, pole, 1.8, 1.3, 0.8)
    lantern = ((x - 26, y - 20, 0.9), (x - 25, y - 16, 1), (x - 26, y - 11, 0.8))
    stroke(sheet, lantern, 7, 1.1, 0.2, pigment=1)


def water(sheet: Sheet) -> None:
    """Drag a nearly dry, pale brush over the water."""
    rng = sheet.rng
    for _ in range(46):
        y = 400 + 150 * rng.random() ** 1.3
        x, length = rng.uniform(90, 720), rng.uniform(30, 150)
        press = (0.05, 0.7, 1, 0.8, 0.5, 0.1)
        wave = [(x + k * length / 5, y + rng.normal(0, 1.2), p) for k, p in enumerate(press)]
        stroke(sheet, wave, rng.uniform(1.5, 7), rng.uniform(0.12, 0.42), rng.uniform(1.0, 1.5))


def bank(sheet: Sheet) -> None:
    """Paint the near bank: sweeps of the big brush that run dry, then dark accents."""
    rng = sheet.rng
    rise = 58 * np.exp(-(((sheet.x - 720) / 100) ** 2))
    shore = 560 - rise + 0.06 * np.clip(560 - sheet.x, 0, None)
    wash(sheet, sheet.y - shore, 0.3, 2.5, 0.5, 6)
    stroke(sheet, ((830, 478, 1), (700, 508, 1), (560, 546, 0.9), (380, 562, 0.7)), 46, 1.3, 1.05)
    stroke(sheet, ((830, 546, 1), (640, 562, 1), (430, 570, 0.8), (210, 563, 0.1)), 40, 2.2, 1.1)
    stroke(sheet, ((820, 500, 1), (750, 506, 1), (660, 530, 0.7)), 26, 1.6, 1.2)
    for _ in range(70):
        x = rng.uniform(600, 775)
        y = 552 - 58 * np.exp(-(((x - 720) / 100) ** 2)) + rng.exponential(14)
        dab = ((x, y, 0.5), (x - 7, y + 4, 1), (x - rng.uniform(12, 26), y + 8, 0.2))
        stroke(sheet, dab, rng.uniform(3, 11), rng.uniform(0.6, 2.2), rng.uniform(0.8, 1.4))


def drifts(sheet: Sheet) -> None:
    """Sweep the big brush, nearly dry and pale, through the sky and the mist."""
    for points, width, ink in (
        (((400, 40, 0.1), (540, 48, 0.8), (660, 30, 1), (800, 4, 0.9)), 34, 0.12),
        (((770, 190, 0.1), (650, 152, 0.7), (540, 156, 1), (470, 170, 0.3)), 16, 0.16),
        (((120, 330, 0.1), (300, 352, 1), (420, 346, 1), (540, 330, 0.2)), 34, 0.12),
        (((640, 390, 0.1), (470, 372, 0.9), (340, 384, 1), (230, 394, 0.2)), 22, 0.2),
    ):
        stroke(sheet, points, width, ink, 1.45, bleed=1.2)


def reeds(sheet: Sheet) -> None:
    """Flick reeds upwards from the near bank; some of them carry plumes."""
    rng = sheet.rng
    for _ in range(64):
        x, y = rng.choice((rng.normal(650, 44), rng.normal(530, 24))), rng.uniform(530, 566)
        height, lean = rng.uniform(40, 150), np.clip(rng.normal(-0.1, 0.3), -0.5, 0.5)
        ink = rng.choice((0.4, 1.0, 1.7))
        tip = (x + lean * height * 1.2, y - height)
        blade = ((x, y, 0.8), (x + 0.3 * lean * height, y - 0.55 * height, 1), (*tip, 0.05))
        stroke(sheet, blade, rng.uniform(1.6, 4.2), ink, rng.uniform(0.5, 1.1))
        if height > 112:
            plume(sheet, tip, np.sign(lean), ink)


def plume(sheet: Sheet, tip: Sequence[float], way: float, ink: float) -> None:
    """Hang a plume of seeds from a reed's tip."""
    rng = sheet.rng
    for t in np.linspace(0, 1, 13):
        x, y = tip[0] + way * 22 * t, tip[1] - 6 * np.sin(3 * t) + 8 * t * t
        end = (x + way * rng.uniform(3, 9), y + rng.uniform(1, 8))
        stroke(sheet, ((x, y, 1), (*end, 0.2)), 2.6, ink * rng.uniform(0.5, 1), 0.6)


def birds(sheet: Sheet) -> None:
    """Paint a skein of birds, two strokes of the wing and one dab each."""
    for x, y, size in FLOCK:
        tip = (x - size, y - sheet.rng.uniform(0.3, 0.6) * size, 0.1)
        left = (tip, (x - 0.45 * size, y - 0.5 * size, 0.9), (x, y, 0.8))
        bend, end = (x + 0.5 * size, y - 0.42 * size, 0.9), (x + 1.1 * size, y - 0.2 * size, 0.1)
        for wing in (left, ((x, y, 0.8), bend, end)):
            stroke(sheet, wing, 0.2 * size + 0.8, 1.6, 0.5)
        body = ((x - 2, y - 1, 0.7), (x + 0.3 * size, y + 2, 0.3))
        stroke(sheet, body, 0.22 * size + 1, 1.6, 0.3)


def spatter(sheet: Sheet) -> None:
    """Shake the brush over the bamboo and the bank."""
    rng = sheet.rng
    for _ in range(90):
        cx, cy, spread = ((170, 170, 110), (600, 500, 80), (120, 470, 70))[int(rng.integers(3))]
        x, y = rng.normal(cx, spread), rng.normal(cy, spread)
        size = min(rng.lognormal(0.1, 0.55), 4.5)
        drop = ((x, y, 0.9), (x + size * 0.6, y + rng.normal(0, 0.4), 0.8))
        stroke(sheet, drop, size, rng.uniform(0.4, 1.6), 0.2, bleed=0.9)


def seal(sheet: Sheet, x: float, y: float, size: float) -> None:
    """Press a carved seal: a red square from which invented signs have been cut."""
    rng = sheet.rng
    face = np.zeros(sheet.shape, np.float32)
    corner = (np.array((x, y, x + size, y + size)) * SCALE).astype(int)
    face[corner[1] : corner[3], corner[0] : corner[2]] = 1
    for line in SIGNS:
        ends = (np.array((x, y)) + size * np.reshape(line, (2, 2))) * SCALE
        cv2.line(face, *ends.astype(int).tolist(), 0.0, 4)
    face = cv2.GaussianBlur(face, (0, 0), 1.6)
    worn = face + 0.09 * mottle(rng, *sheet.shape, 16, 3) - 0.04 * sheet.tooth
    sheet.depth[1] += 1.15 * face**0.5 / (1 + np.exp(-np.clip(22 * (worn - 0.5), -30, 30)))


def paper(sheet: Sheet) -> np.ndarray:
    """Return the bare paper: warm, slightly stained, with long fibres and flecks."""
    rng = sheet.rng
    fibres = np.zeros(sheet.shape, np.float32)
    for _ in range(1500):
        start = rng.uniform(0, sheet.shape[::-1])
        turn = rng.uniform(0, 7) + np.cumsum(rng.normal(0, 0.35, 9))
        line = start + 6 * np.cumsum((np.cos(turn), np.sin(turn)), 1).T
        fixed = np.rint(line * 8).astype(np.int32)
        cv2.polylines(fibres, [fixed], False, rng.uniform(-1, 1), 1, cv2.LINE_8, 3)
    shade = 1 + 0.012 * sheet.tooth + 0.016 * sheet.noise(200) + 0.03 * fibres
    return PAPER * shade[..., None] - np.array((0, 2.0, 5.0)) * sheet.noise(260, 3)[..., None]


def land(sheet: Sheet) -> None:
    """Paint the sky, the sun and three ranges of mountains with their trees."""
    wash(sheet, 70 - sheet.y + 60 * np.sin(sheet.x / 170 + 2), 0.09, 30, 0, 18)
    sun = 47 - np.hypot(sheet.x - 590, (sheet.y - 116) * 1.03)
    wash(sheet, sun, 0.95 - 0.006 * (sheet.y - 116), 0.8, 0.45, 0.7, pigment=1)
    far, middle, near = (peaks(sheet.rng, summits, rough) for summits, rough in RANGES)
    mountain(sheet, far, 0.2, 300, 500)
    mountain(sheet, middle, 0.4, 362, 1300)
    mountain(sheet, near, 0.75, 440, 1800)
    drifts(sheet)
    scrub(sheet, middle, 335, 0.6, 170)
    scrub(sheet, near, 400, 1.2, 400)
    for x, size, lean in ((664, 84, -0.6), (716, 50, 0.3), (604, 46, -0.5)):
        pine(sheet, x, float(near(x)) + 6, size, lean, 1.7)


def paint_picture() -> Image.Image:
    """Paint the whole picture, from far to near, and return it at its final size."""
    sheet = Sheet(SEED)
    land(sheet)
    water(sheet)
    boat(sheet, 318, 448)
    bank(sheet)
    reeds(sheet)
    bamboo(sheet)
    birds(sheet)
    spatter(sheet)
    seal(sheet, 196, 496, 36)
    depth = np.tensordot(sheet.depth, np.array((INK, VERMILION)), (0, 0))
    picture = FLOOR + (paper(sheet) - FLOOR) * np.exp(-depth)
    final = Image.fromarray(np.clip(picture, 0, 255).round().astype(np.uint8))
    return final.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    run(paint_picture)
