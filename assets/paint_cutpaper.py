"""Paste an original picture, "Guitar by the Window", to be used as a style image.

The scene is a cut-paper still life in the manner of late cubism: a guitar, a bottle, a glass and a
bowl of fruit on a tilted table, newspaper and sheet music under them, leaves, and a window with a
view of roofs.

A paper is a function that colours a piece from the place on it: painted with gouache, striped,
dotted, printed, grained like wood. A piece is an outline cut by hand from a paper and pasted with a
thin shadow, the edge lit from the upper left. Chalk and charcoal lines are drawn over them. All of
it is made at twice the final size and scaled down. The result depends on nothing but the seed.

Usage: python paint_cutpaper.py OUTPUT.png
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import cv2
import numpy as np
from paint_tools import Points, curve, mottle, run, smooth_noise
from PIL import Image

WIDTH, HEIGHT, SCALE, SEED = 768, 576, 2, 1953
COLOURS = {
    "black": (36, 33, 38),
    "cream": (242, 231, 207),
    "vermilion": (212, 68, 44),
    "ochre": (229, 168, 58),
    "cobalt": (36, 76, 158),
    "teal": (32, 110, 104),
    "sky": (160, 199, 208),
    "pink": (231, 168, 152),
    "brown": (126, 76, 46),
}
Field = Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]
"""Function of a source of chance and of every pixel's place along and across a paper."""


def grain(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray, cell: float, across: float = 0
) -> np.ndarray:
    """Return noise in about -1..1 at the places (u, v), `cell` long and `across` wide in pixels."""
    gu, gv = u / cell, v / (across or cell)
    gu, gv = gu - gu.min() + 2, gv - gv.min() + 2
    grid = rng.uniform(-1, 1, (int(gv.max()) + 4, int(gu.max()) + 4)).astype(np.float32)
    return cv2.remap(grid, gu.astype(np.float32), gv.astype(np.float32), cv2.INTER_CUBIC)


def ramp(value: np.ndarray, soft: float | np.ndarray) -> np.ndarray:
    """Return 0 below and 1 above zero, with a ramp of half-width `soft` between."""
    return np.clip(0.5 + value / (2 * soft), 0, 1)


