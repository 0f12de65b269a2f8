"""A contact sheet: a table of pictures with a label for every row and column.

Pictures are never enlarged. They keep their size, or, if the sheet would become too large, are all
reduced by the same factor.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from nst_tf.imaging import images

LONGEST_SIDE = 4000
"""Pixels of a sheet's longer side at most, unless a great many pictures need more."""

_SMALLEST = 16  # Pixels of the long side; a picture is not reduced below.
_INK, _FAINT, _PAPER, _BLANK = "#1a1a1a", "#6e6e6e", "#ffffff", "#ececec"
_MOST_LINES = 3  # Into which a long label is broken.


@dataclasses.dataclass(frozen=True)
class Sheet:
    """The contents of a contact sheet.

    Attributes:
        title: text above everything.
        note: text below the title, smaller.
        sources: the inputs, shown small beside the title: float32 `(height, width, 3)` in [0, 1],
            of any size.
        rows: label of each row, its parts separated by line breaks; one empty string for a single
            row without a label.
        columns: label of each column, in the same form.
        pictures: the cells of each row: pictures, or words in place of a missing one.
        size: height and width of the largest picture in pixels, missing ones included.
    """

    title: str
    note: str
    sources: Sequence[np.ndarray]
    rows: Sequence[str]
    columns: Sequence[str]
    pictures: Sequence[Sequence[np.ndarray | str]]
    size: tuple[int, int]


def shown(path: Path | str, max_pixels: int = images.MAX_PIXELS) -> np.ndarray:
    """Returns the colours of a picture file on white, float32 `(height, width, 3)` in [0, 1].

    Args:
        path: path of the picture.
        max_pixels: largest accepted picture, in pixels.

    Raises:
        ImageError: the picture cannot be used.
    """
    picture = images.load(path, max_pixels)
    if picture.alpha is None:
        return picture.rgb
    return 1 + (picture.rgb - 1) * picture.alpha[..., np.newaxis]


def draw(sheet: Sheet) -> np.ndarray:
    """Returns the sheet at the largest scale that fits, float32 `(height, width, 3)` in [0, 1]."""
    pictures = len(sheet.rows) * sheet.size[0], len(sheet.columns) * sheet.size[1]
    scale = min(1.0, LONGEST_SIDE / max(pictures))
    while True:
        drawn = _draw(sheet, scale)
        excess = max(drawn.size) / LONGEST_SIDE
        if excess <= 1 or scale * max(sheet.size) <= _SMALLEST:
            return np.asarray(drawn, np.float32) / 255
        scale *= min(0.98, 1 / excess)


def _draw(sheet: Sheet, scale: float) -> Image.Image:
    height, width = _scaled(sheet.size, scale)
    font = int(np.clip(0.05 * max(height, width), 13, 32))
    gap, room = round(0.6 * font), max(width, 10 * font)
    table = [[_words(label, font, room) for label in ("", *sheet.columns)]]
    for label, row in zip(sheet.rows, sheet.pictures, strict=True):
        cells = [
            _blank(cell, font, height, width) if isinstance(cell, str) else _picture(cell, scale)
            for cell in row
        ]
        table.append([_words(label, font, room), *cells])
    body = _grid(table, gap)
    sources = [
        _picture(each, min(1.0, 5 * font / each.shape[0], 12 * font / each.shape[1]))
        for each in sheet.sources
    ]
    beside = max(body.width, 30 * font) - sum(source.width + gap for source in sources)
    title = _words(sheet.title, round(1.3 * font), beside, "left")
    note = _words(sheet.note, round(0.85 * font), beside, "left", _FAINT)
    head = _grid([[*sources, _grid([[title], [note]], gap, 0)]], gap)
    return ImageOps.expand(_grid([[head], [body]], 2 * gap, 0), round(1.8 * font), _PAPER)


def _grid(rows: Sequence[Sequence[Image.Image]], gap: int, align: float = 0.5) -> Image.Image:
    """Returns pictures in rows and columns.

    Args:
        rows: rows of pictures, all of one length.
        gap: pixels between two rows or columns.
        align: horizontal place of a picture in its column, from 0 (left) to 1 (right).
    """
    heights = [max(cell.height for cell in row) for row in rows]
    widths = [max(cell.width for cell in column) for column in zip(*rows, strict=True)]
    tops, lefts = (
        list(itertools.accumulate((length + gap for length in each), initial=0))
        for each in (heights, widths)
    )
    drawn = Image.new("RGB", (lefts[-1] - gap, tops[-1] - gap), _PAPER)
    for row, top, height in zip(rows, tops, heights, strict=False):
        for cell, left, width in zip(row, lefts, widths, strict=False):
            across = round(align * (width - cell.width))
            drawn.paste(cell, (left + across, top + (height - cell.height) // 2))
    return drawn


def _scaled(size: Sequence[int], scale: float) -> tuple[int, int]:
    return max(1, round(scale * size[0])), max(1, round(scale * size[1]))


def _picture(picture: np.ndarray, scale: float) -> Image.Image:
    pixels = images.resize(picture, *_scaled(picture.shape[:2], scale))
    return Image.fromarray(np.rint(pixels * 255).astype(np.uint8))


def _blank(words: str, font: int, height: int, width: int) -> Image.Image:
    """Returns the words in place of a missing picture, on grey."""
    text = _words(words, round(0.85 * font), max(width, 10 * font), ink=_FAINT, paper=_BLANK)
    ground = Image.new("RGB", (max(width, text.width), max(height, text.height)), _BLANK)
    ground.paste(text, ((ground.width - text.width) // 2, (ground.height - text.height) // 2))
    return ground


def _words(
    words: str, font: int, room: int, align: str = "center", ink: str = _INK, paper: str = _PAPER
) -> Image.Image:
    """Returns words as a picture at most about `room` pixels wide; long lines are broken."""
    face = _face(font)
    lines = "\n".join(_broken(line, face, room) for line in words.split("\n"))
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    _, _, right, bottom = pen.multiline_textbbox((0, 0), lines, face, align=align)
    drawn = Image.new("RGB", (max(1, int(right)), max(1, int(bottom) + font // 4)), paper)
    ImageDraw.Draw(drawn).multiline_text((0, 0), lines, ink, face, align=align)
    return drawn


def _broken(line: str, face: ImageFont.FreeTypeFont, room: int) -> str:
    """Breaks a line into lines of `room` pixels, and omits the middle of a very long one."""
    lines = [""]
    for part in re.split("(?<=[ ,;=/])", line):
        if lines[-1] and face.getlength(lines[-1] + part) > room:
            lines.append("")
        for letter in part:  # A part may be longer than a line.
            if lines[-1] and face.getlength(lines[-1] + letter) > room:
                lines.append("")
            lines[-1] += letter
    if len(lines) > _MOST_LINES:
        lines[_MOST_LINES - 1 :] = [f"…{lines[-1]}"]
    return "\n".join(lines)


@functools.cache
def _face(size: int) -> ImageFont.FreeTypeFont:
    import matplotlib  # Its font has accents and scripts that Pillow's lacks.

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)
