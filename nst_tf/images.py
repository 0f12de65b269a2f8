"""Picture files to arrays and back: depth, colour profiles, orientation, transparency.

Nothing here needs TensorFlow, so that a bad file is found before it is imported.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import logging
import os
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from nst_tf import errors, files

logger = logging.getLogger("nst_tf")

MAX_PIXELS = 80_000_000
"""Pixels of an input that are accepted by default, below the limit of Pillow itself."""

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""File suffixes that `save` writes, and Pillow's name of each format."""

_READ = (*FORMATS, ".gif", ".bmp")
_RECIPE_KEY = "nst_tf"
_DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, OverflowError,
    struct.error, zlib.error,
)  # fmt: skip
"""What Pillow's decoders raise on damaged files, depending on the format."""


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: sRGB of shape `(height, width, 3)`: float32 in [0, 1], or uint8 where that
            holds the same values.
        alpha: opacity, float32 array of shape `(height, width)` in [0, 1], or None where
            the picture is opaque.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None

    @property
    def rgb(self) -> np.ndarray:
        """The pixels, float32 `(height, width, 3)`, sRGB in [0, 1]."""
        if self.pixels.dtype == np.uint8:
            return np.divide(self.pixels, 255, dtype=np.float32)  # At once, without a copy.
        return self.pixels

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @functools.cached_property
    def digest(self) -> str:
        """Hash of the pixels, for telling two pictures apart."""
        state = hashlib.sha256(repr(self.pixels.shape).encode())
        for plane in (self.rgb, self.alpha):
            if plane is not None:
                state.update(np.ascontiguousarray(plane).tobytes())
        return state.hexdigest()


def load(source: Any, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decodes a picture to float32 sRGB in [0, 1].

    The EXIF orientation is applied, a colour profile is converted to sRGB, 16 bits are kept
    (but not where a profile has to be converted), and transparency is split off. Greyscale,
    palette and CMYK become RGB. Of an animation the first frame is taken. Colours under fully
    transparent pixels mean nothing, so they are replaced by the average visible colour.

    Args:
        source: a path, a PIL image, a `Picture`, or an array or tensor of shape
            `(height, width)`, `(height, width, channels)` or `(1, height, width, channels)`
            with 1, 3 or 4 channels: uint8, uint16, or floating point in [0, 1].
        max_pixels: largest accepted picture, in pixels.

    Raises:
        ImageError: the file is missing, damaged, no picture, or too large, or the array has
            another shape, type or range.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, (str, os.PathLike)):
        with _opened(source, max_pixels) as image:
            try:
                return _picture(_decode(image, str(source), deep_file=str(source)))
            except _DAMAGED as error:
                raise errors.ImageError(
                    f"{source}: the picture is damaged or cut short ({error}). Copy or export it "
                    "again."
                ) from error
    if isinstance(source, Image.Image):
        _check_size("the picture", *source.size, max_pixels)
        return _picture(_decode(source, "the picture"))
    return _picture(_from_array(source, max_pixels))


def expand(sources: Iterable[Any]) -> list[Any]:
    """Returns pictures with every folder among them replaced by the picture files in it.

    Args:
        sources: whatever `load` accepts, and paths of folders. Of a folder all files are taken
            whose suffix is that of a picture, in the order of their names.

    Raises:
        ImageError: a folder holds no picture.
    """
    found: list[Any] = []
    for source in sources:
        if not (isinstance(source, (str, os.PathLike)) and os.path.isdir(source)):
            found.append(source)
            continue
        names = sorted(name for name in os.listdir(source) if _has_picture_suffix(name))
        if not names:
            raise errors.ImageError(
                f"{source}: there is no picture in this folder; expected files that end in "
                f"{', '.join(_READ)}."
            )
        found += [os.path.join(source, name) for name in names]
    return found


