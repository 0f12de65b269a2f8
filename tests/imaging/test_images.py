"""Picture files: what is read is what they show, and what is written is what was meant."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms, ImageOps

from nst_tf import errors
from nst_tf.imaging import images

ORIENTATION = 274
"""The EXIF and TIFF tag that says which way up a picture is."""
SUFFIXES = ("png", "jpg", "webp", "tif")


def noise(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    random = np.random.default_rng(height * width * channels)
    return random.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype)


def in_bytes(rgb: np.ndarray) -> np.ndarray:
    return np.rint(rgb * 255).astype(np.uint8)


def as_bytes(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or Image.fromarray(noise(32, 32))).save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def write_deep_png(path: Path, words: np.ndarray, chunks: bytes = b"") -> None:
    """Writes 16-bit grey, RGB or RGBA by the letter of the PNG specification."""
    height, width, channels = words.shape
    colour_type = {1: 0, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in words)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + chunks
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def write_deep_tiff(path: Path, words: np.ndarray, orientation: int) -> None:
    """Writes uncompressed 16-bit RGB by the letter of the TIFF specification."""
    height, width, _ = words.shape
    data = words.astype("<u2").tobytes()
    bits, pixels = 8, 14  # Where the three bit depths and the pixels stand in the file.
    short, long = 3, 4
    entries = [
        (256, short, 1, width),
        (257, short, 1, height),
        (258, short, 3, bits),
        (259, short, 1, 1),  # No compression.
        (262, short, 1, 2),  # RGB.
        (273, long, 1, pixels),
        (ORIENTATION, short, 1, orientation),
        (277, short, 1, 3),
        (278, short, 1, height),
        (279, long, 1, len(data)),
    ]
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    start = struct.pack("<2sHI", b"II", 42, pixels + len(data))
    path.write_bytes(start + struct.pack("<3H", 16, 16, 16) + data + directory)


# Orientation.


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int):
    path = tmp_path / f"turned.{suffix}"
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(noise(8, 12)).save(path, exif=exif)
    with Image.open(path) as image:
        image.load()
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert images.size(path) == expected.shape[:2]
    np.testing.assert_array_equal(in_bytes(images.load(path).rgb), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_orientation_is_applied_to_16_bits(tmp_path: Path, suffix: str, orientation: int):
    shallow = noise(4, 6)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    plain = tmp_path / "plain.png"
    Image.fromarray(shallow).save(plain, exif=exif)
    with Image.open(plain) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    path = tmp_path / f"turned.{suffix}"
    words = shallow.astype(np.uint16) * 257
    if suffix == "png":
        write_deep_png(path, words, png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    else:
        write_deep_tiff(path, words, orientation)
    assert images.size(path) == expected.shape[:2]
    np.testing.assert_array_equal(in_bytes(images.load(path).rgb), expected)


def test_orientation_may_stand_behind_the_pixels_which_size_does_not_read(tmp_path: Path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    chunk = png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    content = as_bytes("PNG")
    path = tmp_path / "late.png"
    path.write_bytes(content[:-12] + chunk + content[-12:])
    np.testing.assert_array_equal(in_bytes(images.load(path).rgb), np.rot90(noise(32, 32), -1))
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 300, 200, 8, 2, 0, 0, 0))
    path.write_bytes(
        content[:8] + header + png_chunk(b"IDAT", b"no pixels") + chunk + content[-12:]
    )
    assert images.size(path) == (300, 200)


def test_unknown_orientation_is_ignored(tmp_path: Path):
    exif = Image.Exif()
    exif[ORIENTATION] = 77
    Image.fromarray(noise(4, 6)).save(tmp_path / "odd.png", exif=exif)
    np.testing.assert_array_equal(in_bytes(images.load(tmp_path / "odd.png").rgb), noise(4, 6))


# Colour profiles.


ADOBE_GAMMA = 563 / 256
"""The tone curve of Adobe RGB (1998), as its profile stores it."""
ADOBE_TO_XYZ = np.array(
    [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
)
"""Linear Adobe RGB (1998) to XYZ under D50, from its specification."""
SRGB_TO_XYZ = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)
"""Linear sRGB to XYZ under D50 (ICC, sRGB profile)."""


def adobe_profile(name: str = "Wide") -> bytes:
    """Returns an ICC version 2 profile with the primaries and the curve of Adobe RGB."""

    def xyz(values: np.ndarray) -> bytes:
        return b"XYZ " + bytes(4) + np.rint(np.asarray(values) * 65536).astype(">i4").tobytes()

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(ADOBE_GAMMA * 256)) + bytes(2)
    text = name.encode() + b"\0"
    description = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78)
    tags = {
        b"desc": description + bytes(-len(description) % 4),
        b"cprt": b"text" + bytes(8),
        b"wtpt": xyz([0.9642, 1.0, 0.8249]),
        b"rXYZ": xyz(ADOBE_TO_XYZ[:, 0]),
        b"gXYZ": xyz(ADOBE_TO_XYZ[:, 1]),
        b"bXYZ": xyz(ADOBE_TO_XYZ[:, 2]),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for tag, content in tags.items():
        table += tag + struct.pack(">II", offset + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", offset + len(body), b"lcms", 0x02400000, b"mntr", b"RGB ",
                       b"XYZ ")  # fmt: skip
    head += bytes(12) + b"acsp" + bytes(28) + xyz([0.9642, 1.0, 0.8249])[8:]
    return head + bytes(128 - len(head)) + table + body


def adobe_to_srgb(rgb: np.ndarray) -> np.ndarray:
    """Converts by the formulas of both colour spaces, in float64."""
    linear = rgb**ADOBE_GAMMA @ (np.linalg.inv(SRGB_TO_XYZ) @ ADOBE_TO_XYZ).T
    linear = linear.clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_wide_colour_is_converted_to_srgb(tmp_path: Path):
    colours = noise(16, 16) // 2 + 64  # No colour that sRGB cannot show.
    path = tmp_path / "wide.png"
    Image.fromarray(colours).save(path, icc_profile=adobe_profile())
    rgb = images.load(path).rgb
    assert np.abs(rgb - colours / 255).max() > 10 / 255, "the profile makes no difference"
    np.testing.assert_allclose(rgb, adobe_to_srgb(colours / 255), atol=1.5 / 255)


def test_profile_leaves_alpha_alone(tmp_path: Path):
    colours = noise(8, 8, 4) // 2 + 64
    path = tmp_path / "wide.png"
    Image.fromarray(colours).save(path, icc_profile=adobe_profile())
    picture = images.load(path)
    assert picture.alpha is not None
    np.testing.assert_array_equal(in_bytes(picture.alpha), colours[..., 3])
    np.testing.assert_allclose(picture.rgb, adobe_to_srgb(colours[..., :3] / 255), atol=1.5 / 255)


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_profile_is_judged_by_its_data_and_not_by_its_name(tmp_path: Path):
    colours, found = noise(16, 16), {}
    for name in ("Wide", "sRGB IEC61966-2.1"):
        Image.fromarray(colours).save(tmp_path / "wide.png", icc_profile=adobe_profile(name))
        found[name] = images.load(tmp_path / "wide.png").rgb
    assert np.abs(found["Wide"] - colours / 255).max() > 10 / 255
    np.testing.assert_array_equal(*found.values())
    unnamed = srgb_profile().replace(b"s\0R\0G\0B", b"x\0R\0G\0B")
    assert unnamed != srgb_profile()
    Image.fromarray(colours).save(tmp_path / "own.png", icc_profile=unnamed)
    np.testing.assert_array_equal(in_bytes(images.load(tmp_path / "own.png").rgb), colours)


def test_wide_profile_of_a_palette_and_of_grey_is_used(tmp_path: Path):
    colours = noise(16, 16, 1)[..., 0]
    grey = Image.fromarray(colours)
    expected = adobe_to_srgb(np.stack([colours] * 3, axis=-1) / 255)
    for kind in ("L", "P", "LA"):
        grey.convert(kind).save(tmp_path / "grey.png", icc_profile=adobe_profile())
        rgb = images.load(tmp_path / "grey.png").rgb
        np.testing.assert_allclose(rgb, expected, atol=1.6 / 255, err_msg=kind)


def test_16_bits_with_a_wide_profile_are_converted_to_8_with_a_note(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    words = noise(9, 7, 4, np.uint16) // 2 + 16384
    chunk = png_chunk(b"iCCP", b"wide\0\0" + zlib.compress(adobe_profile()))
    write_deep_png(tmp_path / "deep.png", words, chunk)
    with caplog.at_level(logging.INFO, logger="nst_tf"):
        picture = images.load(tmp_path / "deep.png")
    expected = adobe_to_srgb(words[..., :3] / 65535)
    np.testing.assert_allclose(picture.rgb, expected, atol=2 / 255)
    np.testing.assert_allclose(picture.alpha, words[..., 3] / 65535, atol=0.51 / 255)
    assert "deep.png" in caplog.text and "8 bits" in caplog.text


def test_srgb_profile_changes_nothing(tmp_path: Path):
    profile = srgb_profile()
    Image.fromarray(noise(8, 8)).save(tmp_path / "tagged.png", icc_profile=profile)
    np.testing.assert_array_equal(in_bytes(images.load(tmp_path / "tagged.png").rgb), noise(8, 8))


@pytest.mark.parametrize(
    "profile",
    [b"no profile at all", adobe_profile()[:200],
     ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()],
    ids=["text", "cut short", "of another colour space"],
)  # fmt: skip
def test_useless_profile_is_ignored_with_a_note(
    tmp_path: Path, profile: bytes, caplog: pytest.LogCaptureFixture
):
    Image.fromarray(noise(8, 8)).save(tmp_path / "tagged.png", icc_profile=profile)
    with caplog.at_level(logging.INFO, logger="nst_tf"):
        rgb = images.load(tmp_path / "tagged.png").rgb
    np.testing.assert_array_equal(in_bytes(rgb), noise(8, 8))
    assert "profile" in caplog.text and "tagged.png" in caplog.text


def test_srgb_profile_leaves_16_bits(tmp_path: Path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    words = noise(5, 7, dtype=np.uint16)
    chunk = png_chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(profile))
    write_deep_png(tmp_path / "tagged.png", words, chunk)
    rgb = images.load(tmp_path / "tagged.png").rgb.astype(np.float64)
    np.testing.assert_array_equal(np.rint(rgb * 65535), words)


# Transparency.


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_alpha_survives_a_round_trip(tmp_path: Path, suffix: str):
    alpha = np.linspace(0.2, 1, 30 * 40, dtype=np.float32).reshape(30, 40)
    rgb = np.full((30, 40, 3), (0.8, 0.5, 0.2), np.float32)
    images.save(rgb, tmp_path / f"clear.{suffix}", alpha=alpha)
    picture = images.load(tmp_path / f"clear.{suffix}")
    assert picture.alpha is not None and picture.alpha.dtype == np.float32
    np.testing.assert_array_equal(in_bytes(picture.alpha), in_bytes(alpha))
    np.testing.assert_allclose(picture.rgb, rgb, atol=(4 if suffix == "webp" else 0.51) / 255)


def test_jpeg_is_laid_on_white(tmp_path: Path):
    alpha = np.repeat(np.float32([[0, 0.5, 1]]), 16, axis=1).repeat(16, axis=0)
    red = np.full((*alpha.shape, 3), (1, 0, 0), np.float32)
    images.save(red, tmp_path / "flat.jpg", alpha=alpha)
    with Image.open(tmp_path / "flat.jpg") as image:
        shown = [image.getpixel((x, 8)) for x in (6, 24, 41)]
    np.testing.assert_allclose(shown, [(255, 255, 255), (255, 128, 128), (255, 0, 0)], atol=4)


def test_hidden_colour_becomes_the_average_visible_one(tmp_path: Path):
    array = np.zeros((4, 4, 4), np.uint8)
    array[...] = (255, 0, 255, 0)
    array[0, :2] = (200, 100, 0, 255), (100, 200, 0, 51)  # Weights of 1 and 0.2.
    Image.fromarray(array).save(tmp_path / "hidden.png")
    picture = images.load(tmp_path / "hidden.png")
    expected = (np.array([200, 100, 0]) + 0.2 * np.array([100, 200, 0])) / 1.2 / 255
    np.testing.assert_allclose(
        picture.rgb[1:], np.broadcast_to(expected, (3, 4, 3)), atol=0.51 / 255
    )
    np.testing.assert_array_equal(in_bytes(picture.rgb[0, :2]), array[0, :2, :3])


def test_opaque_alpha_is_no_alpha():
    opaque = np.concatenate([noise(4, 4), np.full((4, 4, 1), 255, np.uint8)], axis=-1)
    assert images.load(opaque).alpha is None


def test_fully_transparent_picture_is_refused_by_name(tmp_path: Path):
    with pytest.raises(errors.ImageError, match="transparent"):
        images.load(np.zeros((4, 4, 4), np.uint8))
    Image.new("RGBA", (4, 4)).save(tmp_path / "clear.png")
    with pytest.raises(errors.ImageError, match=r"clear\.png.*transparent"):
        images.load(tmp_path / "clear.png")


def test_bmp_whose_alpha_is_zero_all_over_is_opaque(tmp_path: Path):
    array = np.concatenate([noise(4, 6), np.zeros((4, 6, 1), np.uint8)], axis=-1)
    masks = struct.pack("<4I", 0xFF, 0xFF00, 0xFF0000, 0xFF000000)
    info = struct.pack("<IiiHHIIiiII", 108, 6, -4, 1, 32, 3, array.nbytes, 0, 0, 0, 0)
    start = struct.pack("<2sIII", b"BM", 122 + array.nbytes, 0, 122) + info + masks + bytes(52)
    path = tmp_path / "picture.bmp"
    path.write_bytes(start + array.tobytes())
    picture = images.load(path)
    assert picture.alpha is None
    np.testing.assert_array_equal(in_bytes(picture.rgb), noise(4, 6))
    array[1, 2, 3] = 255
    path.write_bytes(start + array.tobytes())
    seen = images.load(path).alpha
    assert seen is not None and seen.sum() == seen[1, 2] == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_one_transparent_value_of_16_bits(tmp_path: Path, channels: int):
    words = noise(5, 7, channels, np.uint16)
    key = words[2, 3]
    path = tmp_path / "keyed.png"
    write_deep_png(path, words, png_chunk(b"tRNS", key.astype(">u2").tobytes()))
    picture = images.load(path)
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, (words != key).any(axis=2))
    shown = np.rint(picture.rgb.astype(np.float64) * 65535)
    np.testing.assert_array_equal(shown[:2], np.repeat(words, 4 - channels or 1, axis=2)[:2, :, :3])


# Kinds of pictures.


def test_palette_with_transparency(tmp_path: Path):
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    image.save(tmp_path / "palette.png", transparency=bytes([255, 0, 128]))
    picture = images.load(tmp_path / "palette.png")
    assert picture.alpha is not None
    np.testing.assert_array_equal(in_bytes(picture.alpha), [[255, 0, 128]])
    np.testing.assert_array_equal(in_bytes(picture.rgb[0, ::2]), [[255, 0, 0], [0, 0, 255]])


def test_palette_without_transparency(tmp_path: Path):
    image = Image.new("P", (2, 1))
    image.putpalette([250, 10, 20, 30, 240, 50])
    image.putdata([1, 0])
    image.save(tmp_path / "palette.gif")
    rgb = images.load(tmp_path / "palette.gif").rgb
    np.testing.assert_array_equal(in_bytes(rgb), [[[30, 240, 50], [250, 10, 20]]])


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_greyscale_becomes_rgb(tmp_path: Path, suffix: str):
    grey = noise(5, 7, 1)[..., 0]
    Image.fromarray(grey).save(tmp_path / f"grey.{suffix}")
    picture = images.load(tmp_path / f"grey.{suffix}")
    np.testing.assert_array_equal(in_bytes(picture.rgb), np.stack([grey] * 3, axis=-1))
    assert picture.rgb.dtype == np.float32


def test_greyscale_with_alpha(tmp_path: Path):
    array = np.array([[[10, 255], [200, 100]]], np.uint8)
    Image.fromarray(array, "LA").save(tmp_path / "la.png")
    picture = images.load(tmp_path / "la.png")
    assert picture.alpha is not None
    np.testing.assert_array_equal(in_bytes(picture.alpha), [[255, 100]])
    np.testing.assert_array_equal(in_bytes(picture.rgb), [[[10] * 3, [200] * 3]])


def test_one_bit(tmp_path: Path):
    bits = np.array([[True, False, True]])
    Image.fromarray(bits).save(tmp_path / "bits.png")
    rgb = images.load(tmp_path / "bits.png").rgb
    np.testing.assert_array_equal(rgb, np.repeat(bits[..., None], 3, axis=-1).astype(np.float32))


def test_cmyk_jpeg(tmp_path: Path):
    ink = (40, 120, 200, 30)
    Image.new("CMYK", (16, 16), ink).save(tmp_path / "print.jpg", quality=100)
    expected = [(255 - level) * (255 - ink[3]) / 255 for level in ink[:3]]
    rgb = images.load(tmp_path / "print.jpg").rgb
    np.testing.assert_allclose(rgb * 255, np.broadcast_to(expected, (16, 16, 3)), atol=3)


def test_16_bit_grey(tmp_path: Path):
    words = noise(5, 7, 1, np.uint16)[..., 0]
    Image.fromarray(words).save(tmp_path / "grey.png")
    rgb = images.load(tmp_path / "grey.png").rgb.astype(np.float64)
    np.testing.assert_array_equal(np.rint(rgb * 65535), np.stack([words] * 3, axis=-1))


@pytest.mark.parametrize(
    ("bits", "photometric", "data", "shown"),
    [(16, 1, struct.pack("<2H", 1000, 65535), [1000, 65535]),
     (16, 0, struct.pack("<2H", 1000, 65535), [64535, 0]),
     (12, 1, bytes([0xFF, 0xF0, 0x00]), [65535, 0])],
    ids=["black is zero", "white is zero", "12 bits"],
)  # fmt: skip
def test_deep_grey_tiff_is_read_by_its_tags(
    tmp_path: Path, bits: int, photometric: int, data: bytes, shown: list[int]
):
    tags = {256: 2, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 1,
            279: len(data)}  # fmt: skip
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data
    path = tmp_path / "grey.tif"
    path.write_bytes(start + struct.pack("<H", len(tags)) + directory + bytes(4))
    rgb = images.load(path).rgb.astype(np.float64)
    np.testing.assert_array_equal(np.rint(rgb[0, :, 1] * 65535), shown)


def test_floating_point_tiff_in_range_is_read_exactly(tmp_path: Path):
    grey = np.random.default_rng(0).random((5, 7), np.float32)
    Image.fromarray(grey).save(tmp_path / "float.tif")
    np.testing.assert_array_equal(
        images.load(tmp_path / "float.tif").rgb, np.stack([grey] * 3, axis=-1)
    )


@pytest.mark.parametrize(
    ("array", "words"),
    [(np.float32([[0, 255]]), "from 0 to 255.*by 255"), (np.float32([[0, np.nan]]), "nan"),
     (np.float32([[0, np.inf]]), "inf"), (np.int32([[0, 255]]), "int32")],
    ids=["0 to 255", "NaN", "infinite", "int32"],
)  # fmt: skip
def test_tiff_of_another_range_is_refused_as_its_array_is(
    tmp_path: Path, array: np.ndarray, words: str
):
    Image.fromarray(array).save(tmp_path / "values.tif")
    for source in (tmp_path / "values.tif", Image.fromarray(array), array):
        with pytest.raises(errors.ImageError, match=words) as caught:
            images.load(source)
        assert ("values.tif" in str(caught.value)) == isinstance(source, Path)


def test_animation_gives_its_first_frame_and_a_note(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue", "green")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    with caplog.at_level(logging.INFO, logger="nst_tf"):
        rgb = images.load(tmp_path / "moving.gif").rgb
    np.testing.assert_array_equal(rgb, np.full((4, 6, 3), (1, 0, 0), np.float32))
    assert "3 frames" in caplog.text


# Sixteen bits.


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_png_is_read_exactly(tmp_path: Path, channels: int):
    words = noise(5, 7, channels, np.uint16)
    words[..., 3:] |= 1  # A pixel that cannot be seen need not keep its colour.
    write_deep_png(tmp_path / "deep.png", words)
    picture = images.load(tmp_path / "deep.png")
    planes = picture.rgb if picture.alpha is None else np.dstack([picture.rgb, picture.alpha])
    np.testing.assert_array_equal(np.rint(planes.astype(np.float64) * 65535), words)


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_png_survives_a_round_trip(tmp_path: Path, channels: int):
    values = (noise(5, 7, channels, np.uint16) | 1) / np.float32(65535)
    rgb, alpha = values[..., :3], values[..., 3] if channels == 4 else None
    images.save(rgb, tmp_path / "deep.png", alpha=alpha, bit_depth=16)
    picture = images.load(tmp_path / "deep.png")
    np.testing.assert_allclose(picture.rgb, rgb, rtol=0, atol=1e-7)
    assert (picture.alpha is None) == (alpha is None)
    if alpha is not None:
        np.testing.assert_allclose(picture.alpha, alpha, rtol=0, atol=1e-7)


def test_16_bit_tiff_by_opencv_is_read_exactly(tmp_path: Path):
    words = noise(5, 7, dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "deep.tif"), words[..., ::-1])
    rgb = images.load(tmp_path / "deep.tif").rgb.astype(np.float64)
    np.testing.assert_array_equal(np.rint(rgb * 65535), words)


def test_changed_pil_image_is_not_read_from_its_file_again(tmp_path: Path):
    write_deep_png(tmp_path / "deep.png", noise(32, 32, dtype=np.uint16))
    with Image.open(tmp_path / "deep.png") as image:
        image.thumbnail((8, 8))
        assert images.load(image).size == (8, 8)


def test_truncated_16_bit_png_is_refused(tmp_path: Path):
    path = tmp_path / "deep.png"
    write_deep_png(path, noise(32, 32, dtype=np.uint16))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(errors.ImageError, match="damaged"):
        images.load(path)


# Writing.


def test_save_rounds_to_the_nearest_value(tmp_path: Path):
    rgb = np.array([[[0.6 / 255, 99.4 / 255, 254.51 / 255]]], np.float32)
    images.save(rgb, tmp_path / "rounded.png")
    with Image.open(tmp_path / "rounded.png") as image:
        assert image.getpixel((0, 0)) == (1, 99, 255)


def test_save_rounds_16_bits_to_the_nearest_value(tmp_path: Path):
    rgb = np.array([[[0.6 / 65535, 99.4 / 65535, 65534.6 / 65535]]], np.float32)
    images.save(rgb, tmp_path / "rounded.png", bit_depth=16)
    words = cv2.imread(str(tmp_path / "rounded.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    np.testing.assert_array_equal(words, [[[1, 99, 65535]]])


def test_save_takes_rounding_for_what_it_is(tmp_path: Path):
    images.save(np.array([[[-1e-5, 0.5, 1.00001]]]), tmp_path / "clipped.png")
    with Image.open(tmp_path / "clipped.png") as image:
        assert image.getpixel((0, 0)) == (0, 128, 255)


FLOAT = np.linspace(0, 1, 7 * 5 * 3, dtype=np.float32).reshape(7, 5, 3)
BYTES = np.rint(FLOAT * 255).astype(np.uint8)
GREY = BYTES[..., :1]
CLEAR = np.concatenate([BYTES, GREY], axis=-1)
TAKEN = {
    "float32": (FLOAT, BYTES),
    "float64": (FLOAT.astype(np.float64), BYTES),
    "uint8": (BYTES, BYTES),
    "uint16": (BYTES.astype(np.uint16) * 257, BYTES),
    "batch of one": (BYTES[np.newaxis], BYTES),
    "grey": (GREY[..., 0], GREY.repeat(3, axis=-1)),
    "grey channel": (GREY, GREY.repeat(3, axis=-1)),
    "opacity": (CLEAR, CLEAR),
    "opacity in float": (CLEAR / 255, CLEAR),
    "nothing to see": (CLEAR * 0, CLEAR * 0),
    "PIL image": (Image.fromarray(BYTES), BYTES),
    "Picture": (images.Picture(BYTES), BYTES),
    "Picture with opacity": (
        images.Picture(FLOAT, GREY[..., 0].astype(np.float32) / 255), CLEAR
    ),
}  # fmt: skip
"""What `save` is given, and the samples that the file holds."""


@pytest.mark.parametrize("name", TAKEN)
@pytest.mark.parametrize("bit_depth", [8, 16])
def test_save_takes_what_load_takes(tmp_path: Path, name: str, bit_depth: int):
    given, expected = TAKEN[name]
    images.save(given, tmp_path / "saved.png", bit_depth=bit_depth)
    found = cv2.imread(str(tmp_path / "saved.png"), cv2.IMREAD_UNCHANGED)
    order = [2, 1, 0, 3][: expected.shape[2]]
    if bit_depth == 16:
        assert found.dtype == np.uint16
        found = np.rint(found / 257)
    np.testing.assert_array_equal(found[..., order], expected)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((4, 4, 3), np.nan), "nan"),
        (np.full((4, 4, 3), np.inf), "inf"),
        (FLOAT * 255, "255"),
        (FLOAT - 0.5, "-0.5"),
        (BYTES.astype(np.int32), "int32"),
        (BYTES > 9, "bool"),
        (np.zeros((4, 4, 2)), "shape"),
        (np.zeros((2, 4, 4, 3)), "shape"),
        (np.zeros((0, 4, 3)), "shape"),
    ],
)
def test_save_refuses_what_is_no_picture(tmp_path: Path, array: np.ndarray, words: str):
    with pytest.raises(errors.ImageError, match=words):
        images.save(array, tmp_path / "saved.png")
    assert not os.listdir(tmp_path)


def test_save_replaces_the_opacity_of_the_picture(tmp_path: Path):
    images.save(CLEAR, tmp_path / "saved.png", alpha=np.ones((7, 5)))
    with Image.open(tmp_path / "saved.png") as image:
        assert np.asarray(image)[..., 3].min() == 255


def test_bands_of_a_picture_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    array = noise(50, 40)
    monkeypatch.setattr(images, "_BAND", 40 * 7)
    images.save(array / 255, tmp_path / "saved.png")
    with Image.open(tmp_path / "saved.png") as image:
        np.testing.assert_array_equal(np.asarray(image), array)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_a_long_recipe_does_not_cost_the_picture(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
):
    path, recipe = tmp_path / f"saved.{suffix}", "x" * 70_000
    images.save(noise(8, 8), path, recipe=recipe)
    if suffix == "jpg":
        assert images.read_recipe(path) == ""
        assert "too long for a JPEG" in caplog.text and "PNG" in caplog.text
    else:
        assert images.read_recipe(path) == recipe
        assert not caplog.records
    with Image.open(path) as image:
        assert image.size == (8, 8)


def test_a_file_in_the_way_is_left_alone_where_that_is_asked_for(tmp_path: Path):
    path = tmp_path / "saved.png"
    path.write_bytes(b"old")
    with pytest.raises(errors.ExistingOutputError, match=r"saved\.png: exists already"):
        images.save(noise(4, 4), path, overwrite=False)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["saved.png"]


def test_want_of_memory_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(errors.OutputError, match="not enough memory"):
        images.save(noise(4, 4), tmp_path / "saved.png")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [("png", "PNG"), ("jpg", "JPEG"), ("jpeg", "JPEG"), ("WEBP", "WEBP"), ("tif", "TIFF"),
     ("tiff", "TIFF")],
)  # fmt: skip
def test_suffix_chooses_the_format(tmp_path: Path, suffix: str, kind: str):
    images.save(noise(4, 6) / 255, tmp_path / f"picture.{suffix}")
    with Image.open(tmp_path / f"picture.{suffix}") as image:
        assert (image.format, image.size) == (kind, (6, 4))


@pytest.mark.parametrize(("suffix", "width"), [("webp", 16_384), ("jpg", 65_536)])
def test_failing_encoder_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, suffix: str, width: int
):
    path = tmp_path / f"wide.{suffix}"
    path.write_bytes(b"what was there before")
    with pytest.raises(errors.OutputError, match=f"wide.{suffix}") as caught:
        images.save(np.zeros((1, width, 3), np.float32), path)
    assert "None" not in str(caught.value)
    assert path.read_bytes() == b"what was there before"
    assert os.listdir(tmp_path) == [path.name]


def test_failing_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "picture.png"
    path.write_bytes(b"what was there before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(errors.OutputError, match="No space left"):
        images.save(noise(4, 4) / 255, path)
    assert path.read_bytes() == b"what was there before"
    assert os.listdir(tmp_path) == [path.name]


def test_16_bits_are_refused_outside_png(tmp_path: Path):
    with pytest.raises(errors.OutputError, match="16"):
        images.save(noise(4, 4) / 255, tmp_path / "deep.jpg", bit_depth=16)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "path", ["no/such/folder/x.png", "x.gif", "x", ".", "n" * 300 + ".png"],
    ids=["folder missing", "suffix", "no suffix", "a folder", "name too long"],
)  # fmt: skip
def test_check_writable_refuses(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.OutputError):
        images.check_writable(path)
    assert not os.listdir(tmp_path)


def test_check_writable_leaves_nothing(tmp_path: Path):
    (tmp_path / "old.png").write_bytes(b"old")
    images.check_writable(tmp_path / "new.png")
    images.check_writable(tmp_path / "old.png")
    assert os.listdir(tmp_path) == ["old.png"]
    assert (tmp_path / "old.png").read_bytes() == b"old"


@settings(max_examples=40, deadline=None)
@given(
    array=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2).map(lambda s: (*s, 3))),
    suffix=st.sampled_from(["png", "tif"]),
)
def test_any_picture_survives_a_round_trip(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, suffix: str
):
    path = tmp_path_factory.mktemp("any") / f"picture.{suffix}"
    images.save(images.load(array).rgb, path)
    np.testing.assert_array_equal(in_bytes(images.load(path).rgb), array)


# Recipes.


RECIPE = json.dumps({"config": {"steps": [1, 2], "init": 'a "b" \\ é \n'}, "inputs": {}}) + "  "


@pytest.mark.parametrize(
    ("suffix", "bit_depth"), [("png", 8), ("png", 16), ("jpg", 8), ("webp", 8), ("tif", 8)]
)
def test_recipe_is_kept_exactly(tmp_path: Path, suffix: str, bit_depth: int):
    path = tmp_path / f"made.{suffix}"
    images.save(noise(8, 8) / 255, path, recipe=RECIPE, bit_depth=bit_depth)
    assert images.read_recipe(path) == RECIPE


@pytest.mark.parametrize(("suffix", "bit_depth"), [("png", 8), ("png", 16), ("tif", 8)])
def test_recipe_changes_no_pixel(tmp_path: Path, suffix: str, bit_depth: int):
    path = tmp_path / f"made.{suffix}"
    images.save(noise(8, 8) / 255, path, recipe=RECIPE, bit_depth=bit_depth)
    np.testing.assert_array_equal(in_bytes(images.load(path).rgb), noise(8, 8))


@pytest.mark.parametrize(
    ("suffix", "bit_depth"), [("png", 8), ("png", 16), ("jpg", 8), ("webp", 8), ("tif", 8)]
)
def test_picture_without_recipe_gives_an_empty_text(tmp_path: Path, suffix: str, bit_depth: int):
    images.save(noise(8, 8) / 255, tmp_path / f"plain.{suffix}", bit_depth=bit_depth)
    assert images.read_recipe(tmp_path / f"plain.{suffix}") == ""


def test_recipe_is_read_without_the_pixels_whatever_the_size(tmp_path: Path):
    images.save(noise(8, 8) / 255, tmp_path / "made.png", recipe=RECIPE)
    content = (tmp_path / "made.png").read_bytes()
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 10_000, 8001, 8, 2, 0, 0, 0))
    (tmp_path / "made.png").write_bytes(content[:8] + header + content[33:])
    assert images.read_recipe(tmp_path / "made.png") == RECIPE


def test_recipe_that_becomes_huge_is_refused(tmp_path: Path):
    text = b"nst_tf\0\1\0\0\0" + zlib.compress(bytes(100_000_000), 9)
    content = as_bytes("PNG")
    path = tmp_path / "bomb.png"
    path.write_bytes(content[:33] + png_chunk(b"iTXt", text) + content[33:])
    tracemalloc.start()
    try:
        with pytest.raises(errors.ImageError, match=r"bomb\.png"):
            images.read_recipe(path)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


# Memory.


MEASURE = """
import resource, sys
from nst_tf.imaging import images
path = sys.argv[1]
images.load(sys.argv[2])  # Decoders are loaded.
scale = 1 if sys.platform == "darwin" else 1024
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
height, width = images.size(path)
needed = images.decoding_bytes(path)
assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale < before + 0.3 * needed, "decoded"
picture = images.load(path)
picture.resized(64, 64)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
print((after - before) / (height * width), needed / (height * width))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module here")
@pytest.mark.parametrize(
    ("suffix", "mode", "expected"),
    [("jpg", "RGB", 8), ("png", "RGB", 8), ("png", "P", 8), ("png", "RGBA", 16), ("tif", "RGB", 8),
     ("webp", "RGB", 17), ("png", "deep", 13)],
)  # fmt: skip
def test_decoding_takes_no_more_memory_than_is_said(
    tmp_path: Path, suffix: str, mode: str, expected: int
):
    small, large = tmp_path / f"small.{suffix}", tmp_path / f"large.{suffix}"
    for path, side in ((small, 64), (large, 3000)):
        if mode == "deep":
            cv2.imwrite(str(path), np.full((side, side, 3), 300, np.uint16))
        else:
            Image.new("RGB", (side, side), (90, 60, 30)).convert(mode).save(path)
    found = subprocess.run(
        [sys.executable, "-c", MEASURE, large, small], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    taken, said = map(float, found.stdout.split())
    assert said == expected
    assert taken < said + 1


# Resizing.


def test_resize_to_the_same_size_changes_nothing():
    array = np.random.default_rng(0).random((5, 7, 3), np.float32)
    np.testing.assert_array_equal(images.resize(array, 5, 7), array)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_resized_is_resize_of_the_float_pixels(kind: type):
    top = 1 if kind == np.float32 else np.iinfo(kind).max
    array = (np.random.default_rng(0).random((1500, 900, 3)) * top).astype(kind)
    picture = images.load(array)
    for size in ((40, 300), (1501, 30), (1500, 900)):
        np.testing.assert_array_equal(picture.resized(*size), images.resize(picture.rgb, *size))
        assert picture.resized(*size).dtype == np.float32


def test_resize_is_that_of_pillow():
    array = np.random.default_rng(0).random((1500, 900), np.float32)
    expected = np.asarray(Image.fromarray(array).resize((300, 40), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(images.resize(array, 40, 300), expected.clip(0, 1))


def test_resize_keeps_the_range_of_its_input():
    step = np.full((8, 8, 3), 0.25, np.float32)
    step[:, 4:] = 0.75
    larger = images.resize(step, 32, 32)
    assert (larger.min(), larger.max()) == (0.25, 0.75)


def test_resize_antialiases():
    checkerboard = (np.indices((64, 64)).sum(axis=0) % 2).astype(np.float32)
    np.testing.assert_allclose(images.resize(checkerboard, 8, 8), 0.5, atol=0.02)


def test_resize_follows_a_ramp():
    ramp = np.broadcast_to((np.arange(64, dtype=np.float32) + 0.5) / 64, (16, 64))
    smaller = images.resize(np.ascontiguousarray(ramp), 8, 16)
    expected = np.broadcast_to((np.arange(16) + 0.5) / 16, (8, 16))
    np.testing.assert_allclose(smaller[:, 2:-2], expected[:, 2:-2], atol=1e-5)


def test_resize_treats_every_channel_alike():
    array = np.random.default_rng(0).random((9, 12, 3), np.float32)
    whole = images.resize(array, 6, 5)
    assert whole.shape == (6, 5, 3) and whole.dtype == np.float32
    for channel in range(3):
        single = images.resize(array[..., channel], 6, 5)
        np.testing.assert_allclose(whole[..., channel], single, atol=1e-6)


# Folders.


def test_folder_gives_its_pictures_in_order(tmp_path: Path):
    for name in ("b.png", "a.JPG", ".hidden.png", "notes.txt", "c.bmp"):
        (tmp_path / name).touch()
    array = np.zeros((2, 2, 3))
    found = images.expand(["x.png", tmp_path, array])
    assert found[:4] == ["x.png", *(str(tmp_path / name) for name in ("a.JPG", "b.png", "c.bmp"))]
    assert found[4] is array


def test_folder_without_a_picture_is_refused(tmp_path: Path):
    with pytest.raises(errors.ImageError, match=r"no picture in this folder.*\.png"):
        images.expand([str(tmp_path)])


def test_folder_names_the_pictures_that_it_leaves_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    for name in ("a.avif", "b.jfif", "c.jp2", "d.jpg", "notes.txt"):
        (tmp_path / name).touch()
    with caplog.at_level(logging.WARNING, logger="nst_tf"):
        assert images.expand([tmp_path]) == [str(tmp_path / "b.jfif"), str(tmp_path / "d.jpg")]
    assert "a.avif, c.jp2" in caplog.text and "notes" not in caplog.text
    for name in ("b.jfif", "d.jpg"):
        (tmp_path / name).unlink()
    with pytest.raises(errors.ImageError, match=r"no picture in this folder.*a\.avif, c\.jp2"):
        images.expand([tmp_path])


# Arrays and other sources.


@pytest.mark.parametrize(
    "array",
    [noise(4, 6), noise(4, 6).astype(np.uint16) * 257, noise(4, 6) / 255,
     (noise(4, 6) / 255).astype(np.float16), noise(4, 6)[None], Image.fromarray(noise(4, 6))],
    ids=["uint8", "uint16", "float64", "float16", "leading 1", "PIL"],
)  # fmt: skip
def test_every_form_of_a_picture_is_the_same_picture(array: object):
    picture = images.load(array)
    assert picture.rgb.dtype == np.float32 and picture.alpha is None
    np.testing.assert_allclose(picture.rgb, noise(4, 6) / 255, atol=6e-4)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (1, 4, 6, 1)])
def test_grey_array_becomes_rgb(shape: tuple[int, ...]):
    grey = noise(4, 6, 1)
    rgb = images.load(grey.reshape(shape)).rgb
    np.testing.assert_array_equal(in_bytes(rgb), np.repeat(grey, 3, axis=-1))


def test_rgba_array_is_split():
    picture = images.load(noise(4, 6, 4) | 1)
    assert picture.alpha is not None
    np.testing.assert_array_equal(in_bytes(picture.alpha), noise(4, 6, 4)[..., 3] | 1)


def test_picture_is_taken_as_it_is():
    picture = images.load(noise(4, 6))
    assert images.load(picture) is picture


@pytest.mark.parametrize(
    "array",
    [np.zeros(4), np.zeros((4, 4, 2)), np.zeros((2, 4, 4, 3)), np.zeros((0, 4, 3)),
     np.zeros((4, 4, 3), np.int32), np.zeros((4, 4, 3), bool), np.zeros((4, 4, 3), complex),
     np.full((4, 4, 3), 255.0), np.full((4, 4, 3), -0.5), np.full((4, 4, 3), np.nan),
     np.full((4, 4, 3), np.inf), np.full((4, 4, 3), None), None, 3.5, [[1, 2], [3]],
     np.zeros((4, 4, 3), [("a", "f4")]), (x for x in "ab"), as_bytes("PNG")],
    ids=["1-d", "2 channels", "2 pictures", "empty", "int32", "bool", "complex", "0 to 255",
         "negative", "NaN", "infinite", "objects", "None", "number", "ragged", "structured",
         "generator", "bytes"],
)  # fmt: skip
def test_unfit_array_is_refused(array: object):
    with pytest.raises(errors.ImageError, match="expected"):
        images.load(array)


def test_array_that_changes_later_does_not_change_the_picture():
    array = noise(4, 6)
    picture = images.load(array)
    array[:] = 0
    np.testing.assert_array_equal(in_bytes(picture.rgb), noise(4, 6))
    array = np.dstack([noise(4, 6), np.zeros((4, 6, 1), np.uint8)])
    array[0, 0, 3] = 255
    images.load(array)
    np.testing.assert_array_equal(array[..., :3], noise(4, 6))


def test_open_file_is_read_from_its_beginning(tmp_path: Path):
    (tmp_path / "picture.png").write_bytes(as_bytes("PNG"))
    memory = io.BytesIO(as_bytes("PNG"))
    memory.seek(0, io.SEEK_END)
    with open(tmp_path / "picture.png", "rb") as file:
        for source in (memory, file, file):
            np.testing.assert_array_equal(in_bytes(images.load(source).rgb), noise(32, 32))
    write_deep_png(tmp_path / "deep.png", noise(4, 6, dtype=np.uint16))
    with open(tmp_path / "deep.png", "rb") as file:
        assert images.load(file).pixels.dtype == np.uint16


def test_pipe_is_read_to_its_end():
    reader, writer = os.pipe()
    with open(writer, "wb") as file:
        file.write(as_bytes("PNG"))
    with open(reader, "rb") as file:
        np.testing.assert_array_equal(in_bytes(images.load(file).rgb), noise(32, 32))


def test_unfit_file_object_is_refused(tmp_path: Path):
    closed = io.BytesIO(as_bytes("PNG"))
    closed.close()
    for source in (closed, io.StringIO("text"), io.BytesIO(), io.BytesIO(as_bytes("PNG")[:-400])):
        with pytest.raises(errors.ImageError):
            images.load(source)


def test_unfit_pil_image_is_refused():
    closed = Image.open(io.BytesIO(as_bytes("PNG")))
    closed.close()
    cut = Image.open(io.BytesIO(as_bytes("JPEG")[:-400]))
    for source in (closed, cut, Image.new("RGB", (0, 0)), Image.new("RGB", (0, 4))):
        with pytest.raises(errors.ImageError):
            images.load(source)


def test_one_value_that_is_nan_is_refused():
    array = np.zeros((4, 4, 3), np.float32)
    array[2, 1, 0] = np.nan
    with pytest.raises(errors.ImageError):
        images.load(array)


def test_max_pixels_is_the_largest_accepted_size(tmp_path: Path):
    path = tmp_path / "picture.png"
    images.save(noise(4, 6) / 255, path)
    for source in (path, noise(4, 6), Image.fromarray(noise(4, 6))):
        assert images.load(source, max_pixels=24).size == (4, 6)
        with pytest.raises(errors.ImageError, match="max_pixels"):
            images.load(source, max_pixels=23)
    with pytest.raises(errors.ImageError, match="max_pixels"):
        images.size(path, max_pixels=23)


def test_digest_tells_pictures_apart():
    one = images.load(noise(4, 6))
    other = noise(4, 6)
    other[3, 5, 2] ^= 1
    assert one.digest == images.load(noise(4, 6).copy()).digest
    assert one.digest != images.load(other).digest
    assert one.digest != images.load(noise(4, 6).reshape(6, 4, 3)).digest


# Bad files.


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF"])
def test_truncated_file_is_refused(tmp_path: Path, kind: str):
    path = tmp_path / "cut"
    path.write_bytes(as_bytes(kind)[:-400])
    with pytest.raises(errors.ImageError, match="cut"):
        images.load(path)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"]),
    place=st.floats(0, 1, exclude_max=True),
    damage=st.binary(min_size=1, max_size=8),
)
def test_damaged_file_is_read_or_refused_but_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, kind: str, place: float, damage: bytes
):
    content = bytearray(as_bytes(kind))
    start = int(place * len(content))
    content[start : start + len(damage)] = damage
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    try:
        assert images.load(path, max_pixels=10_000).rgb.ndim == 3
    except errors.ImageError as error:
        assert str(error)


