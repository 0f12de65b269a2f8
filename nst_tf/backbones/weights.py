"""Finding, fetching and reading the weights of a backbone."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.client
import itertools
import logging
import os
import re
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import h5py
import keras
import numpy as np

from nst_tf import errors
from nst_tf.backbones.architecture import Architecture
from nst_tf.runtime import files

logger = logging.getLogger("nst_tf")

Progress = Callable[[int, int], None]
CONNECT_SECONDS = 8.0
"""Seconds that the weight server may take to answer, and to send each further block."""
INPUT_RANGES = {"caffe": 255.0, "torchvision": 3 / (0.229 + 0.224 + 0.225), "unit": 1.0}
"""Difference of white and black in the input of a network, averaged over the channels.

Without its biases a VGG is homogeneous, so its activations are proportional to this range. The
Keras weights are those of Caffe; `unit` is a network whose pixels were not normalised.
"""
_MOST_OBJECTS = 4000  # Groups and datasets of a file; a trained VGG has some hundreds.
_DEEPEST = 32  # Nested groups; Keras has up to ten.
_LARGEST = 8 << 30  # Bytes of a file; VGG19 with classifier and optimiser has 2 GB.


@dataclasses.dataclass(frozen=True)
class Weights:
    """A weight file for an architecture.

    Attributes:
        architecture: architecture that the weights fit.
        path: path of the file.
        source: source of the file, in words.
        mean: mean that they expect to be subtracted from blue, green and red in 0 to 255.
        sha256: SHA-256 of the file.
        origin: kind of input that they were trained with, a key of `INPUT_RANGES`.
    """

    architecture: Architecture
    path: Path
    source: str
    mean: tuple[float, ...]
    sha256: str
    origin: str


def locate(
    candidates: Sequence[Architecture], path: str = "", progress: Progress | None = None
) -> Weights:
    """Finds weights for the first of `candidates` that has any.

    The order is: `path`; the Keras cache; the file in the package, without a download; the Keras
    download.

    Args:
        candidates: architectures, the best first.
        path: path of a given weight file, which must fit one of them.
        progress: called with the bytes done and the bytes in all during a download.

    Raises:
        WeightsError: no weights are available, or the file at `path` fits no candidate.
    """
    if path:
        return _given(candidates, Path(path))
    failures = []
    for architecture in candidates:
        cached = _cache_folder() / architecture.url.rsplit("/", 1)[1]
        bundled = Path(__file__).parent / architecture.bundled
        try:
            if _has_md5(cached, architecture.md5):
                source = "the Keras cache"
            elif architecture.bundled:
                cached, source = bundled, "the package"
            else:
                source = "the Keras download"
                download(architecture, cached, progress)
        except errors.WeightsError as error:
            failures.append(str(error))
            continue
        for failure in failures:
            logger.warning(
                "%s Using %s instead, which gives another picture than %s.",
                failure, architecture.name, candidates[0].name,
            )  # fmt: skip
        noted = _noted_mean(cached) if cached == bundled else None
        return _weights(architecture, cached, source, noted)
    raise errors.WeightsError(
        f"{failures[-1]} The nearest is --backbone=vgg16, whose weights ship with the package; or "
        "give a Keras weight file with --weights=PATH."
    )


def download(architecture: Architecture, target: Path, progress: Progress | None = None) -> None:
    """Fetches the Keras weights of `architecture` into `target`, and checks their hash.

    Raises:
        WeightsError: the server does not answer in `CONNECT_SECONDS`, breaks off, or sends
            another file than expected.
    """
    received = hashlib.new("md5", usedforsecurity=False)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _connect(architecture.url) as response, files.atomic_file(target) as file:
            total, done = int(response.headers.get("Content-Length", 0)), 0
            while block := response.read(1 << 18):
                file.write(block)
                received.update(block)
                done += len(block)
                if progress:
                    progress(done, total)
            if received.hexdigest() != architecture.md5:
                raise errors.WeightsError(
                    f"the {architecture.name} weights arrived damaged ({done} of {total} bytes)."
                )
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise errors.WeightsError(
            f"the {architecture.name} weights could not be fetched ({reason})."
        ) from error


def _connect(url: str) -> http.client.HTTPResponse:
    """Opens `url` within `CONNECT_SECONDS`, name look-up included."""
    outcome: list[http.client.HTTPResponse | Exception] = []

    def connect() -> None:
        try:
            outcome.append(urllib.request.urlopen(url, timeout=CONNECT_SECONDS))
        except Exception as error:
            outcome.append(error)

    # A socket's time limit does not cover name look-up, so the wait is bounded from outside.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    if not outcome:
        raise TimeoutError(f"no answer within {CONNECT_SECONDS:g} seconds")
    if isinstance(outcome[0], Exception):
        raise outcome[0] if isinstance(outcome[0], OSError) else OSError(str(outcome[0]))
    return outcome[0]


def _weights(
    architecture: Architecture, path: Path, source: str, noted: tuple[float, ...] | None
) -> Weights:
    """Describes a file; a noted mean marks weights converted from torchvision."""
    mean, origin = (noted, "torchvision") if noted else (architecture.mean, "caffe")
    return Weights(architecture, path, source, mean, files.file_hash(path), origin)


def _cache_folder() -> Path:
    """Returns the folder in which `keras.applications` keeps its downloads."""
    home = os.path.expanduser("~")
    home = home if os.access(home, os.W_OK) else "/tmp"
    return Path(os.environ.get("KERAS_HOME", os.path.join(home, ".keras"))) / "models"


def _has_md5(path: Path, md5: str) -> bool:
    return path.is_file() and files.file_hash(path, "md5") == md5


def _given(candidates: Sequence[Architecture], path: Path) -> Weights:
    """Returns the weights at `path` for the candidate that they fit."""
    failure = errors.WeightsError(f"{path}: fits no backbone.")
    for architecture in candidates:
        try:
            shapes = convolution_shapes(architecture)
            read(path, shapes)
            with _opened(path) as file:
                surplus = [
                    name
                    for name in _convolutions(path, file)
                    if re.fullmatch(r"block\d_conv\d", name) and name not in shapes
                ]
            if surplus:
                raise errors.WeightsError(
                    f"{path}: holds weights for {surplus[0]}, which {architecture.name} lacks."
                )
            return _weights(architecture, path, str(path), _noted_mean(path))
        except errors.WeightsError as error:
            failure = error
    raise failure


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """Opens a weight file. Any failure of HDF5 on its content becomes a WeightsError."""
    expected = "expected Keras weights (.h5 or .weights.h5)"
    try:
        if path.is_dir():
            raise errors.WeightsError(f"{path}: is a folder; {expected}.")
        if path.exists() and not path.is_file():  # Opening a pipe would wait for ever.
            raise errors.WeightsError(f"{path}: is not a regular file; {expected}.")
        with open(path, "rb") as file:  # Its errors are shorter than those of HDF5.
            size = file.seek(0, os.SEEK_END)
        if size > _LARGEST:
            raise errors.WeightsError(f"{path}: is too large ({size >> 30} GiB); {expected}.")
        with h5py.File(path, "r") as file:
            yield file
    except errors.WeightsError:
        raise
    except FileNotFoundError:
        raise errors.WeightsError(f"{path}: no such file; {expected}.") from None
    except Exception as error:  # A damaged file leads to errors of nearly every class.
        number = getattr(error, "errno", None)
        why = f"cannot be read ({os.strerror(number)})" if number else "not a readable HDF5 file"
        raise errors.WeightsError(f"{path}: {why}; {expected}. Fetch or copy it again.") from error


def _noted_mean(path: Path) -> tuple[float, ...] | None:
    """Returns the mean that a weight file notes for subtraction, or None.

    Raises:
        WeightsError: the note is no such mean.
    """
    with _opened(path) as file:
        if "mean" not in file.attrs:
            return None
        noted = file.attrs.get_id("mean")
        if noted.shape == (3,) and noted.dtype.kind in "fiu":
            mean = tuple(map(float, file.attrs["mean"]))
            if all(0 <= value <= 255 for value in mean):
                return mean
    raise errors.WeightsError(
        f"{path}: its attribute `mean` is not three numbers in 0 to 255: the mean of blue, green "
        "and red that the weights expect to be subtracted."
    )


def convolution_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Returns the kernel shape of every convolution, by layer name, the shallowest first."""
    shapes, channels = {}, 3
    for layer in architecture.layers():
        if isinstance(layer, keras.layers.Conv2D):
            shapes[layer.name] = (*layer.kernel_size, channels, layer.filters)
            channels = layer.filters
    return shapes