def _has_picture_suffix(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in _READ


def size(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Returns height and width of a picture file as displayed, reading only its header.

    Raises:
        ImageError: as in `load`.
    """
    with _opened(path, max_pixels) as image:
        width, height = image.size
        turned = image.format != "TIFF" and _orientation(image) > 4
        return (width, height) if turned else (height, width)


def resize(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes float32 `(h, w)` or `(h, w, channels)`, antialiased, to the given size.

    The filter is bicubic; its overshoot is clipped to the range of the input.
    """
    if array.shape[:2] == (height, width):
        return array
    planes = array.reshape(*array.shape[:2], -1)
    resized = np.stack(
        [
            np.asarray(
                Image.fromarray(np.ascontiguousarray(planes[..., channel])).resize(
                    (width, height), Image.Resampling.BICUBIC
                )
            )
            for channel in range(planes.shape[2])
        ],
        axis=-1,
    )
    resized = resized.clip(array.min(), array.max())
    return resized.reshape(height, width, *array.shape[2:])


# Reading.


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str], max_pixels: int) -> Iterator[Image.Image]:
    path = Path(path)
    if os.path.isdir(path):  # Path.is_dir raises where the name is too long.
        raise errors.ImageError(f"{path}: this is a folder; expected a picture file.")
    try:
        if path.stat().st_size == 0:
            raise errors.ImageError(f"{path}: the file is empty; expected a picture.")
        image = Image.open(path)
    except FileNotFoundError:
        raise errors.ImageError(f"{path}: no such file; expected a picture.") from None
    except Image.DecompressionBombError as error:
        raise errors.ImageError(
            f"{path}: {error} Pillow's own limit is PIL.Image.MAX_IMAGE_PIXELS."
        ) from error
    except _DAMAGED as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else ""
        raise errors.ImageError(
            f"{path}: {reason or 'not a picture, or of a kind that cannot be read'}; expected "
            "PNG, JPEG, WebP, TIFF, GIF or BMP."
        ) from error
    with image:
        _check_size(str(path), *image.size, max_pixels)
        yield image


