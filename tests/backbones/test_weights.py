"""Weights: where they are looked for, how they are fetched, and what is read from a file."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from nst_tf import errors
from nst_tf.backbones import Architecture, Backbone, vgg16, vgg19, weights
from nst_tf.config import vgg_layers as layer_names

FILTERS = (4, 5, 6, 8, 8)
"""Filters of each block of the small networks, in place of 64, 128, 256, 512 and 512."""


def small_network(name: str, include_top: bool) -> keras.Model:
    """Returns a VGG with the true layers and names, but few filters."""
    inputs = x = keras.Input((32, 32, 3))
    for layer in layer_names.names(name):
        if layer.endswith("pool"):
            x = keras.layers.MaxPooling2D(name=layer)(x)
        else:
            filters = FILTERS[int(layer[5]) - 1]
            x = keras.layers.Conv2D(
                filters, 3, padding="same", bias_initializer="normal", name=layer
            )(x)
    if include_top:
        x = keras.layers.Dense(5, name="fc1")(keras.layers.Flatten()(x))
        x = keras.layers.Dense(2, name="predictions")(x)
    return keras.Model(inputs, x)


def small(name: str, **changes: object) -> Architecture:
    """Returns the small stand-in of an architecture."""
    true = {"vgg16": vgg16.ARCHITECTURE, "vgg19": vgg19.ARCHITECTURE}[name]

    def application(include_top: bool, weights: None) -> keras.Model:
        return small_network(name, include_top)

    return dataclasses.replace(true, application=application, **changes)


def convolutions(model: keras.Model) -> dict[str, list[np.ndarray]]:
    return {
        layer.name: layer.get_weights()
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
    }


def write(model: keras.Model, path: Path) -> Path:
    """Saves as Keras does: `.h5` files weights by name, `.weights.h5` by position."""
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    return path


def assert_same(found: dict[str, list[np.ndarray]], expected: dict[str, list[np.ndarray]]) -> None:
    assert found.keys() == expected.keys()
    for name, arrays in expected.items():
        for array, other in zip(found[name], arrays, strict=True):
            np.testing.assert_array_equal(array, other, err_msg=name)


@pytest.fixture(scope="module")
def weight_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the small VGG16 in the present form of Keras."""
    path = tmp_path_factory.mktemp("weights") / "vgg16.weights.h5"
    return write(small_network("vgg16", include_top=False), path)


@pytest.fixture(scope="module")
def shapes() -> dict[str, tuple[int, ...]]:
    return weights.convolution_shapes(small("vgg16"))


# Reading.


@pytest.mark.parametrize("include_top", [False, True], ids=["no top", "top"])
@pytest.mark.parametrize("suffix", [".h5", ".weights.h5"])
@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_weights_that_keras_saved_are_read(
    tmp_path: Path, name: str, suffix: str, include_top: bool
):
    model = small_network(name, include_top)
    path = write(model, tmp_path / f"saved{suffix}")
    shapes = weights.convolution_shapes(small(name))
    assert_same(weights.read(path, shapes), convolutions(model))


def test_weights_of_a_trained_model_are_read_without_its_optimizer(tmp_path: Path):
    model = small_network("vgg16", include_top=True)
    model.compile("adam", "mse")
    model.train_on_batch(np.ones((1, 32, 32, 3)), np.ones((1, 2)))
    path = write(model, tmp_path / "trained.weights.h5")
    shapes = weights.convolution_shapes(small("vgg16"))
    assert_same(weights.read(path, shapes), convolutions(model))


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_convolution_shapes_are_those_of_the_true_network(name: str):
    architecture = {"vgg16": vgg16.ARCHITECTURE, "vgg19": vgg19.ARCHITECTURE}[name]
    model = architecture.application(include_top=False, weights=None, input_shape=(32, 32, 3))
    expected = {name: arrays[0].shape for name, arrays in convolutions(model).items()}
    assert weights.convolution_shapes(architecture) == expected


def test_bundled_weights_fit_the_true_vgg16():
    path = Path(weights.__file__).parent / vgg16.ARCHITECTURE.bundled
    read = weights.read(path, weights.convolution_shapes(vgg16.ARCHITECTURE))
    assert {array.dtype for arrays in read.values() for array in arrays} == {np.dtype(np.float32)}