def read(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, list[np.ndarray]]:
    """Reads kernels and biases of convolutions from a Keras weight file of any kind.

    Keras files name weights by layer (`block1_conv1/kernel:0`) or by position
    (`layers/conv2d_1/vars/0`). Both kinds work, with or without a classifier on top.

    Args:
        path: path of an HDF5 file.
        shapes: kernel shape by layer name, in the order of the network.

    Returns:
        For each layer, its kernel and its bias, float32.

    Raises:
        WeightsError: the file is missing, damaged, or made for another network.
    """
    with _opened(path) as file:
        stored = _convolutions(path, file)
        found = {name: stored.get(name) for name in shapes}
        if not any(found.values()):
            by_position = (stored[name] for name in sorted(stored, key=_position))
            found = dict(zip(shapes, by_position, strict=False))
        return {name: _read(path, name, found.get(name), shapes[name]) for name in shapes}


def _convolutions(path: Path, file: h5py.File) -> dict[str, list[h5py.Dataset]]:
    """Returns the datasets below every group with a 4-dimensional one, by the group's name.

    It does not read their values.
    """
    found: dict[str, list[h5py.Dataset]] = {}
    count = itertools.count(1)

    def visit(place: str, item: object) -> None:
        parts = place.split("/")
        if next(count) > _MOST_OBJECTS or len(parts) > _DEEPEST:
            raise errors.WeightsError(f"{path}: holds more than the weights of a network.")
        if not isinstance(item, h5py.Dataset):
            return
        if item.is_virtual or item.external:  # Their shape alone may open another file.
            raise errors.WeightsError(f"{path}: refers to other files; expected all in one.")
        if item.ndim in (1, 4) and "optimizer" not in place:
            groups = [part for part in parts[:-1] if part != "vars"]
            found.setdefault(groups[-1] if groups else "", []).append(item)

    file.visititems(visit)
    return {
        name: sorted(items, key=lambda item: item.ndim, reverse=True)
        for name, items in found.items()
        if any(item.ndim == 4 for item in items)
    }


