"""Picture files to arrays and back: depth, colour profiles, orientation, transparency.

Nothing here needs TensorFlow, so that a bad file is found before TensorFlow is imported.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import logging
import math
import os
import re
import stat
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from nst_tf import errors
from nst_tf.runtime import files

logger = logging.getLogger("nst_tf")

MAX_PIXELS = 80_000_000
"""Most pixels of an input by default, below the limit of Pillow itself."""

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""File suffixes that `save` writes, and Pillow's name of each format."""

_DECODERS = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP")
_EXPECTED = "PNG, JPEG, WebP, TIFF, GIF or BMP"
_READ = (*FORMATS, ".gif", ".bmp", ".jfif", ".jpe")
_UNREAD = (
    ".avif", ".dng", ".eps", ".heic", ".heif", ".j2k", ".jp2", ".jpx", ".jxl", ".pdf", ".psd",
    ".svg", ".tga",
)  # fmt: skip
"""Suffixes of pictures that cannot be read; `expand` warns of them."""
_KINDS = {
    rb"....ftypavi": "AVIF",
    rb"....ftyp(hei|hev|mif1|msf1)": "HEIC",
    rb"\0\0\0\x0cjP|\xff\x4f\xff\x51": "JPEG 2000",
    rb"\0\0\0\x0cJXL|\xff\x0a": "JPEG XL",
    rb"8BPS": "Photoshop",
    rb"%PDF": "PDF",
    rb"%!PS|\xc5\xd0\xd3\xc6": "PostScript",
    rb"\s*<(svg|\?xml)": "SVG",
}
"""First bytes of files of other kinds."""
_RECIPE_KEY = "nst_tf"
_BAND = 1 << 20  # Values of a picture to convert at a time.


class File(NamedTuple):
    """The file of a picture.

    Attributes:
        name: name of the file, without its folder.
        sha256: SHA-256 of its content, in hexadecimal.
    """

    name: str
    sha256: str


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: sRGB of shape `(height, width, 3)`: float32 in [0, 1], or uint8 or uint16, whose
            largest value stands for 1.
        alpha: opacity, float32 array of shape `(height, width)` in [0, 1], or None if the
            picture is opaque.
        file: the file of this very picture, if `load` got a path; otherwise None.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    file: File | None = dataclasses.field(default=None, init=False)

    @property
    def rgb(self) -> np.ndarray:
        """The pixels, float32 `(height, width, 3)`, sRGB in [0, 1]."""
        return _floats(self.pixels)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the pixels and the opacity, to tell two pictures apart."""
        state = hashlib.sha256(repr(self.pixels.shape).encode())
        for plane in [self.pixels] if self.alpha is None else [self.pixels, self.alpha]:
            for rows in _bands(*self.size):
                state.update(_floats(plane[rows]).tobytes())
        return state.hexdigest()

    def resized(self, height: int, width: int) -> np.ndarray:
        """Returns `resize(self.rgb, height, width)` without a float32 copy of the picture."""
        return resize(self.pixels, height, width)


def load(source: Any, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decodes a picture to sRGB.

    The EXIF orientation is applied, a colour profile is converted to sRGB, 16 bits are kept
    (except where a profile has to be converted), and transparency is split off. Greyscale,
    palette and CMYK become RGB. An animation gives its first frame. Colours under fully
    transparent pixels mean nothing, so the average visible colour replaces them.

    The formats are PNG, JPEG, WebP, TIFF, GIF and BMP, recognised by content, whatever the name.

    Args:
        source: a path, an open binary file, a PIL image, a `Picture`, or an array or tensor of
            shape `(height, width)`, `(height, width, channels)` or
            `(1, height, width, channels)` with 1, 3 or 4 channels: uint8, uint16, or floating
            point in [0, 1].
        max_pixels: largest accepted picture, in pixels.

    Raises:
        ImageError: the file is missing, damaged, no picture, or too large, or the values have
            another shape, type or range.
    """
    if isinstance(source, Picture):
        return source
    name = _name(source)
    with _faults_named(name):
        if isinstance(source, Image.Image):
            _check_size(name, *source.size, max_pixels)
            return _decoded(source, name)
        if _is_path(source) or _is_stream(source):
            with _opened(source, max_pixels) as (image, file):
                picture = _decoded(image, name, file)
                if _is_path(source):
                    read = File(os.path.basename(name), files.stream_hash(file))
                    object.__setattr__(picture, "file", read)
                return picture
    array = _checked(source, name)
    _check_size(name, array.shape[1], array.shape[0], max_pixels)
    return _picture(array.copy(), name)