def test_backbone_computes_with_the_weights_of_the_file(tmp_path: Path):
    model = small_network("vgg16", include_top=False)
    path = write(model, tmp_path / "saved.weights.h5")
    found = weights.locate([small("vgg16")], str(path))
    backbone = Backbone(["block5_conv3"], found.architecture, found)
    assert_same(convolutions(backbone), convolutions(model))


def unfit_file(kind: str, folder: Path, weight_file: Path) -> Path:
    """Makes a file from which the weights of the small VGG16 cannot be had."""
    path = folder / "unfit.h5"
    if kind == "text":
        path.write_text("These are no weights.\n" * 100)
    elif kind == "empty":
        path.touch()
    elif kind == "truncated":
        path.write_bytes(weight_file.read_bytes()[:-5000])
    elif kind == "folder":
        path.mkdir()
    elif kind == "other network":
        write(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)]), path)
    elif kind == "other filters":
        write(keras.applications.VGG16(include_top=False, weights=None), path)
    elif kind == "vgg19 by name":
        write(small_network("vgg19", include_top=False), path)
    elif kind == "vgg19 by position":
        path = folder / "unfit.weights.h5"
        write(small_network("vgg19", include_top=False), path)
    elif kind in ("nan", "infinite"):
        model = small_network("vgg16", include_top=False)
        kernel, bias = model.get_layer("block3_conv2").get_weights()
        kernel[1, 2, 3, 4] = np.nan if kind == "nan" else np.inf
        model.get_layer("block3_conv2").set_weights([kernel, bias])
        write(model, path)
    return path


UNFIT = ("missing", "text", "empty", "truncated", "folder", "other network", "other filters",
         "vgg19 by position", "nan", "infinite")  # fmt: skip


@pytest.mark.parametrize("kind", UNFIT)
def test_unfit_file_is_refused_by_name(
    tmp_path: Path, weight_file: Path, shapes: dict[str, tuple[int, ...]], kind: str
):
    path = unfit_file(kind, tmp_path, weight_file)
    with pytest.raises(errors.WeightsError) as caught:
        weights.read(path, shapes)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", [*UNFIT, "vgg19 by name"])
def test_unfit_file_given_by_hand_is_refused_by_name(tmp_path: Path, weight_file: Path, kind: str):
    path = unfit_file(kind, tmp_path, weight_file)
    with pytest.raises(errors.WeightsError) as caught:
        weights.locate([small("vgg16")], str(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.6, 0.9])
def test_file_with_a_hole_is_read_or_refused_but_never_a_crash(
    tmp_path: Path, weight_file: Path, shapes: dict[str, tuple[int, ...]], share: float
):
    content = bytearray(weight_file.read_bytes())
    start = int(share * len(content))
    content[start : start + 600] = b"\xff" * 600
    (tmp_path / "hole.h5").write_bytes(content)
    with contextlib.suppress(errors.WeightsError):
        assert weights.read(tmp_path / "hole.h5", shapes)


# Files that somebody made to do harm.


KERNEL, SHAPE = "block1_conv2/kernel", (3, 3, 4, 4)


def with_kernel(*arguments: object, **settings: object) -> Callable[[h5py.File], object]:
    """Returns a function that puts another dataset in the place of a kernel."""

    def change(file: h5py.File) -> None:
        del file[KERNEL]
        file.create_dataset(KERNEL, *arguments, **settings)

    return change


def with_mean(value: object) -> Callable[[h5py.File], object]:
    return lambda file: file.attrs.__setitem__("mean", value)


def with_link(link: object) -> Callable[[h5py.File], object]:
    """Returns a function that puts a link in the place of a kernel."""

    def change(file: h5py.File) -> None:
        del file[KERNEL]
        file[KERNEL] = link

    return change


def virtual(file: h5py.File) -> None:
    """Has a kernel taken from a pipe, which is opened for its shape, and never answers."""
    layout = h5py.VirtualLayout(SHAPE, "f4", maxshape=(None, *SHAPE[1:]))
    pipe = os.path.join(os.path.dirname(file.filename), "pipe")
    layout[:] = h5py.VirtualSource(pipe, "x", SHAPE, maxshape=(None, *SHAPE[1:]))[:]
    del file[KERNEL]
    file.create_virtual_dataset(KERNEL, layout)