def odd_files() -> dict[str, bytes]:
    """Returns small sound files of many kinds, the format first in their names."""
    x = np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1))
    base, grey = Image.fromarray(noise(32, 32)), Image.fromarray(x)
    clear, turned = base.copy(), Image.Exif()
    clear.putalpha(grey)
    turned[ORIENTATION] = 6
    extra = {"exif": turned, "icc_profile": adobe_profile()}
    frames = {"save_all": True, "append_images": [clear.rotate(90)]}
    deep = noise(32, 32, 4, np.uint16)
    found = {
        "PNG palette": as_bytes("PNG", base.quantize(16), transparency=3),
        "PNG grey": as_bytes("PNG", Image.fromarray(x * np.uint16(257))),
        "PNG with extras": as_bytes("PNG", clear, **extra),
        "PNG animation": as_bytes("PNG", clear, **frames),
        "PNG deep": cv2.imencode(".png", deep)[1].tobytes(),
        "JPEG progressive": as_bytes("JPEG", base, progressive=True, **extra),
        "JPEG CMYK": as_bytes("JPEG", base.convert("CMYK")),
        "WEBP lossless": as_bytes("WEBP", clear, lossless=True, **extra),
        "WEBP animation": as_bytes("WEBP", clear, **frames),
        "TIFF floats": as_bytes("TIFF", Image.fromarray(np.float32(x / 255))),
        "TIFF with extras": as_bytes("TIFF", clear, compression="tiff_lzw", **extra),
        "TIFF deep": cv2.imencode(".tif", deep)[1].tobytes(),
        "GIF animation": as_bytes("GIF", base, save_all=True, append_images=[base.rotate(90)]),
        "BMP palette": as_bytes("BMP", base.quantize(200)),
    }
    return found


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """Returns a file with a few bytes changed, a part cut out, or a large number put in."""
    changed, size = bytearray(content), len(content)
    kind, place = random.integers(4), int(random.integers(size))
    if kind == 0:
        for _ in range(random.integers(1, 9)):
            changed[random.integers(size)] = random.choice([0, 1, 127, 128, 255])
    elif kind == 1:
        changed[random.integers(min(size, 120))] = random.integers(256)
    elif kind == 2:
        del changed[place : place + int(random.integers(1, 99))]
    else:
        number = int(random.choice([0, 1, 65536, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]))
        place = min(place, 400)
        changed[place : place + 4] = struct.pack(random.choice([">I", "<I"]), number)
    return with_right_sums(changed) if content[:4] == b"\x89PNG" and place % 3 else bytes(changed)