def expand(sources: Iterable[Any]) -> list[Any]:
    """Returns pictures with every folder among them replaced by the picture files in it.

    Args:
        sources: whatever `load` accepts, and paths of folders. A folder gives all files with the
            suffix of a picture, in the order of their names. A warning names the pictures that
            cannot be read.

    Raises:
        ImageError: a folder holds no picture.
    """
    found: list[Any] = []
    for source in sources:
        if not (_is_path(source) and os.path.isdir(source)):
            found.append(source)
            continue
        folder = os.fsdecode(source)
        try:
            names = [name for name in sorted(os.listdir(folder)) if not name.startswith(".")]
        except OSError as error:
            raise errors.ImageError(f"{folder}: cannot be listed ({error.strerror}).") from error
        taken = [name for name in names if Path(name).suffix.lower() in _READ]
        left = [name for name in names if Path(name).suffix.lower() in _UNREAD]
        hint = f"{', '.join(left)} cannot be read; export as PNG or JPEG." if left else ""
        if not taken:
            raise errors.ImageError(
                f"{folder}: there is no picture in this folder; expected files that end in "
                f"{', '.join(_READ)}. {hint}".rstrip()
            )
        if hint:
            logger.warning("%s: %s", folder, hint)
        found += [os.path.join(folder, name) for name in taken]
    return found