def _check_size(name: str, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise errors.ImageError(
            f"{name}: {width}x{height} is {width * height} pixels, and max_pixels allows "
            f"{max_pixels}. Shrink the picture, or raise max_pixels if you trust it."
        )


def _decode(image: Image.Image, name: str, deep_file: str = "") -> np.ndarray:
    """Returns float32 `(h, w, 3 or 4)` in [0, 1], sRGB, upright.

    Args:
        image: the picture, of which only the header need have been read.
        name: what to call it in a note.
        deep_file: the file that it shows unchanged, where there is one.
    """
    if getattr(image, "is_animated", False) and image.format != "MPO":
        frames = getattr(image, "n_frames", 1)
        logger.info("%s has %d frames; the first one is used.", name, frames)
    # Both decoders turn a TIFF upright by themselves.
    orientation = 1 if image.format == "TIFF" else _orientation(image)
    profile = image.info.get("icc_profile")
    if profile and _is_srgb(profile):
        profile = None
    deep = None if profile else _decode_deep(image, deep_file)
    array = deep if deep is not None else _decode_shallow(image, profile, name)
    return _UPRIGHT[orientation](array)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DAMAGED:
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
"""What brings a picture upright, by its EXIF orientation."""


def _opencv() -> Any:
    """Returns OpenCV, for 16-bit colour, which Pillow cuts down to 8 bits."""
    import cv2

    # What is wrong with a file is said by an exception, and not on standard error. OpenCV 5 has
    # moved the function.
    log = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging
    log.setLogLevel(0)
    return cv2


def _decode_deep(image: Image.Image, file: str) -> np.ndarray | None:
    """Decodes more than 8 bits a channel, or returns None where the file has no more."""
    if image.mode == "F":
        return _rgb(np.asarray(image, np.float32).clip(0, 1))
    if image.mode.startswith("I"):
        return _rgb((np.asarray(image).astype(np.float32) / 65535).clip(0, 1))
    if not _has_deep_colour(image, file):
        return None
    cv2 = _opencv()
    data = np.fromfile(file, np.uint8)
    array = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16 or array.ndim != 3:
        return None
    order = [2, 1, 0, 3][: array.shape[2]]
    return array[..., order].astype(np.float32) / 65535


def _is_srgb(profile: bytes) -> bool:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return "srgb" in ImageCms.getProfileDescription(source).lower()
    except (ImageCms.PyCMSError, OSError):
        return False


def _has_deep_colour(image: Image.Image, file: str) -> bool:
    if image.mode not in ("RGB", "RGBA") or not file:
        return False
    if image.format == "PNG":
        with open(file, "rb") as opened:
            return opened.read(25)[24] == 16  # The bit depth's place in the header chunk.
    bits = getattr(image, "tag_v2", {}).get(258, ())  # The TIFF tag BitsPerSample.
    return image.format == "TIFF" and 16 in bits


def _decode_shallow(image: Image.Image, profile: bytes | None, name: str) -> np.ndarray:
    transparent = image.has_transparency_data
    if image.mode.startswith("I"):
        image = image.point(lambda value: value / 257).convert("L")
    if image.mode in ("P", "PA", "LA", "La", "RGBa", "1") or transparent:
        image = image.convert("RGBA" if transparent else "RGB")
    alpha = image.getchannel("A") if transparent else None
    colour = image.convert("RGB") if image.mode == "RGBA" else image
    planes = [np.asarray(_to_srgb(colour, profile, name))]
    if alpha is not None:
        planes.append(np.asarray(alpha)[..., None])
    return np.concatenate(planes, axis=-1).astype(np.float32) / 255


def _to_srgb(image: Image.Image, profile: bytes | None, name: str) -> Image.Image:
    """Returns an RGB image in sRGB; a damaged or unfit profile is left out, with a note."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                image,
                source,
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            assert converted is not None  # Only an in-place conversion returns None.
            return converted
        except (ImageCms.PyCMSError, OSError) as error:
            logger.info("%s: its colour profile cannot be used (%s); sRGB assumed.", name, error)
    return image.convert("RGB")


def _from_array(source: Any, max_pixels: int) -> np.ndarray:
    array = _checked(source)
    _check_size("the picture", array.shape[1], array.shape[0], max_pixels)
    if array.dtype != np.float32:
        return _rgb(array.astype(np.float32) / np.iinfo(array.dtype).max)
    return _rgb(array.clip(0, 1))


def _checked(source: Any) -> np.ndarray:
    """Returns an array as `(height, width, 1, 3 or 4)`, uint8, uint16 or float32, uncopied.

    Raises:
        ImageError: it has another shape or type, or values that are not in [0, 1], to rounding.
    """
    try:
        array = np.asarray(source)
    except ValueError:
        array = np.asarray(None)  # Rows of unlike lengths; refused below for its shape.
    expected = (
        "expected (height, width, 3), uint8, uint16 or floating point in [0, 1]; 1 or 4 channels "
        "and a leading 1 are accepted too"
    )
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        raise errors.ImageError(f"a picture has the shape {array.shape}; {expected}.")
    if array.dtype in (np.uint8, np.uint16):
        return array
    array = array.astype(np.float32, copy=False) if array.dtype.kind in "fV" else array
    if array.dtype != np.float32:
        raise errors.ImageError(f"a picture has the type {array.dtype}; {expected}.")
    low, high = float(array.min()), float(array.max())
    if not (low >= -1e-4 and high <= 1 + 1e-4):
        raise errors.ImageError(
            f"a picture holds values from {low:g} to {high:g}; {expected}. Divide 0 to 255 by 255."
        )
    return array


def _rgb(array: np.ndarray) -> np.ndarray:
    planes = array if array.ndim == 3 else array[..., None]
    return np.repeat(planes, 3, axis=-1) if planes.shape[2] == 1 else planes


def _picture(array: np.ndarray) -> Picture:
    """Splits alpha off, and gives transparent pixels the average visible colour."""
    rgb = np.ascontiguousarray(array[..., :3])
    if array.shape[2] == 3 or array[..., 3].min() == 1:
        return Picture(_compact(rgb))
    alpha = np.ascontiguousarray(array[..., 3])
    if not alpha.any():
        raise errors.ImageError("the picture is fully transparent; expected something to see.")
    average = np.average(rgb.reshape(-1, 3), axis=0, weights=alpha.ravel())
    return Picture(np.where(alpha[..., None] > 0, rgb, average.astype(np.float32)), alpha)


def _compact(rgb: np.ndarray) -> np.ndarray:
    """Returns float32 pixels in a quarter of the memory, if they were read from 8 bits."""
    compact = np.rint(rgb * 255).astype(np.uint8)
    return compact if np.array_equal(compact.astype(np.float32) / 255, rgb) else rgb


# Writing.


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuses a picture path that `save` could not write to, before any work is done.

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
        path: the file; its suffix, a key of `FORMATS`, chooses the format. A link is written
            through.
        alpha: opacity of shape `(height, width)` in [0, 1], in place of the picture's own. JPEG
            has none: the picture is laid on white.
        recipe: text kept in the file's metadata, for `read_recipe`. One that is too long for a
            JPEG is left out, with a warning.
        bit_depth: bits a channel, 8, or 16 for PNG.
        overwrite: replace a file that is there.

    Raises:
        ImageError: the picture has another shape, type or range.
        ExistingOutputError: a file is there, or comes in the meantime, and `overwrite` is False.
        OutputError: the file cannot be written; what was there before is untouched.
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
    except (OSError, ValueError, MemoryError) as error:  # An encoder that refuses raises any.
        raise errors.OutputError(
            f"{path}: cannot write the picture ({errors.reason(error)})."
        ) from error


def _split(image: Any, alpha: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns colours `(h, w, 1 or 3)` and opacity `(h, w)`, of whatever type they have."""
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
    """Returns what a file holds, uint8 or uint16 `(h, w, 3 or 4)`, made in bands to save memory.

    Args:
        colours: `(h, w, 1 or 3)`, uint8, uint16 or float32 in [0, 1], to rounding.
        alpha: `(h, w)`, likewise, or None.
        bit_depth: bits of a sample.
        on_white: lay the picture on white.
    """
    height, width = colours.shape[:2]
    kind, highest = (np.uint8, 255) if bit_depth == 8 else (np.uint16, 65535)
    samples = np.empty((height, width, 3 if alpha is None or on_white else 4), kind)
    exact = np.float32 if bit_depth == 8 else np.float64
    step = max(1, _BAND // width)
    for rows in (slice(top, top + step) for top in range(0, height, step)):
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


_BAND = 1 << 20  # Pixels that are converted at once.
_LONGEST_EXIF = {"JPEG": 65533}
"""Bytes that the format holds."""
_ENCODER_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
    "TIFF": {"compression": "tiff_deflate"},
}


def _encode_shallow(samples: np.ndarray, kind: str, recipe: str, file: io.BufferedWriter) -> None:
    options = {**_ENCODER_OPTIONS.get(kind, {}), **_metadata(kind, recipe)}
    Image.fromarray(samples).save(file, kind, **options)


def _metadata(kind: str, recipe: str) -> dict[str, Any]:
    """Returns the options with which Pillow keeps a recipe."""
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
    """Returns the recipe that `save` left in a picture, or an empty text where there is none.

    Raises:
        ImageError: the file cannot be read as a picture.
    """
    with _opened(path, MAX_PIXELS) as image:
        try:
            image.load()
            text = getattr(image, "text", {}).get(_RECIPE_KEY)
            return text or str(image.getexif().get(ExifTags.Base.ImageDescription, ""))
        except _DAMAGED:
            return ""