def with_right_sums(png: bytearray) -> bytes:
    """Returns a PNG file with right checksums, so that what is in its chunks is looked at."""
    place = 8
    while place + 12 <= len(png):
        end = place + 8 + int.from_bytes(png[place : place + 4], "big")
        if end + 4 > len(png):
            break
        png[end : end + 4] = struct.pack(">I", zlib.crc32(png[place + 4 : end]))
        place = end + 4
    return bytes(png)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", sorted({name.partition(" ")[0] for name in odd_files()}))
def test_mutated_file_is_a_sound_picture_or_one_sentence(tmp_path: Path, kind: str):
    random, path = np.random.default_rng(20), tmp_path / "mutated"
    sound = [content for name, content in odd_files().items() if name.startswith(kind)]
    outcomes = set()
    for turn in range(120):
        path.write_bytes(mutated(sound[turn % len(sound)], random))
        with contextlib.suppress(errors.ImageError):
            images.read_recipe(path)
        try:
            assert images.decoding_bytes(path, 10_000) > 0
            picture = images.load(path, 10_000)
        except errors.ImageError as error:
            assert str(path) in str(error)
            outcomes.add("refused")
            continue
        outcomes.add("read")
        assert picture.size == images.size(path)
        for plane in [picture.rgb] if picture.alpha is None else [picture.rgb, picture.alpha]:
            assert plane.dtype == np.float32 and 0 <= plane.min() <= plane.max() <= 1
    assert outcomes == {"read", "refused"}