def deep(file: h5py.File) -> None:
    group: h5py.Group = file
    for _ in range(2000):
        group = group.create_group("a")


def many(file: h5py.File) -> None:
    for index in range(4100):
        file.create_group(f"many/{index}")


FLOATS = np.zeros(SHAPE, np.float32)
HOSTILE: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "texts": (with_kernel(data=np.full(SHAPE, b"abc")), "no floating-point numbers"),
    "texts of any length": (with_kernel(SHAPE, h5py.string_dtype()), "no floating-point numbers"),
    "references": (with_kernel(SHAPE, h5py.ref_dtype), "no floating-point numbers"),
    "compound": (with_kernel(SHAPE, [("a", "f4"), ("b", "f4")]), "no floating-point numbers"),
    "opaque": (with_kernel(data=np.zeros(SHAPE, "V4")), "no floating-point numbers"),
    "complex": (with_kernel(data=FLOATS.astype("c8")), "no floating-point numbers"),
    "integers": (with_kernel(data=FLOATS.astype("i4")), "no floating-point numbers"),
    "too large for 32 bits": (with_kernel(data=np.full(SHAPE, 1e300)), "not all finite"),
    "NaN": (with_kernel(data=FLOATS * np.nan), "not all finite"),
    "never written": (with_kernel(SHAPE, "f4"), "h5repack"),
    "compressed": (with_kernel(data=FLOATS, compression="gzip"), "h5repack"),
    "a large chunk": (
        with_kernel(SHAPE, "f4", maxshape=(None,) * 4, chunks=(3, 3, 1000, 1000)),
        "h5repack",
    ),
    "a terabyte": (with_kernel((1 << 38,), "f4", chunks=(1 << 20,)), "holds no weights"),
    "a terabyte of four dimensions": (
        with_kernel((1 << 10,) * 4, "f4", chunks=(1, 1, 1024, 1024)),
        "of shape",
    ),
    "many biases": (
        lambda file: [file.create_dataset(f"block1_conv2/{i}", (4,)) for i in range(99)],
        "and 99 more",
    ),
    "bytes of another file": (
        with_kernel(SHAPE, "f4", external=[("/dev/zero", 0, FLOATS.nbytes)]),
        "refers to other files",
    ),
    "virtual": (virtual, "refers to other files"),
    "an external link": (with_link(h5py.ExternalLink("pipe", "x")), "holds no weights"),
    "a soft link to itself": (with_link(h5py.SoftLink(f"/{KERNEL}")), "holds no weights"),
    "deep": (deep, "holds more than"),
    "many": (many, "holds more than"),
    **{
        f"mean is {name}": (with_mean(value), "`mean` is not three numbers")
        for name, value in {
            "text": "x",
            "texts": ["x"] * 3,
            "short": [1.0, 2.0],
            "long": [1.0] * 5,
            "scalar": 3.0,
            "nan": [np.nan] * 3,
            "infinite": [np.inf] * 3,
            "negative": [-1.0] * 3,
            "large": [256.0] * 3,
            "matrix": [[1.0] * 3] * 3,
            "empty": h5py.Empty("f4"),
        }.items()
    },
}


