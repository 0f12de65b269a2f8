"""A contact sheet: pictures in rows and columns, labelled, laid out to the pixel.

Pictures are never enlarged. They are shown as they are, or, where the sheet would become too
large, all reduced alike.
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nst_tf.imaging import images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST_SIDE = 4000
"""Pixels that neither side of a sheet exceeds, but where a great many pictures need more."""

_DPI = 128  # A power of two, by which sizes in inches are exact.
_INK, _FAINT, _BLANK = "#1a1a1a", "#6e6e6e", "#ececec"
_LINE = 1.35  # Distance of two lines of text, in font sizes.
_MOST_LINES = 3  # Of a label's part.


@dataclasses.dataclass(frozen=True)
class Sheet:
    """What a contact sheet shows.

    Attributes:
        title: above everything.
        note: below the title, smaller.
        sources: pictures of any size that stand small beside the title, float32
            `(height, width, 3)` in [0, 1].
        rows: label of each row, or one empty text where rows need none. Parts are separated by
            line breaks.
        columns: label of each column, likewise.
        pictures: for each row its pictures, or words for a place without one.
        size: height and width of the largest picture, those that are missing included.
    """

    title: str
    note: str
    sources: Sequence[np.ndarray]
    rows: Sequence[str]
    columns: Sequence[str]
    pictures: Sequence[Sequence[np.ndarray | str]]
    size: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Places on a sheet, in pixels from the left and the top."""

    scale: float
    font: int
    tile: tuple[int, int]
    sources: tuple[tuple[int, int], ...]
    title: str
    note: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    labels: int
    lefts: tuple[int, ...]
    tops: tuple[int, ...]
    margin: int
    gap: int
    width: int
    height: int


def draw(sheet: Sheet) -> Figure:
    """Returns the sheet as a figure of `LONGEST_SIDE` pixels at most."""
    from matplotlib.figure import Figure  # Slow to import.

    layout = _layout(sheet)
    figure = Figure((layout.width / _DPI, layout.height / _DPI), dpi=_DPI, facecolor="white")
    _draw_head(figure, sheet, layout)
    _draw_labels(figure, layout)
    for top, row in zip(layout.tops, sheet.pictures, strict=True):
        for left, picture in zip(layout.lefts, row, strict=True):
            if isinstance(picture, str):
                _draw_blank(figure, layout, left, top, picture)
            else:
                _draw_tile(figure, layout, left, top, picture)
    return figure


def render(figure: Figure) -> np.ndarray:
    """Returns the pixels of a figure, float32 `(height, width, 3)` in [0, 1]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # A file name in a script that the font lacks.
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(np.float32) / 255


# Layout.


def _layout(sheet: Sheet) -> _Layout:
    """Returns the layout at the largest scale that fits, 1 at most."""
    scale = 1.0
    while True:
        layout = _layout_at(sheet, scale)
        excess = max(layout.width, layout.height) / LONGEST_SIDE
        if excess <= 1 or min(layout.tile) <= 16:
            return layout
        scale *= min(0.98, 1 / excess)


def _layout_at(sheet: Sheet, scale: float) -> _Layout:
    tile = _scaled(sheet.size, scale)
    font = int(np.clip(0.05 * max(tile), 13, 32))
    margin, gap = round(1.8 * font), round(0.6 * font)
    pitch = max(tile[1], 10 * font)
    columns = [_wrapped(label, 0.96 * pitch, font) for label in sheet.columns]
    rows = [_wrapped(label, max(0.7 * tile[1], 10 * font), font) for label in sheet.rows]
    gutter = max(_text_width(label, font) for label in rows)
    left = margin + (gutter + gap if gutter else 0) + (pitch - tile[1]) // 2
    lefts = [left + index * (pitch + gap) for index in range(len(columns))]
    width = max(lefts[-1] + (pitch + tile[1]) // 2 + margin, 30 * font)
    sources = _source_sizes(sheet.sources, font)
    head = width - 2 * margin - sum(size[1] + gap for size in sources) - gap
    title = _wrapped(sheet.title, head / 1.3, font)  # It is 1.3 times as large as the rest.
    note = _wrapped(sheet.note, head / 0.85, font)
    top = margin + max(
        _head_height(title, note, font), max((size[0] for size in sources), default=0)
    )
    top += round(1.2 * font + _text_height(max(columns, key=_lines), font) + 0.4 * font)
    step = max(tile[0], *(_text_height(label, font) for label in rows)) + gap
    tops = [top + index * step for index in range(len(rows))]
    return _Layout(
        scale=scale,
        font=font,
        tile=tile,
        sources=sources,
        title=title,
        note=note,
        rows=tuple(rows),
        columns=tuple(columns),
        labels=left - (pitch - tile[1]) // 2,
        lefts=tuple(lefts),
        tops=tuple(tops),
        margin=margin,
        gap=gap,
        width=width,
        height=tops[-1] + step - gap + margin,
    )


def _scaled(size: Sequence[int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _source_sizes(sources: Sequence[np.ndarray], font: int) -> tuple[tuple[int, int], ...]:
    """Returns the size of each source at the head: one height, but none very wide."""
    sizes = []
    for source in sources:
        height, width = source.shape[:2]
        scale = min(1.0, 5 * font / height, 12 * font / width)
        sizes.append(_scaled((height, width), scale))
    return tuple(sizes)


def _head_height(title: str, note: str, font: int) -> int:
    return round(1.3 * _text_height(title, font) + 0.85 * _text_height(note, font) + 0.3 * font)


# Text.


def _lines(text: str) -> int:
    return text.count("\n") + 1 if text else 0


def _text_height(text: str, font: int) -> int:
    return round(_lines(text) * _LINE * font)


def _text_width(text: str, font: int) -> int:
    from matplotlib import font_manager, textpath

    face = font_manager.FontProperties(family="DejaVu Sans", size=font)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        measured = [
            textpath.text_to_path.get_text_width_height_descent(line, face, ismath=False)[0]
            for line in text.split("\n")
        ]
    return int(np.ceil(1.03 * max(measured)))  # Hinting makes drawn text a little wider.


def _wrapped(text: str, width: float, font: int) -> str:
    """Breaks each line of a text so that it fits, and leaves out the middle of a long one."""
    return "\n".join(_wrapped_line(line, width, font) for line in text.split("\n"))


def _wrapped_line(text: str, width: float, font: int) -> str:
    lines = [""]
    for piece in _pieces(text, width, font):
        if lines[-1] and _text_width(lines[-1] + piece, font) > width:
            lines.append("")
        lines[-1] += piece
    if len(lines) <= _MOST_LINES:
        return "\n".join(lines)
    end = lines[-2] + lines[-1]
    while _text_width(f"…{end}", font) > width:
        end = end[1:]
    return "\n".join([*lines[: _MOST_LINES - 1], f"…{end}"])


def _pieces(
    text: str, width: float, font: int, separators: Sequence[str] = (" ", ",;=/", "")
) -> Iterator[str]:
    """Yields what may stand on a line of its own: words, or parts of those that are too wide."""
    first, *further = separators
    for piece in re.findall(f"[^{first}]*[{first}]?", text) if first else text:
        if further and _text_width(piece, font) > width:
            yield from _pieces(piece, width, font, further)
        else:
            yield piece


# Drawing.


def _write(
    figure: Figure, layout: _Layout, x: float, y: float, text: str, *, size: float = 1.0,
    colour: str = _INK, across: str = "left", down: str = "top",
) -> None:  # fmt: skip
    """Writes at pixels from the left and the top; `size` is relative to the font's."""
    figure.text(
        x / layout.width, 1 - y / layout.height, text, fontsize=size * layout.font * 72 / _DPI,
        family="DejaVu Sans", color=colour, ha=across, va=down, linespacing=_LINE / 1.16,
        parse_math=False,
    )  # fmt: skip