def test_damaged_pixels_are_not_read_in_part(tmp_path: Path):
    content = bytearray(as_bytes("PNG"))
    middle = len(content) // 2
    content[middle : middle + 20] = bytes(20)
    (tmp_path / "half.png").write_bytes(content)
    with pytest.raises(errors.ImageError, match="damaged"):
        images.load(tmp_path / "half.png")


@pytest.mark.parametrize(
    "name", ["missing.png", ".", "empty.png", "text.jpg", "n" * 300 + ".png"],
    ids=["missing", "a folder", "empty", "text", "name too long"],
)  # fmt: skip
def test_what_is_no_picture_is_refused_by_name(tmp_path: Path, name: str):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("This is no picture.\n" * 20)
    path = tmp_path / name
    for read in (images.load, images.size, images.read_recipe):
        with pytest.raises(errors.ImageError) as caught:
            read(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{ } loop\n", "PostScript"),
     (b"\0\0\0\x1cftypavif" + bytes(99), "AVIF"), (b"\0\0\0\x0cjP  " + bytes(99), "JPEG 2000"),
     (as_bytes("TGA"), "no"), (as_bytes("PPM"), "no"),
     (as_bytes("SPIDER", Image.new("F", (8, 8))), "no")],
    ids=["a program", "AVIF", "JPEG 2000", "TGA", "PPM", "SPIDER"],
)  # fmt: skip
def test_no_other_kind_is_read_whatever_its_name(tmp_path: Path, content: bytes, words: str):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    for read in (images.load, images.size, images.read_recipe, images.decoding_bytes):
        with pytest.raises(errors.ImageError, match=rf"photo\.jpg: .*{words}.*expected PNG, JPEG"):
            read(path)