@pytest.fixture(scope="module")
def named_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the small VGG16 by name, as the bundled ones are."""
    path = tmp_path_factory.mktemp("named") / "vgg16.h5"
    with h5py.File(path, "w") as file:
        for name, arrays in convolutions(small_network("vgg16", include_top=False)).items():
            file[f"{name}/kernel"], file[f"{name}/bias"] = arrays
    return path


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_file_is_refused_in_a_sentence(tmp_path: Path, named_file: Path, kind: str):
    change, words = HOSTILE[kind]
    os.mkfifo(tmp_path / "pipe")
    path = shutil.copy(named_file, tmp_path / "hostile.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(errors.WeightsError) as caught:
        weights.locate([small("vgg19"), small("vgg16")], str(path))
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and words in message
    assert len(message) < len(str(path)) + 250 and message.isprintable()


def test_what_is_not_of_the_network_is_not_read(tmp_path: Path, named_file: Path):
    os.mkfifo(tmp_path / "pipe")
    path = Path(shutil.copy(named_file, tmp_path / "more.h5"))
    with h5py.File(path, "r+") as file:
        file.create_dataset("z/terabyte", (1 << 38,), "f4", chunks=(1 << 20,))
        file.create_dataset("z/texts", data=np.full(SHAPE, b"abc"))
        file["z/pipe"] = h5py.ExternalLink("pipe", "x")
        file["z/loop"] = h5py.SoftLink("/z")
        file["z/root"] = file["/"]
    shapes = weights.convolution_shapes(small("vgg16"))
    assert_same(weights.read(path, shapes), weights.read(named_file, shapes))
    assert weights.locate([small("vgg16")], str(path)).mean == vgg16.ARCHITECTURE.mean


@pytest.mark.parametrize("path, words", [("folder", "is a folder"), ("pipe", "not a regular file"),
                                         ("/dev/zero", "not a regular file"),
                                         ("huge", "too large")])  # fmt: skip
def test_what_is_no_file_is_not_opened(tmp_path: Path, path: str, words: str):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 1 << 40)
    with pytest.raises(errors.WeightsError, match=f"{path}: is .*{words}|{path}: {words}"):
        weights.locate([small("vgg16")], str(tmp_path / path))


def test_a_noted_mean_is_taken(tmp_path: Path, named_file: Path):
    path = Path(shutil.copy(named_file, tmp_path / "noted.h5"))
    with h5py.File(path, "r+") as file:
        file.attrs["mean"] = [103.53, 116.28, 123.675]
    found = weights.locate([small("vgg16")], str(path))
    assert (found.mean, found.origin) == ((103.53, 116.28, 123.675), "torchvision")


# Looking.


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Keras cache."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "keras" / "models").mkdir(parents=True)
    return tmp_path / "keras" / "models"


def unreachable() -> str:
    """Returns the address of a weight file behind a port where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/file.h5"


def sum_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_given_path_comes_first(cache: Path, weight_file: Path):
    content = b"weights in the cache"
    (cache / "file.h5").write_bytes(content)
    architecture = small("vgg16", url=unreachable(), md5=sum_of(content))
    found = weights.locate([architecture], str(weight_file))
    assert (found.path, found.source) == (weight_file, str(weight_file))
    assert found.sha256 == hashlib.sha256(weight_file.read_bytes()).hexdigest()


def test_given_path_chooses_the_network_that_it_fits(weight_file: Path):
    found = weights.locate([small("vgg19"), small("vgg16")], str(weight_file))
    assert found.architecture.name == "vgg16"


def test_whole_file_in_the_cache_is_used(cache: Path):
    content = b"weights in the cache"
    (cache / "file.h5").write_bytes(content)
    architecture = small("vgg16", url=unreachable(), md5=sum_of(content))
    found = weights.locate([architecture])
    assert (found.path, found.source) == (cache / "file.h5", "the Keras cache")
    assert found.sha256 == hashlib.sha256(content).hexdigest()


def test_bundled_file_needs_no_network(cache: Path):
    found = weights.locate([small("vgg16", url=unreachable())])
    assert (found.path.name, found.source) == ("vgg16_imagenet.h5", "the package")


def test_damaged_file_in_the_cache_does_not_hide_the_bundled_one(cache: Path):
    (cache / "file.h5").write_bytes(b"half a downl")
    found = weights.locate([small("vgg16", url=unreachable())])
    assert found.source == "the package"


def test_auto_falls_back_to_vgg16_with_one_warning(cache: Path, caplog: pytest.LogCaptureFixture):
    candidates = [small("vgg19", url=unreachable()), small("vgg16", url=unreachable())]
    found = weights.locate(candidates)
    assert found.architecture.name == "vgg16"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "vgg19" in caplog.text and "vgg16" in caplog.text and "refused" in caplog.text


def test_vgg19_without_weights_is_refused_at_once_with_a_way_out(cache: Path):
    start = time.perf_counter()
    with pytest.raises(errors.WeightsError) as caught:
        weights.locate([small("vgg19", url=unreachable())])
    assert time.perf_counter() - start < 3
    for word in ("vgg19", "refused", "--backbone=vgg16", "--weights"):
        assert word in str(caught.value)