def size(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Returns height and width of a picture file as displayed, reading no pixels.

    Raises:
        ImageError: as in `load`.
    """
    with _faults_named(_name(path)), _opened(path, max_pixels) as (image, file):
        width, height = image.size
        return (width, height) if _orientation(image, file) > 4 else (height, width)


def decoding_bytes(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> int:
    """Returns an estimate of the most bytes of memory that `load` takes, from the header alone.

    Raises:
        ImageError: as in `load`.
    """
    with _faults_named(_name(path)), _opened(path, max_pixels) as (image, file):
        needed = 8  # Bytes a pixel: Pillow's image, and the picture.
        if image.mode in ("F", "I") or image.mode.startswith("I;16"):
            needed = 16
        elif _has_deep_colour(image, file):
            needed = 13
        if image.has_transparency_data:
            needed += 8
        if image.format == "WEBP":  # Its decoder has canvases of its own.
            needed += 9
        if image.info.get("progressive"):  # This decoder keeps all coefficients.
            needed += 5
        return needed * image.width * image.height


def resize(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes `(h, w)` or `(h, w, channels)`, antialiased, to the given size.

    The filter is bicubic; its overshoot is clipped to the range of the input.

    Args:
        array: values, float32, or uint8 or uint16, whose largest value stands for 1.
        height: height of the result, in pixels.
        width: width of the result, in pixels.

    Returns:
        The resized array, float32.
    """
    if array.shape[:2] == (height, width):
        return _floats(array)
    planes = array.reshape(*array.shape[:2], -1)
    resized = np.empty((height, width, planes.shape[2]), np.float32)
    for channel in range(planes.shape[2]):
        resized[..., channel] = _resized(planes[..., channel], height, width)
    np.clip(resized, _floats(array.min()), _floats(array.max()), out=resized)
    return resized.reshape(height, width, *array.shape[2:])


def _resized(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    whole = Image.new("F", plane.shape[::-1])
    for rows in _bands(*plane.shape):
        whole.paste(Image.fromarray(np.ascontiguousarray(_floats(plane[rows]))), (0, rows.start))
    return np.asarray(whole.resize((width, height), Image.Resampling.BICUBIC))


def _floats(array: np.ndarray) -> np.ndarray:
    """Returns values in [0, 1]; whole numbers are divided by the largest of their type."""
    if array.dtype.kind == "u":
        return np.divide(array, np.iinfo(array.dtype).max, dtype=np.float32)
    return array


def _bands(height: int, width: int) -> Iterator[slice]:
    """Yields the rows of a picture, a few at a time."""
    step = max(1, _BAND // max(1, width))
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


# Opening.


def _is_path(source: Any) -> bool:
    return isinstance(source, (str, os.PathLike))


def _is_stream(source: Any) -> bool:
    return callable(getattr(source, "read", None))


def _name(source: Any) -> str:
    """Returns the name of a picture for errors and log messages."""
    if _is_path(source):
        return os.fsdecode(source)
    name = getattr(source, "name", None) if _is_stream(source) else None
    return name if isinstance(name, str) else "the picture"


@contextlib.contextmanager
def _faults_named(name: str) -> Iterator[None]:
    """Turns any exception of a decoder into an ImageError: decoders do not list theirs."""
    try:
        yield
    except errors.StyleTransferError:
        raise
    except MemoryError as error:
        raise errors.ImageError(
            f"{name}: there is not enough memory to decode the picture. Shrink it, or close other "
            "programs."
        ) from error
    except Exception as error:
        raise errors.ImageError(
            f"{name}: the picture is damaged or cut short ({error}). Copy or export it again."
        ) from error


@contextlib.contextmanager
def _opened(source: Any, max_pixels: float) -> Iterator[tuple[Image.Image, BinaryIO]]:
    """Yields a picture with only its header read, and its file."""
    name = _name(source)
    with _file(source, name) as file, _identified(file, name) as image:
        _check_size(name, *image.size, max_pixels)
        yield image, file


def _file(source: Any, name: str) -> contextlib.AbstractContextManager[BinaryIO]:
    """Returns a seekable file to read. Of paths, only regular files are opened."""
    if isinstance(source, io.TextIOBase):
        raise errors.ImageError(f"{name}: the file is open for text; open it with the mode 'rb'.")
    if not _is_path(source):
        seekable = getattr(source, "seekable", lambda: False)()
        return contextlib.nullcontext(source if seekable else io.BytesIO(source.read()))
    try:
        found = os.stat(source)
        if stat.S_ISDIR(found.st_mode):
            raise errors.ImageError(f"{name}: this is a folder; expected a picture file.")
        if not stat.S_ISREG(found.st_mode):
            raise errors.ImageError(
                f"{name}: this is no regular file; save the picture to a file first."
            )
        if not found.st_size:
            raise errors.ImageError(f"{name}: the file is empty; expected a picture.")
        return open(source, "rb")
    except FileNotFoundError:
        raise errors.ImageError(f"{name}: no such file; expected a picture.") from None
    except (OSError, ValueError) as error:
        raise errors.ImageError(f"{name}: {errors.reason(error)}; expected {_EXPECTED}.") from error


def _identified(file: BinaryIO, name: str) -> Image.Image:
    try:
        return Image.open(file, formats=_DECODERS)
    except Image.DecompressionBombError as error:
        raise errors.ImageError(
            f"{name}: {error} Pillow's own limit is PIL.Image.MAX_IMAGE_PIXELS."
        ) from error
    except Exception as error:
        raise errors.ImageError(f"{name}: {_kind(file)}.") from error


def _kind(file: BinaryIO) -> str:
    """Returns the kind of an unreadable file in words, with advice."""
    file.seek(0)
    begin = file.read(64)
    for pattern, kind in _KINDS.items():
        if isinstance(begin, bytes) and re.match(pattern, begin, re.DOTALL):
            return f"this is {kind}; expected {_EXPECTED}. Export it as one of these"
    return f"not a picture, or of a kind that cannot be read; expected {_EXPECTED}"


def _check_size(name: str, width: int, height: int, max_pixels: float) -> None:
    if not width * height:
        raise errors.ImageError(f"{name}: {width}x{height} has no pixels; expected a picture.")
    if width * height > max_pixels:
        raise errors.ImageError(
            f"{name}: {width}x{height} is {width * height} pixels, and max_pixels allows "
            f"{max_pixels}. Shrink the picture, or raise max_pixels if you trust it."
        )


# The header.


def _orientation(image: Image.Image, file: BinaryIO | None) -> int:
    """Returns the EXIF orientation of a picture as its decoder leaves it."""
    if image.format == "TIFF":
        return 1  # Both decoders turn it upright by themselves.
    try:
        value = _exif(image, file).get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1
    return value if value in _UPRIGHT else 1


_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}
"""Functions that turn a picture upright, by its EXIF orientation."""


def _exif(image: Image.Image, file: BinaryIO | None) -> Image.Exif:
    """Returns the EXIF data of a picture, without decoding it if it is a PNG file.

    To find metadata behind the pixels of such a file, Pillow would decode them.
    """
    return Image.Image.getexif(_header(image, file))


def _header(image: Image.Image, file: BinaryIO | None) -> Image.Image:
    """Returns an image with all the metadata of another."""
    if image.format == "PNG" and file is not None:
        with contextlib.suppress(Exception):
            return Image.open(_without_pixels(file), formats=("PNG",))
    return image


def _without_pixels(file: BinaryIO) -> BinaryIO:
    """Returns a PNG file with the size and the metadata of another."""
    found = io.BytesIO()
    for kind, place, length in _png_chunks(file):
        if kind in (b"IHDR", b"eXIf", b"iTXt", b"tEXt", b"zTXt", b"IEND"):
            file.seek(place)
            found.write(file.read(length))
    return io.BytesIO(_PNG_SIGNATURE + found.getvalue())


_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yields kind, place and length of the chunks of a PNG file.

    Raises:
        ValueError: a chunk goes beyond the end of the file.
    """
    end, place, kind = file.seek(0, os.SEEK_END), len(_PNG_SIGNATURE), b""
    while kind != b"IEND":
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            raise ValueError("the file ends too early")
        length, kind = struct.unpack(">I4s", head)
        length += 12  # Length, kind and checksum.
        if place + length > end:
            raise ValueError("a chunk goes beyond the end of the file")
        yield kind, place, length
        place += length


# Decoding.


def _decoded(image: Image.Image, name: str, file: BinaryIO | None = None) -> Picture:
    """Returns the picture of an image that need not be decoded yet.

    Args:
        image: the image.
        name: name of the picture in messages.
        file: file of the unchanged image, or None.
    """
    if getattr(image, "is_animated", False) and image.format != "MPO":
        frames = getattr(image, "n_frames", 1)
        logger.info("%s has %d frames; the first one is used.", name, frames)
    orientation = _orientation(image, file)
    to_srgb = _conversion(image, name)
    deep = _decode_deep(image, file)
    if deep is not None:
        deep = _checked(deep, name)
        if to_srgb is None:
            return _picture(_UPRIGHT[orientation](deep), name)
        logger.info("%s: 8 bits are kept, as its colour profile has to be converted.", name)
        image = Image.fromarray(_in_8_bits(deep[..., 0] if deep.shape[2] == 1 else deep))
    return _decode_shallow(image, orientation, to_srgb, name)


def _decode_deep(image: Image.Image, file: BinaryIO | None) -> np.ndarray | None:
    """Returns `(h, w)` or `(h, w, 3 or 4)` of more than 8 bits, or None for an 8-bit picture."""
    if image.mode.startswith("I;16"):
        return _grey_words(image)
    if image.mode in ("F", "I"):
        return np.array(image)
    if file is None or not _has_deep_colour(image, file):
        return None
    if image.format == "PNG":
        for _ in _png_chunks(file):  # OpenCV allocates whatever length a chunk claims.
            pass
    file.seek(0)
    cv2 = _opencv()
    array = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16 or array.ndim != 3:
        return None
    for rows in _bands(*array.shape[:2]):
        array[rows, :, :3] = array[rows, :, 2::-1]
    return array


def _opencv() -> Any:
    """Returns OpenCV, for 16-bit colour, which Pillow cuts down to 8 bits."""
    import cv2

    # An exception reports a bad file, so OpenCV need not print to standard error. OpenCV 5 has
    # moved the function.
    log = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging
    log.setLogLevel(0)
    return cv2


def _has_deep_colour(image: Image.Image, file: BinaryIO) -> bool:
    if image.mode not in ("RGB", "RGBA"):
        return False
    if image.format == "PNG":
        file.seek(24)  # Place of the bit depth in the header chunk.
        return file.read(1) == b"\x10"
    bits = getattr(image, "tag_v2", {}).get(ExifTags.Base.BitsPerSample, ())
    return image.format == "TIFF" and 16 in bits


def _grey_words(image: Image.Image) -> np.ndarray:
    """Returns 16-bit grey, `(h, w)`, or `(h, w, 4)` if one of its values is transparent."""
    words = np.asarray(image).astype(np.uint16)
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(ExifTags.Base.BitsPerSample, (16,))[0]
    if bits < 16:  # Pillow does not scale these.
        words = np.rint(words * (65535 / (2**bits - 1))).astype(np.uint16)
    if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:  # Pillow does not invert these.
        words = 65535 - words
    clear = image.info.get("transparency")
    if clear is None:
        return words
    alpha = np.where(words == clear, 0, 65535).astype(np.uint16)
    return np.stack([words, words, words, alpha], axis=-1)


def _decode_shallow(
    image: Image.Image,
    orientation: int,
    to_srgb: Callable[[Image.Image], Image.Image] | None,
    name: str,
) -> Picture:
    """Decodes 8 bits a channel, a few rows at a time into the finished picture.

    Args:
        image: the image.
        orientation: its EXIF orientation.
        to_srgb: function that converts rows of it to RGB, or None if no profile is needed.
        name: name of the picture in errors.
    """
    image.load()
    width, height = image.size
    shape = (width, height) if orientation > 4 else (height, width)
    as_stored = _UPRIGHT[{6: 8, 8: 6}.get(orientation, orientation)]  # A view, turned back.
    pixels = np.empty((*shape, 3), np.uint8)
    alpha = np.empty(shape, np.uint8) if image.has_transparency_data else None
    for rows in _bands(height, width):
        band = image.crop((0, rows.start, width, rows.stop))
        if alpha is not None:
            band = band.convert("RGBA")
            as_stored(alpha)[rows] = np.asarray(band.getchannel("A"))
        as_stored(pixels)[rows] = np.asarray(to_srgb(band) if to_srgb else band.convert("RGB"))
    if image.format == "BMP" and alpha is not None and not alpha.any():
        alpha = None  # These bytes often mean nothing, and viewers ignore them.
    return _finished(pixels, alpha, name)


def _checked(source: Any, name: str = "the picture") -> np.ndarray:
    """Returns an array as `(height, width, 1, 3 or 4)`, uint8, uint16 or float32, uncopied.

    Args:
        source: an array, or an object that can become one.
        name: name of the picture in errors.

    Raises:
        ImageError: it has another shape or type, or values outside of [0, 1] by more than rounding.
    """
    expected = (
        "expected (height, width, 3), uint8, uint16 or floating point in [0, 1]; 1 or 4 channels "
        "and a leading 1 are accepted too"
    )
    try:
        array = np.asarray(source)
    except Exception as error:
        raise errors.ImageError(
            f"{name}: no array can be made of it ({error}); {expected}."
        ) from error
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        what = f"shape is {array.shape}" if array.ndim else f"type is {type(source).__name__}"
        raise errors.ImageError(f"{name}: the {what}; {expected}.")
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind in "fV" and not array.dtype.names:  # V: bfloat16.
        with contextlib.suppress(TypeError, ValueError), np.errstate(over="ignore"):
            array = array.astype(np.float32, copy=False)
    if array.dtype != np.float32:
        raise errors.ImageError(f"{name}: the values are {array.dtype}; {expected}.")
    low, high = float(array.min()), float(array.max())
    if not (low >= -1e-4 and high <= 1 + 1e-4):
        advice = "Divide 0 to 255 by 255." if math.isfinite(high) else "NaN and infinity are none."
        raise errors.ImageError(
            f"{name}: the values go from {low:g} to {high:g}; {expected}. {advice}"
        )
    return array


def _picture(array: np.ndarray, name: str) -> Picture:
    """Returns a result of `_checked` as a picture, which may keep the array, and write to it."""
    if array.dtype == np.float32:
        array = _compact(np.clip(array, 0, 1, out=array))
    alpha = array[..., 3] if array.shape[2] == 4 else None
    colour = array[..., :3] if array.shape[2] > 1 else np.repeat(array, 3, axis=-1)
    return _finished(np.ascontiguousarray(colour), alpha, name)


def _finished(pixels: np.ndarray, alpha: np.ndarray | None, name: str) -> Picture:
    """Returns a picture whose fully transparent pixels are set, in place, to its average colour."""
    if alpha is None or _floats(alpha.min()) == 1:
        return Picture(pixels)
    if not alpha.any():
        raise errors.ImageError(
            f"{name}: the picture is fully transparent; expected something to see."
        )
    average = _average(pixels, alpha)
    if pixels.dtype.kind == "u":
        average = np.rint(average)
    pixels[alpha == 0] = average.astype(pixels.dtype)
    return Picture(pixels, np.ascontiguousarray(_floats(alpha)))


def _average(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    total, weight = np.zeros(3), 0.0
    for rows in _bands(*alpha.shape):
        weights = alpha[rows].ravel().astype(np.float64)
        total += weights @ pixels[rows].reshape(-1, 3).astype(np.float64)
        weight += weights.sum()
    return total / weight


def _in_8_bits(array: np.ndarray) -> np.ndarray:
    found = np.empty(array.shape, np.uint8)
    for rows in _bands(*array.shape[:2]):
        found[rows] = np.rint(_floats(array[rows]) * 255)
    return found


def _compact(array: np.ndarray) -> np.ndarray:
    """Returns float32 values as uint8, a quarter of the memory, if they were made from 8 bits."""
    compact = _in_8_bits(array)
    rows = _bands(*array.shape[:2])
    return compact if all(np.array_equal(_floats(compact[r]), array[r]) for r in rows) else array


# Colour profiles.


_PROFILE_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}
"""Pillow's modes of the possible colour spaces of a profile."""
_SRGB_TOLERANCE = 2  # Of 255: profiles of sRGB differ by so much, from rounding.


def _conversion(image: Image.Image, name: str) -> Callable[[Image.Image], Image.Image] | None:
    """Returns a function that converts rows of an image to RGB by its colour profile.

    Returns:
        The function, or None if there is no profile or that of sRGB, or, with a log message, if
        the profile is damaged or unfit.
    """
    profile = image.info.get("icc_profile")
    if not profile:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _PROFILE_MODES.get(source.profile.xcolor_space, "")
        if mode not in _profiled(image.mode):
            raise ValueError(f"it is for {source.profile.xcolor_space.strip()}")
        transform = _transform(profile, mode)
        if mode in ("RGB", "L") and _is_identity(profile, mode):
            return None
    except Exception as error:
        logger.info("%s: its colour profile cannot be used (%s); sRGB assumed.", name, error)
        return None
    return lambda rows: _applied(rows.convert(mode), transform)


def _profiled(mode: str) -> Sequence[str]:
    """Returns the possible modes of profiles for an image of a mode."""
    if mode in ("CMYK", "LAB"):
        return [mode]
    return ["L", "RGB"] if mode in ("1", "L", "LA", "La", "F") or mode[0] == "I" else ["RGB"]


def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _applied(rows: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(rows, transform)
    assert converted is not None  # Only a conversion in place returns None.
    return converted


@functools.lru_cache(maxsize=8)
def _is_identity(profile: bytes, mode: str) -> bool:
    """Returns whether a profile leaves a lattice of colours as they are."""
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    lattice = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    colours = Image.fromarray(lattice).convert(mode)
    converted = np.asarray(_applied(colours, _transform(profile, mode)), np.int16)
    return np.abs(converted - np.asarray(colours.convert("RGB"))).max() <= _SRGB_TOLERANCE


# Writing.


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuses the path of a picture that `save` could not write, before any work is done.

    Raises:
        OutputError: the suffix is unknown, the folder is missing or nothing can be written.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise errors.OutputError(
            f"{path}: cannot write a {path.suffix or 'file without suffix'}; expected one of "
            f"{', '.join(FORMATS)}."
        )
    probe_writable(path)


def probe_writable(path: str | os.PathLike[str]) -> None:
    """Makes sure that a file can be made at `path`, and leaves no trace.

    Raises:
        OutputError: the folder is missing, or no file can be made in it, or `path` is a folder.
    """
    if os.path.isdir(path):
        raise errors.OutputError(f"{path}: this is a folder; expected the name of a file.")
    try:
        files.probe(path)
    except (OSError, ValueError) as error:
        raise errors.OutputError(
            f"{path}: cannot write there ({errors.reason(error)}); make the folder, or choose "
            "another."
        ) from error


def save(
    image: Any,
    path: str | os.PathLike[str],
    *,
    alpha: np.ndarray | None = None,
    recipe: str = "",
    bit_depth: int = 8,
    overwrite: bool = True,
) -> None:
    """Writes a picture, rounded to the nearest value, in one atomic step.

    Args:
        image: the picture, whatever `load` accepts: an array or tensor of shape
            `(height, width, 3)`, sRGB in [0, 1], with a fourth channel for opacity if need be, a
            PIL image, or a `Picture`.
        path: path of the file; its suffix, a key of `FORMATS`, chooses the format. A link stays,
            and its target is written.
        alpha: opacity of shape `(height, width)` in [0, 1], in place of the picture's own. JPEG
            has none: the picture is laid on white.
        recipe: text kept in the file's metadata, for `read_recipe`. A text too long for a JPEG
            is left out, with a warning.
        bit_depth: bits a channel, 8, or 16 for PNG.
        overwrite: whether to replace an existing file.

    Raises:
        ImageError: the picture has another shape, type or range.
        ExistingOutputError: the file exists, or appears in the meantime, and `overwrite` is False.
        OutputError: the file cannot be written; an earlier file stays as it was.
    """
    path = Path(path)
    kind = FORMATS.get(path.suffix.lower(), "")
    if not kind or (bit_depth != 8 and (bit_depth, kind) != (16, "PNG")):
        raise errors.OutputError(
            f"{path}: cannot write {bit_depth} bits a channel with the suffix {path.suffix!r}; "
            f"expected one of {', '.join(FORMATS)} with 8 bits, or .png with 16."
        )
    try:
        samples = _samples(*_split(image, alpha), bit_depth, on_white=kind == "JPEG")
        with files.atomic_file(path, overwrite) as file:
            if bit_depth == 16:
                file.write(_encode_deep(samples, recipe))
            else:
                _encode_shallow(samples, kind, recipe, file)
    except FileExistsError as error:
        raise errors.ExistingOutputError(f"{path}: exists already.") from error
    except (OSError, ValueError, MemoryError) as error:  # An encoder may raise any of these.
        raise errors.OutputError(
            f"{path}: cannot write the picture ({errors.reason(error)})."
        ) from error


def _split(image: Any, alpha: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns colours `(h, w, 1 or 3)` and opacity `(h, w)`, in the types that they have."""
    if isinstance(image, (str, os.PathLike, Image.Image)):
        image = load(image, sys.maxsize)
    if isinstance(image, Picture):
        return image.pixels, image.alpha if alpha is None else alpha
    array = _checked(image)
    own = array[..., 3] if array.shape[2] == 4 else None
    return array[..., :3], own if alpha is None else alpha


def _samples(
    colours: np.ndarray, alpha: np.ndarray | None, bit_depth: int, on_white: bool
) -> np.ndarray:
    """Returns the samples of a file, uint8 or uint16 `(h, w, 3 or 4)`, made in bands.

    Args:
        colours: colours `(h, w, 1 or 3)`, uint8, uint16 or float32 in [0, 1], within rounding.
        alpha: opacity `(h, w)`, likewise, or None.
        bit_depth: bits of a sample.
        on_white: whether to lay the picture on white.
    """
    height, width = colours.shape[:2]
    kind, highest = (np.uint8, 255) if bit_depth == 8 else (np.uint16, 65535)
    samples = np.empty((height, width, 3 if alpha is None or on_white else 4), kind)
    exact = np.float32 if bit_depth == 8 else np.float64
    for rows in _bands(height, width):
        band = _unit(colours[rows], exact)
        if alpha is not None:
            opacity = _unit(alpha[rows, :, None], exact)
            if on_white:
                band = band * opacity + 1 - opacity
            else:
                samples[rows, :, 3:] = np.rint(opacity * highest)
        samples[rows, :, :3] = np.rint(band * highest)
    return samples


def _unit(values: np.ndarray, kind: type[np.floating]) -> np.ndarray:
    """Returns samples as floating point in [0, 1]."""
    scale = np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1
    return np.divide(values, scale, dtype=kind).clip(0, 1)


_LONGEST_EXIF = {"JPEG": 65533}
"""Most bytes of EXIF data, by format."""
_ENCODER_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
    "TIFF": {"compression": "tiff_deflate"},
}


def _encode_shallow(samples: np.ndarray, kind: str, recipe: str, file: io.BufferedWriter) -> None:
    options = {**_ENCODER_OPTIONS.get(kind, {}), **_metadata(kind, recipe)}
    Image.fromarray(samples).save(file, kind, **options)


def _metadata(kind: str, recipe: str) -> dict[str, Any]:
    """Returns the options with which Pillow stores a recipe."""
    if not recipe:
        return {}
    if kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt(_RECIPE_KEY, recipe, zip=True)
        return {"pnginfo": text}
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = recipe
    if len(exif.tobytes()) > _LONGEST_EXIF.get(kind, sys.maxsize):
        logger.warning(
            "The recipe is too long for a %s file, which is written without it; a PNG would hold "
            "it, for --replay.",
            kind,
        )
        return {}
    return {"exif": exif}


def _encode_deep(samples: np.ndarray, recipe: str) -> bytes:
    cv2 = _opencv()
    order = [2, 1, 0, 3][: samples.shape[2]]
    try:
        encoded = cv2.imencode(".png", samples[..., order])[1].tobytes()
    except cv2.error as error:
        raise ValueError(error.err) from error
    content = b"iTXt" + _RECIPE_KEY.encode() + bytes(5) + recipe.encode()
    chunk = struct.pack(">I", len(content) - 4) + content
    chunk += struct.pack(">I", zlib.crc32(content))
    header = 33  # Bytes of the signature and the header chunk, after which text may stand.
    return encoded[:header] + chunk + encoded[header:]


def read_recipe(path: str | os.PathLike[str]) -> str:
    """Returns the recipe that `save` left in a picture file, or an empty text.

    No pixels are decoded, and the picture may be of any size.

    Raises:
        ImageError: the file cannot be read as a picture.
    """
    with _faults_named(_name(path)), _opened(path, math.inf) as (image, file):
        with contextlib.suppress(Exception):
            text = _header(image, file).info.get(_RECIPE_KEY)
            return text or str(_exif(image, file).get(ExifTags.Base.ImageDescription, ""))
        return ""