def test_content_decides_what_is_read_and_not_the_suffix(tmp_path: Path):
    (tmp_path / "photo.avif").write_bytes(as_bytes("PNG"))
    np.testing.assert_array_equal(in_bytes(images.load(tmp_path / "photo.avif").rgb), noise(32, 32))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_what_is_no_regular_file_is_not_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", Path(os.devnull)):
        for read in (images.load, images.size, images.read_recipe):
            with pytest.raises(errors.ImageError, match="no regular file"):
                read(path)


def test_chunk_longer_than_its_file_takes_no_memory(tmp_path: Path):
    path = tmp_path / "forged.png"
    write_deep_png(path, noise(40, 48, dtype=np.uint16))
    content = bytearray(path.read_bytes())
    content[33:37] = struct.pack(">I", 0xFFFFFF00)  # The length of the pixels.
    path.write_bytes(content)
    with pytest.raises(errors.ImageError, match="beyond the end of the file"):
        images.load(path)


def test_forged_header_is_refused_at_once(tmp_path: Path):
    content = as_bytes("PNG")
    header = struct.pack(">II", 2_000_000, 2_000_000) + content[24:29]
    path = tmp_path / "bomb.png"
    path.write_bytes(content[:8] + png_chunk(b"IHDR", header) + content[33:])
    with pytest.raises(errors.ImageError, match=r"bomb\.png"):
        images.load(path)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_pixels_keep_their_depth(kind):
    random = np.random.default_rng(0)
    top = 1 if kind == np.float32 else np.iinfo(kind).max
    array = (random.random((16, 16, 3)) * top).astype(kind)
    picture = images.load(array)
    assert picture.pixels.dtype == kind
    assert picture.rgb.dtype == np.float32
    np.testing.assert_allclose(picture.rgb, array / top, rtol=1e-6)