def test_cache_folder_is_that_of_keras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    content = b"fetched by Keras"
    (tmp_path / "source.h5").write_bytes(content)
    kept = keras.utils.get_file(
        "file.h5", (tmp_path / "source.h5").as_uri(), cache_dir=tmp_path, cache_subdir="models"
    )
    found = weights.locate([small("vgg19", url=unreachable(), md5=sum_of(content))])
    assert found.path == Path(kept)


# Fetching.


class Server(http.server.ThreadingHTTPServer):
    """Serves one content, whole or cut short, with its length announced or in chunks."""

    def __init__(self, content: bytes, fault: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.fault = content, fault
        self.url = f"http://127.0.0.1:{self.server_port}/file.h5"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        content, fault = self.server.content, self.server.fault
        self.send_response(404 if fault == "missing" else 200)
        if fault == "chunks cut short":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n" % len(content) + content[: len(content) // 2])
        else:
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if fault == "cut short" else content)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Keeps the test run quiet."""


@contextlib.contextmanager
def serving(content: bytes, fault: str = "") -> Iterator[str]:
    """Yields the address of `content` on a server of this machine."""
    server = Server(content, fault)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


CONTENT = os.urandom(700_000)


def test_download_arrives_whole_with_progress(tmp_path: Path):
    calls = []
    target = tmp_path / "new" / "folder" / "file.h5"
    with serving(CONTENT) as url:
        architecture = small("vgg19", url=url, md5=sum_of(CONTENT))
        weights.download(architecture, target, lambda *sizes: calls.append(sizes))
    assert target.read_bytes() == CONTENT
    assert os.listdir(target.parent) == ["file.h5"]
    done, totals = zip(*calls, strict=True)
    assert done[-1] == len(CONTENT) and set(totals) == {len(CONTENT)}
    assert len(done) > 1 and list(done) == sorted(set(done))


def test_located_download_is_kept_in_the_cache(cache: Path):
    with serving(CONTENT) as url:
        architecture = small("vgg19", url=url, md5=sum_of(CONTENT))
        found = weights.locate([architecture])
    assert (found.path, found.source) == (cache / "file.h5", "the Keras download")
    assert weights.locate([architecture]).source == "the Keras cache"


@pytest.mark.parametrize("fault", ["cut short", "chunks cut short", "missing", "other content"])
def test_failed_download_leaves_nothing_behind(tmp_path: Path, fault: str):
    expected = sum_of(b"what was expected" if fault == "other content" else CONTENT)
    with serving(CONTENT, fault) as url, pytest.raises(errors.WeightsError, match="vgg19"):
        weights.download(small("vgg19", url=url, md5=expected), tmp_path / "file.h5")
    assert not os.listdir(tmp_path)


def test_failed_download_leaves_the_old_file(tmp_path: Path):
    (tmp_path / "file.h5").write_bytes(b"old")
    with serving(CONTENT, "cut short") as url, pytest.raises(errors.WeightsError):
        weights.download(small("vgg19", url=url), tmp_path / "file.h5")
    assert (tmp_path / "file.h5").read_bytes() == b"old"


def test_refused_connection_is_a_weights_error(tmp_path: Path):
    with pytest.raises(errors.WeightsError, match="refused"):
        weights.download(small("vgg19", url=unreachable()), tmp_path / "file.h5")
    assert not os.listdir(tmp_path)


def test_bundled_weights_do_when_the_cache_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))
    with serving(CONTENT) as url:
        candidates = [small("vgg19", url=url, md5=sum_of(CONTENT)), small("vgg16")]
        assert weights.locate(candidates).source == "the package"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nstart"])
def test_silent_server_costs_little_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
):
    monkeypatch.setattr(weights, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/file.h5"
        accepted = []

        def accept() -> None:
            accepted.append(listener.accept()[0])
            accepted[0].sendall(answer)

        thread = threading.Thread(target=accept)
        thread.start()
        start = time.perf_counter()
        with pytest.raises(errors.WeightsError, match=r"answer|timed out"):
            weights.download(small("vgg19", url=url), tmp_path / "file.h5")
        assert time.perf_counter() - start < 3
        thread.join()
        accepted[0].close()
    assert not os.listdir(tmp_path)


def test_waiting_for_an_answer_is_short_by_default():
    assert 0 < weights.CONNECT_SECONDS < 10