def gouache(name: str, streak: float = 1.0) -> Field:
    """Return paper painted by hand in one colour: streaks of the brush, thin and thick spots."""

    def colour(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        sweep = v + 6 * grain(rng, u, v, 120)
        streaks = grain(rng, u, sweep, 110, 5) + 0.7 * grain(rng, u, sweep, 60, 1.7)
        value = streak * (0.055 * streaks + 0.05 * grain(rng, u, v, 50))
        value = value + 0.03 * grain(rng, u, v, 1.1) + 0.02 * grain(rng, u, v, 3)
        base = np.array(COLOURS[name], float)
        warm = 7 * streak * grain(rng, u, sweep, 160, 14)
        return base + (base + 60) * value[..., None] + warm[..., None] * (1, 0.3, -0.9)

    return colour


def printed(ground: str, ink: str, pattern: Field, worn: float = 0.35) -> Field:
    """Return painted paper with a pattern printed on it.

    Args:
        ground: Colour of the paper.
        ink: Colour of the pattern.
        pattern: Function of rng, u and v with the coverage in 0..1.
        worn: How unevenly the ink takes.
    """
    below, above = gouache(ground), gouache(ink, 0.6)

    def colour(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        shift = 1.3 * grain(rng, u, v, 45), 1.3 * grain(rng, u, v, 45)
        take = 1 - worn * np.clip(0.6 * grain(rng, u, v, 2) + 0.6 * grain(rng, u, v, 22), 0, 1)
        cover = (pattern(rng, u + shift[0], v + shift[1]) * take)[..., None]
        return below(rng, u, v) * (1 - cover) + above(rng, u, v) * cover

    return colour


def stripes(period: float, share: float = 0.5) -> Field:
    """Return a pattern of stripes painted by hand, `share` of the period wide."""

    def cover(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        row = np.floor(v / period).astype(int)
        row = row - row.min()
        jitter = rng.uniform(-0.09, 0.09, (2, row.max() + 1))
        place = np.abs((v / period) % 1 - 0.5 + jitter[0][row])
        ragged = 0.04 * grain(rng, u, v, 9) + 0.02 * grain(rng, u, v, 2)
        return ramp(share / 2 + jitter[1][row] + ragged - place, 0.6 / period)

    return cover


def checks(period: float) -> Field:
    """Return a pattern of checks: the squares of two sets of stripes."""

    def cover(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        one, other = stripes(period)(rng, u, v), stripes(period)(rng, v, u)
        return one + other - 2 * one * other

    return cover


def dots(period: float, radius: float) -> Field:
    """Return a pattern of dots stamped by hand in staggered rows."""

    def cover(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        row = np.floor(v / period).astype(int)
        along = u / period + 0.5 * (row % 2)
        col = np.floor(along).astype(int)
        row, col = row - row.min(), col - col.min()
        jitter = rng.normal(0, 1, (3, row.max() + 1, col.max() + 1))[:, row, col]
        x = (along % 1 - 0.5) * period + 0.06 * period * jitter[0]
        y = (v / period % 1 - 0.5) * period + 0.06 * period * jitter[1]
        gap = radius * (1 + 0.1 * jitter[2] + 0.12 * grain(rng, u, v, 4)) - np.hypot(x, y)
        return ramp(gap, 0.6)

    return cover


def hatching(period: float, crossed: bool = False) -> Field:
    """Return a pattern of crayon lines, broken by the paper's tooth."""

    def cover(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        lines = stripes(period, 0.3)(rng, u, v + 0.1 * period * grain(rng, u, v, 14))
        if crossed:
            lines = np.maximum(lines, stripes(period, 0.26)(rng, v, u + 0.35 * v))
        return lines * ramp(grain(rng, u, v, 1.4) + 0.8 * grain(rng, u, v, 18) + 0.45, 0.3)

    return cover


def wood(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return a pattern of wood grain drawn with a comb, bent around knots."""
    bend = 9 * grain(rng, u, v, 95, 24) + 2 * grain(rng, u, v, 22, 9)
    for _ in range(3):
        ku, kv = rng.uniform(u.min(), u.max()), rng.uniform(v.min(), v.max())
        bend = bend + 15 * np.exp(-np.hypot((u - ku) / 3, v - kv) / 8)
    thick = 0.2 * grain(rng, u, v, 45, 5) - 0.12
    lines = ramp(np.sin((v + bend) * 2 * np.pi / 6.5) * 0.5 + thick, 0.16)
    return lines * ramp(grain(rng, u, v, 7, 1.2) + 0.9, 0.3)


def newsprint(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return a pattern of columns of small type with headings; it reads as nothing."""
    line, column = 5.2, 86.0
    row = np.floor(v / line)
    size = np.where(np.floor(row / 3) % 5 == 0, 3.0, 1.0)  # three lines make a heading
    row = np.floor(row / size) * size
    place = (v / line - row) / size
    letters = grain(rng, u / size, row * 50 + place * 2.2, 1.0) + 0.25
    words = grain(rng, u / size, row * 50, 4.5) + 0.62
    band, across = ramp(0.3 - np.abs(place - 0.5), 0.08), u % column
    ink = ramp(letters, 0.25 / size) * ramp(words, 0.1 / size) * band * ramp(across - 5, 0.5)
    rule = ramp(0.5 - np.abs(across - 1.5), 0.4)
    return np.maximum(ink, 0.8 * rule)


def music(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return a pattern of staves with notes on them."""
    space, stave = 4.4, 44.0
    row, y = np.floor(v / stave).astype(int), v % stave
    lines = ramp(0.42 - np.abs((y - 10 + space / 2) % space - space / 2), 0.4)
    lines = lines * (y > 9) * (y < 28.2)
    beat = np.floor(u / 13).astype(int)
    row, beat = row - row.min(), beat - beat.min()
    pitch = (10 + space / 2 * rng.integers(1, 8, (row.max() + 1, beat.max() + 1)))[row, beat]
    kind = rng.random((row.max() + 1, beat.max() + 1))[row, beat]
    x, dy = u % 13 - 5, y - pitch
    head = ramp(1 - np.hypot((x + 0.35 * dy) / 3, dy / 2.1), 0.25)
    stem = ramp(0.55 - np.abs(x - 2.6), 0.3) * (dy < 0) * (dy > -14)
    flag = ramp(1.2 - np.abs(dy + 12), 0.4) * (x > 2) * (kind > 0.55)
    return np.maximum(lines, np.max((head, stem, flag), axis=0) * (kind > 0.2))


def caning(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return a pattern of woven cane: two straight and two slanting sets of strands."""
    period = 15.0
    strands = [
        stripes(period, share)(rng, a, b)
        for share, a, b in ((0.26, u, v), (0.26, v, u), (0.2, u - v, u + v), (0.2, u + v, u - v))
    ]
    return np.max(strands, axis=0)


def speckle(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return a pattern of sand and splashes of the brush."""
    coarse = ramp(grain(rng, u, v, 4) + 0.5 * grain(rng, u, v, 40) - 0.62, 0.12)
    return np.maximum(coarse, ramp(grain(rng, u, v, 1.8) - 0.72, 0.15))


class Collage:
    """The board and the pieces pasted on it so far.

    Attributes:
        rng: Source of everything that is left to chance.
        picture: The colours, at the working scale.
    """

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.picture = np.zeros((HEIGHT * SCALE, WIDTH * SCALE, 3), np.float32)

    def cut(self, outline: Points, ragged: float = 0.0) -> np.ndarray:
        """Return the coverage of an outline as scissors cut it; `ragged` pixels if it is torn."""
        slips = [0.8 * smooth_noise(self.rng, len(outline), 1, 3) for _ in "xy"]
        points = np.asarray(outline, float) + np.hstack(slips)
        board = np.zeros(self.picture.shape[:2], np.uint8)
        fixed = np.rint(points * SCALE * 16).astype(np.int32)
        cv2.fillPoly(board, [fixed], 255, cv2.LINE_AA, 4)
        mask = cv2.GaussianBlur(board / np.float32(255), (0, 0), 0.6)
        if ragged:
            wide = cv2.GaussianBlur(mask, (0, 0), 3 * ragged)
            tear = 0.16 * mottle(self.rng, *mask.shape, 40, 5)
            mask = ramp(wide - 0.5 + tear, 0.08).astype(np.float32)
        return mask

    def paste(
        self,
        outline: Points,
        paper: str,
        angle: float = 0.0,
        lift: float = 1.0,
        clip: Points | None = None,
        torn: bool = False,
    ) -> None:
        """Paste a piece of paper.

        Args:
            outline: Corners of the piece, in pixels of the final picture.
            paper: Name of the paper it is cut from.
            angle: How far the paper is turned, in degrees.
            lift: Strength and reach of its shadow.
            clip: A second outline; only what lies in both is pasted.
            torn: Whether the piece is torn and shows the paper's white core.
        """
        mask = self.cut(outline, 2.0 if torn else 0.0)
        if clip is not None:
            mask = mask * self.cut(clip)
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        pad, (height, width) = 14, mask.shape
        top, bottom = max(rows[0] - pad, 0), min(rows[-1] + pad, height)
        left, right = max(cols[0] - pad, 0), min(cols[-1] + pad, width)
        box = (slice(top, bottom), slice(left, right))
        mask = mask[box]
        self.picture[box] *= 1 - self.shadow(mask, lift)[..., None] * (0.9, 0.95, 0.85)
        y, x = np.mgrid[box] / SCALE
        x, y, turn = x - x.mean(), y - y.mean(), np.deg2rad(angle)
        u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        face = PAPERS[paper](self.rng, u, v)
        if torn:
            core = ramp(0.93 - cv2.GaussianBlur(mask, (0, 0), 3.5), 0.06)[..., None]
            face = face * (1 - core) + np.array((238, 232, 220)) * core
        face = face * self.relief(mask)[..., None]
        self.picture[box] += mask[..., None] * (face - self.picture[box])

    def shadow(self, mask: np.ndarray, lift: float) -> np.ndarray:
        """Return how much of the light a piece keeps from what lies under it."""
        move = np.array(((1, 0, 2.2 * lift), (0, 1, 3.0 * lift)))
        size = mask.shape[::-1]
        cast = cv2.GaussianBlur(cv2.warpAffine(mask, move, size), (0, 0), 1.2 + 2.2 * lift)
        contact = cv2.GaussianBlur(mask, (0, 0), 2.0)
        return np.clip(0.38 * cast + 0.2 * contact, 0, 0.6)

    def relief(self, mask: np.ndarray) -> np.ndarray:
        """Return the light on a piece: a bright upper left edge, a dull lower right one, a wave."""
        size = mask.shape[::-1]
        shifted = cv2.warpAffine(mask, np.array(((1.0, 0, 1.6), (0, 1, 1.6))), size)
        away = cv2.warpAffine(mask, np.array(((1.0, 0, -1.6), (0, 1, -1.6))), size)
        wave = 0.022 * mottle(self.rng, *mask.shape, 150, 3)
        return 1 + wave + 0.22 * np.clip(mask - shifted, 0, 1) - 0.16 * np.clip(mask - away, 0, 1)

    def draw(self, points: Points, name: str, width: float = 1.6, rough: float = 1.0) -> None:
        """Draw a line with chalk or charcoal over everything.

        Args:
            points: The line's course.
            name: Colour of the chalk.
            width: Width in pixels.
            rough: How much of the line the tooth of the paper leaves out.
        """
        board = np.zeros(self.picture.shape[:2], np.uint8)
        line = curve(points, 4.0)
        line = line + 0.35 * self.rng.normal(0, 1, line.shape)
        for start, stop in pairwise(line):
            ends = [tuple(np.rint(p * SCALE * 16).astype(int).tolist()) for p in (start, stop)]
            thick = max(1, round(width * SCALE * self.rng.uniform(0.7, 1.15)))
            cv2.line(board, *ends, 255, thick, cv2.LINE_AA, 4)
        mask = cv2.GaussianBlur(board / np.float32(255), (0, 0), 0.7)
        tooth = 0.8 * mottle(self.rng, *mask.shape, 3, 2) + 0.5 * mottle(
            self.rng, *mask.shape, 60, 2
        )
        mask = (mask * ramp(tooth + 1.7 - rough, 0.8) * 0.92)[..., None]
        self.picture += mask * (np.array(COLOURS[name]) - self.picture)


def place(points: Points, x: float, y: float, size: float, angle: float = 0.0) -> np.ndarray:
    """Return points scaled, turned by degrees and moved to (x, y)."""
    turn = np.deg2rad(angle)
    matrix = np.array(((np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))))
    return size * np.asarray(points, float) @ matrix + (x, y)


def mirror(half: Points) -> np.ndarray:
    """Return the closed outline whose right half, from top to bottom, is given."""
    right = curve(half, 0.03)
    return np.vstack((right, right[::-1] * (-1, 1)))


def disc(rng: np.random.Generator, rx: float = 1.0, ry: float = 1.0) -> np.ndarray:
    """Return an ellipse as scissors cut it: many short straight snips."""
    angle = np.sort(np.linspace(0, 2 * np.pi, 26, endpoint=False) + rng.uniform(-0.08, 0.08, 26))
    radius = 1 + rng.normal(0, 0.012, 26)
    return np.stack((rx * radius * np.cos(angle), ry * radius * np.sin(angle)), 1)


def frond(rng: np.random.Generator, lobes: int) -> np.ndarray:
    """Return a leaf of rounded fingers that point up and outwards, about one unit high."""
    half = [(0, -1.0), (0.09, -0.96), (0.12, -0.8), (0.06, -0.62)]
    for k in range(lobes):
        y = -0.5 + 1.15 * k / lobes
        reach = (0.3 + 0.26 * np.sin(np.pi * (k + 0.9) / (lobes + 0.5))) * rng.uniform(0.88, 1.12)
        lift = rng.uniform(0.14, 0.24)
        half += [(0.6 * reach, y - 0.8 * lift), (0.92 * reach, y - lift - 0.07)]
        half += [(reach + 0.04, y - lift + 0.03), (0.62 * reach, y + 0.04), (0.05, y + 0.13)]
    return mirror([*half, (0.03, 0.8), (0.035, 1.0), (0, 1.0)])


GUITAR = ((0, -1.0), (0.2, -1.0), (0.44, -0.9), (0.5, -0.64), (0.4, -0.36), (0.4, -0.12),
          (0.6, 0.14), (0.68, 0.48), (0.54, 0.84), (0.22, 1.0), (0, 1.02))  # fmt: skip
BOTTLE = ((0, -1.0), (0.12, -1.0), (0.125, -0.8), (0.12, -0.5), (0.2, -0.34), (0.33, -0.18),
          (0.345, 0.1), (0.34, 0.6), (0.33, 0.98), (0.2, 1.0), (0, 1.0))  # fmt: skip
PEAR = ((0, -1.0), (0.18, -0.97), (0.32, -0.6), (0.42, -0.2), (0.72, 0.2), (0.74, 0.62),
        (0.42, 0.94), (0, 1.0))  # fmt: skip
LEMON = ((0, -1), (0.12, -0.86), (0.5, -0.5), (0.56, 0.1), (0.4, 0.6), (0.1, 0.86), (0, 1))
BOWL = ((536, 344), (600, 350), (680, 346), (748, 334), (732, 376), (700, 404), (664, 416),
        (622, 412), (576, 392), (548, 366))  # fmt: skip
GOBLET = ((0, -1.0), (0.46, -1.0), (0.48, -0.6), (0.36, -0.15), (0.07, 0.1), (0.055, 0.6),
          (0.09, 0.82), (0.4, 0.96), (0.38, 1.0), (0, 1.0))  # fmt: skip


PAPERS = {name: gouache(name) for name in COLOURS} | {
    "wood": printed("ochre", "brown", wood),
    "cane": printed("cream", "brown", caning),
    "newspaper": printed("cream", "black", newsprint),
    "score": printed("cream", "black", music),
    "wallpaper": printed("cream", "pink", stripes(22)),
    "spots": printed("teal", "sky", dots(19, 3.6)),
    "gingham": printed("cream", "cobalt", checks(17)),
    "fields": printed("teal", "ochre", hatching(6)),
    "sunset": printed("ochre", "vermilion", stripes(5, 0.3)),
    "candy": printed("pink", "vermilion", stripes(8, 0.45)),
    "net": printed("cream", "black", hatching(5, crossed=True)),
    "rosette": printed("cream", "vermilion", dots(5.5, 1.6)),
    "shade": printed("pink", "cobalt", hatching(7)),
    "reeded": printed("teal", "black", stripes(6, 0.4)),
    "wasp": printed("ochre", "black", stripes(5)),
    "russet": printed("vermilion", "brown", hatching(4)),
    "blush": printed("ochre", "vermilion", hatching(4)),
    "rose": printed("pink", "black", hatching(4)),
    "zest": printed("ochre", "brown", dots(5, 1.0)),
    "china": printed("cream", "cobalt", stripes(13, 0.45)),
    "sponge": printed("teal", "cream", speckle),
    "freckles": printed("ochre", "vermilion", speckle),
    "veins": printed("cream", "teal", hatching(5)),
}


def wall(art: Collage) -> None:
    """Paste the board and the broad planes of the wall."""
    art.paste(((-9, -9), (777, -9), (777, 585), (-9, 585)), "ochre", 20)
    art.paste(((-9, -9), (214, -9), (176, 330), (-9, 372)), "sky", 80)
    art.paste(((196, -9), (420, -9), (398, 350), (150, 322)), "wallpaper", 84)
    art.paste(((300, -9), (486, -9), (352, 408), (232, 330)), "black", 64)
    art.paste(((398, -9), (777, -9), (777, 344), (420, 390), (372, 250)), "spots", -8)
    art.paste(((690, -9), (777, -9), (777, 420), (716, 396)), "vermilion", 85)


def window(art: Collage) -> None:
    """Paste the window: its frame, evening sky, sun, hills and a row of small houses."""
    rng, pane = art.rng, ((474, 26), (664, 14), (676, 214), (486, 232))
    hills = ((480, 150), (540, 112), (604, 150), (680, 120), (680, 230), (480, 236))
    art.paste(((462, 14), (676, 0), (690, 226), (474, 246)), "cream", 88)
    art.paste(pane, "cobalt", 4)
    art.paste(place(disc(rng), 618, 72, 27), "vermilion")
    art.paste(place(disc(rng), 622, 70, 17), "sunset", 30, 0.4)
    art.paste(hills, "fields", -24, clip=pane)
    fronts = ("cream", "pink", "sky", "ochre", "cream", "vermilion")
    roofs = ("vermilion", "brown", "vermilion", "black", "cobalt", "black")
    for k, (front, roof) in enumerate(zip(fronts, roofs, strict=True)):
        x, y, w = 486 + 31 * k, 196 + rng.uniform(-16, 10) - 2 * k, rng.uniform(26, 34)
        art.paste(((x, y), (x + w, y - 1), (x + w, 250), (x, 250)), front, 90, 0.5, pane)
        art.paste(((x - 3, y + 2), (x + w * 0.45, y - 18), (x + w + 3, y + 1)), roof, 10, 0.5, pane)
        for left, paper in ((x + 6, "black"), (x + 16, "ochre")):
            light = ((left, y + 8), (left + 6, y + 8), (left + 6, y + 17), (left, y + 17))
            art.paste(light, paper, 0, 0.3, pane)
    art.paste(((564, 10), (572, 10), (582, 234), (574, 236)), "cream", 90)
    art.paste(((470, 112), (674, 98), (674, 106), (471, 120)), "cream")


def table(art: Collage) -> None:
    """Paste the tilted table, its cloth and the papers on it."""
    top = ((-9, 366), (190, 318), (470, 346), (777, 322), (777, 585), (-9, 585))
    art.paste(top, "wood", -6)
    art.paste(((420, 585), (470, 372), (777, 348), (777, 585)), "vermilion", -30)
    art.paste(((-9, 470), (150, 424), (264, 585), (-9, 585)), "cane", 18)
    hem = np.stack((np.linspace(560, 524, 15), np.linspace(585, 470, 15)), 1)
    hem[1::2, 0] += 9
    art.paste(((700, 432), (777, 444), (777, 585), *hem), "gingham", -14)
    art.paste(((18, 392), (250, 340), (320, 522), (62, 572)), "newspaper", -12, torn=True)
    art.paste(((424, 372), (560, 340), (604, 486), (462, 524)), "score", -15, 1.3)


def guitar(art: Collage) -> None:
    """Paste the guitar: a shadow beside it, a body of several papers, the neck, the strings."""
    at = partial(place, x=322, y=356, size=150, angle=32)
    body = mirror(GUITAR)
    art.paste(at(np.add(body, (-0.16, 0.06))), "black", 32, 1.2)
    art.paste(at(body), "wood", 118, 1.4)
    for facet, paper, angle in (
        (((0.04, -1.2), (1, -1.2), (1, 1.2), (0.12, 1.2)), "newspaper", 36),
        (((0.1, 0.06), (1, -0.22), (1, 1.2), (0.06, 1.2)), "cobalt", 52),
        (((0.07, 0.5), (1, 0.18), (1, 0.62), (0.16, 1.2)), "candy", 77),
        (((-1, 0.34), (-0.1, 0.62), (-0.2, 1.2), (-1, 1.2)), "vermilion", 32),
        (((-1, -1.2), (-0.1, -1.2), (-0.16, -0.5), (-1, -0.34)), "net", 32),
    ):
        art.paste(at(body), paper, angle, 0.6, clip=at(facet))
    for radius, paper in ((0.27, "brown"), (0.235, "rosette"), (0.19, "black")):
        hole = np.add(disc(art.rng, radius, radius), (0.02, -0.12))
        art.paste(at(hole), paper, 10, 0.5)
    art.paste(at(((-0.3, 0.6), (0.32, 0.57), (0.33, 0.68), (-0.3, 0.71))), "black", 32, 0.8)
    neck(art, at)
    for offset in np.linspace(-0.07, 0.085, 6):
        string = at(((offset, 0.64), (offset * 0.95, -0.4), (offset * 0.8, -1.95)))
        art.draw(string, "cream" if offset < 0.02 else "black", 0.8, 0.7)


def neck(art: Collage, at: Callable[[Points], np.ndarray]) -> None:
    """Paste the guitar's neck, frets and head; `at` maps the guitar's own coordinates."""
    art.paste(at(((-0.1, -0.3), (0.13, -0.3), (0.1, -1.9), (-0.09, -1.9))), "brown", 120)
    art.paste(at(((0.015, -0.3), (0.13, -0.3), (0.1, -1.9), (0.01, -1.9))), "sky", 120, 0.3)
    for k in range(9):
        y = -0.55 - 1.3 * (1 - 0.86**k) / (1 - 0.86**9)
        fret = ((-0.1, y), (0.12, y - 0.01), (0.12, y + 0.012), (-0.1, y + 0.018))
        art.paste(at(fret), "cream", 0, 0.4)
    head = ((-0.11, -1.86), (0.12, -1.86), (0.17, -2.36), (0.03, -2.42), (-0.15, -2.34))
    art.paste(at(head), "vermilion", 50)
    for k in range(3):
        for side, paper in ((-0.2, "ochre"), (0.2, "cream")):
            peg = np.add(disc(art.rng, 0.055, 0.04), (side, -1.97 - 0.13 * k))
            art.paste(at(peg), paper, 0, 0.7)


def bottle(art: Collage) -> None:
    """Paste the bottle's shadow, its halves and its label; a chalk contour misses it."""
    at = partial(place, x=112, y=318, size=168, angle=-3)
    shape = mirror(BOTTLE)
    light = ((-9, 0), (140, 0), (140, 352), (-9, 366))
    art.paste(place(shape, 76, 292, 168, -10), "shade", 52, 0.8, clip=light)
    art.paste(at(shape), "teal", 86, 1.5)
    for facet, paper, angle in (
        (((0.02, -1.2), (1, -1.2), (1, 1.2), (-0.06, 1.2)), "black", 80),
        (((-1, 0.52), (1, 0.34), (1, 1.2), (-1, 1.2)), "reeded", 60),
    ):
        art.paste(at(shape), paper, angle, 0.5, clip=at(facet))
    for piece, paper, angle, lift in (
        (((-0.28, 0), (0.28, -0.02), (0.29, 0.42), (-0.28, 0.44)), "cream", 0, 1.0),
        (((-0.24, 0.05), (0.25, 0.03), (0.25, 0.11), (-0.24, 0.13)), "vermilion", 0, 0.3),
        (np.add(disc(art.rng, 0.11, 0.11), (0, 0.27)), "wasp", 45, 0.5),
        (((-0.14, -1.02), (0.14, -1.02), (0.14, -0.8), (-0.14, -0.79)), "vermilion", 90, 1.0),
        (((-0.2, -0.2), (-0.27, -0.08), (-0.28, -0.03), (-0.23, -0.06)), "cream", 0, 0.4),
    ):
        art.paste(at(piece), paper, angle, lift)
    art.draw(place(shape, 121, 314, 168, -3)[::5][:30], "cream", 1.4, 1.2)


def fruit(art: Collage) -> None:
    """Paste the bowl of fruit and the lemon beside it."""
    rng = art.rng
    half = ((0.1, -1.5), (1.5, -1.5), (1.5, 1.5), (-0.3, 1.5), (0.3, 0.2))
    for x, y, size, paper, dark in (
        (596, 316, 34, "vermilion", "russet"),
        (700, 322, 36, "ochre", "blush"),
    ):
        apple = place(disc(rng, 1, 0.95), x, y, size)
        art.paste(apple, paper, 30, 1.2)
        art.paste(apple, dark, 60, 0.4, clip=place(half, x, y, size))
    at = partial(place, x=648, y=296, size=60, angle=12)
    art.paste(at(mirror(PEAR)), "ochre", 70, 1.3)
    right = at(((0.05, -2), (2, -2), (2, 2), (-0.2, 2)))
    art.paste(at(mirror(PEAR)), "sponge", 0, 0.5, clip=right)
    art.draw(((636, 238), (634, 228), (640, 218)), "black", 2.4, 0.6)
    for paper in rng.permutation(("cobalt", "cobalt", "cobalt", "black", "sky") * 6):
        x, y = rng.uniform((524, 312), (582, 356))
        grape = place(disc(rng), x, y, rng.uniform(7, 9.5))
        art.paste(grape, paper, rng.uniform(0, 90), 0.7)
    art.paste(BOWL, "china", 66, 1.4)
    art.paste(BOWL, "cobalt", 20, 0.5, clip=((646, 320), (777, 320), (777, 430), (632, 430)))
    art.paste(((612, 410), (682, 408), (694, 432), (604, 436)), "black", 5)
    lemon = place(mirror(LEMON), 628, 486, 36, 66)
    art.paste(lemon, "ochre", 20, 1.4)
    art.paste(lemon, "zest", 20, 0.3, clip=((580, 490), (690, 478), (690, 540), (580, 540)))


def goblet(art: Collage) -> None:
    """Paste the glass as overlapping planes, its rim and foot drawn in charcoal."""
    at = partial(place, x=448, y=446, size=84, angle=5)
    glass = at(mirror(GOBLET))
    art.paste(glass, "sky", 75, 1.4)
    for facet, paper, angle in (
        (((452, 326), (538, 326), (508, 566), (442, 566)), "cream", 75),
        (((388, 396), (452, 388), (446, 450), (388, 450)), "vermilion", 10),
        (((452, 388), (508, 394), (508, 456), (446, 450)), "rose", 50),
    ):
        art.paste(glass, paper, angle, 0.5, clip=facet)
    art.draw(at(np.add(disc(art.rng, 0.47, 0.1), (0, -1)))[:24], "black", 1.5, 0.9)
    art.draw(at(np.add(disc(art.rng, 0.38, 0.07), (0, 0.98)))[:22], "black", 1.3, 1.0)


def leaves(art: Collage) -> None:
    """Paste the lobed leaves of a house plant, at the window and in the upper left."""
    rng = art.rng
    for x, y, size, angle, lobes, paper in (
        (60, 92, 84, 28, 4, "teal"),
        (146, 70, 64, -24, 4, "cream"),
        (30, 196, 60, -14, 3, "vermilion"),
        (226, 118, 58, 16, 4, "cobalt"),
        (728, 70, 74, -10, 4, "black"),
        (742, 210, 64, 24, 4, "veins"),
        (690, 508, 56, 62, 4, "teal"),
        (428, 70, 46, -18, 3, "freckles"),
    ):
        art.paste(place(frond(rng, lobes), x, y, size, angle), paper, angle + 90, 1.2)


def scraps(art: Collage) -> None:
    """Paste small off-cuts and a playing card."""
    rng, names = art.rng, [name for name in COLOURS if name != "brown"]
    for spot in rng.permutation(((280, 540), (400, 520), (500, 552), (640, 540), (720, 548)) * 5):
        x, y = np.minimum(spot + rng.normal(0, (26, 16)), (WIDTH - 12, HEIGHT - 12))
        corners = rng.normal(0, 1, (int(rng.integers(3, 5)), 2))
        corners = corners[np.argsort(np.arctan2(*(corners - corners.mean(0)).T))]
        paper = str(rng.choice(names))
        art.paste(place(corners, x, y, rng.uniform(5, 9)), paper, rng.uniform(0, 180), 0.7)
    card = np.array(((-0.7, -1), (0.7, -1), (0.7, 1), (-0.7, 1)))
    art.paste(place(card, 366, 536, 30, -24), "cream", 0, 1.2)
    for middle in ((-0.32, -0.55), (0.32, 0.55), (0, 0)):
        mark = np.array(((0, -0.3), (0.2, 0), (0, 0.3), (-0.2, 0))) + middle
        art.paste(place(mark, 366, 536, 30, -24), "vermilion", 0, 0.3)


def chalk(art: Collage) -> None:
    """Draw over the pasted pieces: contours that miss their edges and a little shading."""
    rng = art.rng
    body = place(mirror(GUITAR), 314, 362, 158, 32)
    art.draw(body[len(body) // 2 :: 8][:24], "cream", 1.6, 1.2)
    art.draw(((532, 352), (566, 398), (620, 422), (690, 420), (742, 378)), "black", 1.8, 1.0)
    for k in range(14):
        x, y = 214 + 5.5 * k, 498 + 3 * k + rng.normal(0, 1)
        art.draw(((x, y), (x - 12, y + 16), (x - 22, y + 34)), "black", 1.1, 1.1)
    for k in range(12):
        x, y = 24 + 6 * k, 338 - 1.6 * k
        art.draw(((x, y - 30), (x + 5, y - 12), (x + 12, y + 6)), "cobalt", 1.2, 1.2)


def paste_picture() -> Image.Image:
    """Paste the whole picture, from back to front, and return it at its final size."""
    art = Collage(SEED)
    for part in (wall, window, table, leaves, bottle, guitar, fruit, goblet, scraps, chalk):
        part(art)
    light = 1 + 0.02 * mottle(art.rng, HEIGHT * SCALE, WIDTH * SCALE, 500, 3)
    tooth = 0.012 * mottle(art.rng, HEIGHT * SCALE, WIDTH * SCALE, 4, 2)
    picture = np.clip(art.picture * (light + tooth)[..., None], 10, 250)
    final = Image.fromarray(picture.round().astype(np.uint8))
    return final.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    run(paste_picture)
