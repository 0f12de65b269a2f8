"""Weights: where they are looked for, how they are fetched, and what is read from a file."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from nst_tf import errors
from nst_tf import layers as layer_names
from nst_tf.backbones import Architecture, Backbone, vgg16, vgg19, weights

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
