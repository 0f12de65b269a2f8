"""Writes ten trial pairs of photo and painting: kinds of photos and of paint that differ most.

    python -m pip install -r benchmarks/requirements.txt
    python benchmarks/pairs.py --pictures=FOLDER --output=FOLDER

Portrait, motorcycle and the face of the line drawing come with scikit-image; cat, coffee and the
hand-made paintings with this repository. The rest is taken from --pictures: `taj_mahal.jpg`,
`ancient_city.jpg` and `winter_wolf.jpg` are photos, `water_lilies.jpg`, `kandinsky.jpg`,
`wave_kanagawa.jpg` and `sakai_hoitsu.jpg` paintings. What no file shows is made by filters. A pair
whose pictures are lacking is left out, with a message.

The output is `NN_name_photo.png`, `NN_name_painting.png`, and `pairs.json`: a list of the names and
of both files. The long side of a picture is at most 1024 pixels.
"""

from __future__ import annotations

import io
import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import common
import numpy as np
from absl import app, flags
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

_PICTURES = flags.DEFINE_string("pictures", None, "folder of further photos and paintings")
_OUTPUT = flags.DEFINE_string("output", None, "folder for the pairs")

_ASSETS = common.ROOT / "assets"
_LONG_SIDE = 1024
_TEXT = (
    "A painting says what it shows by shapes and how it was made by marks. The shapes are the "
    "content: a face, a house, the words of this page. The marks are the style: strokes, dots, "
    "hatching, the grain of the paper. Letters are the hardest content of all, for the eye "
    "forgives a bent tree and no bent letter."
)


def _asset(name: str) -> Image.Image:
    return Image.open(_ASSETS / name).convert("RGB")


def _given(name: str) -> Image.Image:
    return Image.open(Path(_PICTURES.value) / name).convert("RGB")


def _scikit(name: str) -> Image.Image:
    """Returns a picture that the wheel of scikit-image carries."""
    import skimage

    return Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB")


def _portrait() -> Image.Image:
    return _scikit("astronaut.png").crop((90, 0, 360, 270))


def _line_drawing() -> Image.Image:
    """Returns a photo as lines on white paper: where its grey is darker than around it."""
    grey = ImageOps.grayscale(_scikit("astronaut.png")).resize((768, 768))
    around = grey.filter(ImageFilter.GaussianBlur(3))
    tone = (_values(grey) + 0.2) / (_values(around) + 0.2)
    return _picture((tone - 0.8) / 0.15).convert("RGB")


def _text() -> Image.Image:
    page = Image.new("RGB", (768, 560), "white")
    draw = ImageDraw.Draw(page)
    draw.text((50, 36), "Shapes and marks", "black", ImageFont.load_default(52))
    lines = textwrap.fill(_TEXT, 44)
    draw.multiline_text((50, 120), lines, "black", ImageFont.load_default(31), spacing=14)
    return page


def _darkened(picture: Image.Image, light: float) -> np.ndarray:
    """Returns a picture with a share of its light, sRGB in [0, 1]; shadows turn blue."""
    return _values(picture) * (light * np.array([0.7, 0.8, 1.0])) ** (1 / 2.2)


def _night() -> Image.Image:
    return _picture(_darkened(_given("taj_mahal.jpg"), 0.06))


def _noisy() -> Image.Image:
    """Returns an underexposed photo with the noise of a sensor, saved as JPEG of quality 20."""
    dark = _darkened(_scikit("motorcycle_left.png"), 0.08)
    dark += np.random.default_rng(0).normal(0, 0.02, dark.shape)
    file = io.BytesIO()
    _picture(dark).save(file, "JPEG", quality=20)
    return Image.open(file).convert("RGB")


def _pastel() -> Image.Image:
    """Returns soft, light colours, laid on paper in slanting strokes of chalk."""
    picture = _shrunk(_given("taj_mahal.jpg")).filter(ImageFilter.ModeFilter(13))
    colours = 0.25 + 0.75 * _values(picture)
    noise = np.random.default_rng(0).random(colours.shape[:2])
    # Chalk: noise that is smoothed along the diagonal.
    chalk = np.mean([np.roll(noise, (each, -each), (0, 1)) for each in range(24)], axis=0)
    paper = _values(_picture(noise).filter(ImageFilter.GaussianBlur(1)))
    height = (chalk - 0.5) / chalk.std() + 0.6 * (paper - paper.mean()) / paper.std()
    cover = np.clip(0.7 + 0.35 * height, 0, 1)[:, :, np.newaxis]
    return _picture(cover * colours + (1 - cover) * np.array([0.93, 0.89, 0.82]))