def _position(name: str) -> int:
    """Returns 0 for `conv2d`, 1 for `conv2d_1`, and so on."""
    match = re.search(r"_(\d+)$", name)
    return int(match[1]) if match else 0


def _read(
    path: Path, name: str, stored: list[h5py.Dataset] | None, shape: tuple[int, ...]
) -> list[np.ndarray]:
    """Returns kernel and bias of a layer, after a check of their shape, type and values."""
    if not stored:
        raise errors.WeightsError(f"{path}: holds no weights for {name}; made for another network.")
    if [item.shape for item in stored] != [shape, shape[-1:]]:
        shown = " and ".join(str(item.shape) for item in stored[:2])
        more = f" and {len(stored) - 2} more" if stored[2:] else ""
        raise errors.WeightsError(
            f"{path}: {name} has weights of shape {shown}{more}; expected {shape} and {shape[-1:]}."
        )
    if not all(item.dtype.kind == "f" and item.dtype.itemsize <= 8 for item in stored):
        raise errors.WeightsError(f"{path}: the weights of {name} are no floating-point numbers.")
    if not all(map(_is_plain, stored)):
        raise errors.WeightsError(
            f"{path}: the weights of {name} are compressed, in chunks or not there; expected them "
            "as Keras saves them. `h5repack -f NONE -l CONTI OLD NEW` unpacks a file."
        )
    with np.errstate(over="ignore"):
        arrays = [item[()].astype(np.float32) for item in stored]
    if not all(np.isfinite(array).all() for array in arrays):
        raise errors.WeightsError(f"{path}: the weights of {name} are not all finite numbers.")
    return arrays


def _is_plain(item: h5py.Dataset) -> bool:
    """Returns whether a file holds a dataset uncompressed, so that it cannot grow when read."""
    layout = item.id.get_create_plist().get_layout()
    return (
        layout in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
        and item.id.get_storage_size() == item.size * item.dtype.itemsize
    )