def _draw_head(figure: Figure, sheet: Sheet, layout: _Layout) -> None:
    x = layout.margin
    for source, size in zip(sheet.sources, layout.sources, strict=True):
        _draw_picture(figure, layout, x, layout.margin, source, size)
        x += size[1] + layout.gap
    x += layout.gap if layout.sources else 0
    _write(figure, layout, x, layout.margin, layout.title, size=1.3)
    y = layout.margin + 1.3 * _text_height(layout.title, layout.font) + 0.3 * layout.font
    _write(figure, layout, x, y, layout.note, size=0.85, colour=_FAINT)


def _draw_labels(figure: Figure, layout: _Layout) -> None:
    for left, label in zip(layout.lefts, layout.columns, strict=True):
        x, y = left + layout.tile[1] / 2, layout.tops[0] - 0.4 * layout.font
        _write(figure, layout, x, y, label, across="center", down="bottom")
    for top, label in zip(layout.tops, layout.rows, strict=True):
        x, y = layout.labels - layout.gap, top + layout.tile[0] / 2
        _write(figure, layout, x, y, label, across="right", down="center")


def _draw_tile(figure: Figure, layout: _Layout, left: int, top: int, picture: np.ndarray) -> None:
    """Draws a picture in the middle of its tile."""
    size = _scaled(picture.shape[:2], layout.scale)
    size = min(size[0], layout.tile[0]), min(size[1], layout.tile[1])
    left += (layout.tile[1] - size[1]) // 2
    top += (layout.tile[0] - size[0]) // 2
    _draw_picture(figure, layout, left, top, picture, size)


def _draw_picture(
    figure: Figure, layout: _Layout, left: int, top: int, picture: np.ndarray, size: tuple[int, int]
) -> None:
    pixels = np.rint(images.resize(picture, *size) * 255).astype(np.uint8)
    figure.figimage(pixels, left, layout.height - top - size[0], origin="upper")


def _draw_blank(figure: Figure, layout: _Layout, left: int, top: int, words: str) -> None:
    from matplotlib.patches import Rectangle

    height, width = layout.tile
    corner = left / layout.width, 1 - (top + height) / layout.height
    figure.add_artist(
        Rectangle(
            corner, width / layout.width, height / layout.height, facecolor=_BLANK, linewidth=0,
            transform=figure.transFigure,
        )
    )  # fmt: skip
    text = _wrapped(words, max(0.9 * width, 5 * layout.font), layout.font)
    x, y = left + width / 2, top + height / 2
    _write(figure, layout, x, y, text, size=0.85, colour=_FAINT, across="center", down="center")