def _pattern() -> Image.Image:
    """Returns tiles with stars of eight points, drawn at twice the size."""
    side = 192
    tile = Image.new("RGB", (side, side), (24, 74, 108))
    draw = ImageDraw.Draw(tile)
    for radius, colour in ((92, (236, 226, 200)), (80, (190, 80, 40)), (52, (228, 172, 60))):
        for turn in (0, np.pi / 4):
            corners = turn + np.arange(4) * np.pi / 2
            points = side / 2 + radius * np.stack([np.cos(corners), np.sin(corners)], axis=1)
            draw.polygon([tuple(point) for point in points], colour)
    draw.ellipse((side / 2 - 24, side / 2 - 24, side / 2 + 24, side / 2 + 24), (24, 74, 108))
    for x, y in ((0, 0), (0, side), (side, 0), (side, side)):
        draw.regular_polygon((x, y, 34), 4, 0, (60, 140, 120))
    whole = Image.fromarray(np.tile(np.asarray(tile), (6, 8, 1)))
    return whole.resize((whole.width // 2, whole.height // 2), Image.Resampling.LANCZOS)


def _cubism() -> Image.Image:
    """Returns facets, each with another view of one picture, its own light, and seams."""
    picture = _values(_given("ancient_city.jpg").resize((768, 432)))
    random = np.random.default_rng(0)
    height, width = picture.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    seeds = random.random((50, 2)) * (height, width)
    apart = np.stack([np.hypot(rows - y, columns - x) for y, x in seeds])
    facet = apart.argmin(axis=0)
    nearest, second = np.partition(apart, 1, axis=0)[:2]
    shift = random.integers(-90, 90, (len(seeds), 2))[facet]
    seen = picture[(rows + shift[..., 0]) % height, (columns + shift[..., 1]) % width]
    slope = random.normal(0, 0.004, (len(seeds), 2))[facet]
    light = (slope * (np.stack([rows, columns], axis=-1) - seeds[facet])).sum(axis=-1)
    ochre = np.array([0.62, 0.5, 0.34])
    shaded = 0.55 * np.sqrt(seen) + 0.45 * ochre + light[..., np.newaxis]
    return _picture(np.where(second - nearest < 2, 0.4, 1)[..., np.newaxis] * shaded)


_PAIRS: tuple[tuple[str, Callable[[], Image.Image], Callable[[], Image.Image]], ...] = (
    ("portrait_thick", _portrait, lambda: _asset("estuary.jpg")),
    ("building_lilies", lambda: _given("taj_mahal.jpg"), lambda: _given("water_lilies.jpg")),
    ("town_abstract", lambda: _given("ancient_city.jpg"), lambda: _given("kandinsky.jpg")),
    ("landscape_woodcut", lambda: _given("winter_wolf.jpg"), lambda: _given("wave_kanagawa.jpg")),
    ("animal_gold", lambda: _asset("chelsea.png"), lambda: _given("sakai_hoitsu.jpg")),
    ("still_life_cutpaper", lambda: _asset("coffee.png"), lambda: _asset("cutpaper.jpg")),
    ("drawing_pastel", _line_drawing, _pastel),
    ("text_ink", _text, lambda: _asset("ink.jpg")),
    ("night_pattern", _night, _pattern),
    ("noise_cubism", _noisy, _cubism),
)
"""Names of the pairs, and what makes photo and painting."""


def _values(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture) / 255


def _picture(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.uint8(np.round(255 * np.clip(values, 0, 1))))


def _shrunk(picture: Image.Image) -> Image.Image:
    """Returns a picture of at most 1024 pixels a side."""
    picture = picture.copy()
    picture.thumbnail((_LONG_SIDE, _LONG_SIDE), Image.Resampling.LANCZOS)
    return picture


def main(argv: list[str]) -> None:
    del argv
    folder = Path(_OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for number, (kind, *makers) in enumerate(_PAIRS, 1):
        name = f"{number:02}_{kind}"
        try:
            made = [_shrunk(make()) for make in makers]
        except (ImportError, OSError) as error:
            print(f"{name} is left out: {error}")
            continue
        files = {role: f"{name}_{role}.png" for role in ("photo", "painting")}
        for file, picture in zip(files.values(), made, strict=True):
            picture.save(folder / file)
        listed.append({"name": name, **files})
        print(name)
    (folder / "pairs.json").write_text(json.dumps(listed, indent=1) + "\n")


if __name__ == "__main__":
    flags.mark_flags_as_required(["pictures", "output"])
    app.run(main)
