"""Minimal filtering against SciPy in float64, and where a layer takes it."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
import scipy.signal
import tensorflow as tf

from nst_tf import backbones, config, kernels, objective, optimizers
from nst_tf.backbones.convolution import FrozenConv2D
from nst_tf.engine import steps
from nst_tf.imaging import pyramid
from nst_tf.kernels import convolution, winograd
from nst_tf.runtime import backend
from nst_tf.tiling import memory, tiles


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def correlated(inputs, kernel):
    """Returns the convolution of networks, with zeros around, in float64."""
    inputs, kernel = np.float64(inputs), np.float64(kernel)
    channels, filters = kernel.shape[2:]
    return np.stack(
        [
            sum(
                scipy.signal.correlate(inputs[..., c], kernel[..., c, f], "same", "direct")
                for c in range(channels)
            )
            for f in range(filters)
        ],
        axis=-1,
    )


def convolve(inputs, kernel, turned=False, **options):
    filters = kernel.shape[2 if turned else 3]
    outputs = np.full((*inputs.shape[:2], filters), np.nan, np.float32)
    winograd.convolve(inputs, winograd.spectrum(kernel), outputs, turned=turned, **options)
    return outputs


def relative_error(found, expected):
    return np.linalg.norm(np.float64(found) - expected) / np.linalg.norm(expected)


KERNELS = {"avx2", "avx512f"} & {backend.vector_instructions()}
needs_kernels = pytest.mark.skipif(not KERNELS, reason="a processor without AVX2")

SIZES = [(1, 1), (2, 7), (4, 4), (5, 8), (9, 3), (6, 31), (37, 18)]
WAYS = {
    "usual": {},
    "chunks-of-12": {"_BAND": 0, "_CHUNK": 12},
    "a-chunk": {"_BAND": 0},
    "bands-of-12": {"_LONG": 0, "_BAND": 12},
}


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Which the threads share, tiles or spectrum, and in how many parts."""
    for name, value in WAYS[request.param].items():
        monkeypatch.setattr(winograd, name, value)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_it_is_the_convolution(size, way, monkeypatch):
    monkeypatch.setattr(winograd, "_RUN", 160)  # Five tiles, and a rest.
    inputs, kernel, bias = random(*size, 32), random(3, 3, 32, 64), random(64, seed=1)
    expected = correlated(inputs, kernel)
    assert relative_error(convolve(inputs, kernel), expected) < 2e-6
    expected = np.maximum(expected + bias, 0)
    assert relative_error(convolve(inputs, kernel, bias=bias), expected) < 2e-6


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_turned_it_is_the_gradient(size, way):
    upstream, gate, kernel = random(*size, 64), random(*size, 64, seed=1), random(3, 3, 32, 64)
    gate[0, 0, :3] = 0.0  # Closed, as in TensorFlow.
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    expected = correlated(upstream, turned)
    assert relative_error(convolve(upstream, kernel, turned=True), expected) < 2e-6
    expected = correlated(upstream * (gate > 0), turned)
    assert relative_error(convolve(upstream, kernel, turned=True, gate=gate), expected) < 2e-6


def test_hundreds_of_channels_stay_exact():
    """Against TensorFlow in float64; 512 channels are the most that VGG has."""
    inputs, kernel = np.abs(random(23, 30, 512)), random(3, 3, 512, 64)
    expected = tf.nn.conv2d(np.float64(inputs[None]), np.float64(kernel), 1, "SAME")[0]
    assert relative_error(convolve(inputs, kernel), expected.numpy()) < 5e-6


def test_filed_machine_code_depends_on_no_setting():
    """Numba keeps the globals of the process that compiled it, such as a test sets."""
    compiled = [each for each in vars(winograd).values() if hasattr(each, "py_func")]
    assert len(compiled) == 9
    for function in compiled:
        names = function.py_func.__code__.co_names
        assert [name for name in names if name.strip("_").isupper()] == [], function


@pytest.mark.parametrize("turned", [False, True])
def test_what_is_no_number_is_not_hidden(turned):
    inputs = random(8, 8, 32)
    inputs[2, 5, 1] = np.nan
    options = {"turned": True, "gate": 1 + 0 * inputs} if turned else {"bias": random(32)}
    found = convolve(inputs, random(3, 3, 32, 32), **options)
    seen = np.isnan(found).all(axis=-1)
    # The gate is NaN in the same place, and closed there, as in TensorFlow.
    assert not seen.any() if turned else seen[1:4, 4:7].all()
    assert np.isfinite(found[:, :4]).all()


@pytest.mark.parametrize("turned", [False, True])
def test_threads_do_not_change_a_bit(way, turned, monkeypatch):
    inputs, kernel = random(40, 50, 32), random(3, 3, 32, 32)
    expected = convolve(inputs, kernel, turned)
    for threads in (1, 3, 7):
        monkeypatch.setattr(winograd, "THREADS", threads)
        np.testing.assert_array_equal(convolve(inputs, kernel, turned), expected)


def test_several_callers_do_not_disturb_each_other(way):
    cases = [
        (random(20 + i, 30, 32, seed=i), random(3, 3, 32, 32 * (1 + i % 3), seed=i), i == 3)
        for i in range(6)
    ]
    expected = [convolve(*case) for case in cases]
    found = [None] * len(cases)

    def work(index):
        for _ in range(20):
            found[index] = convolve(*cases[index])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(cases))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each, true in zip(found, expected, strict=True):
        np.testing.assert_array_equal(each, true)


@needs_kernels
@pytest.mark.parametrize("features", ["+avx2,+fma", "+sse2"])
def test_other_processors_are_compiled_for(features, tmp_path):
    """They have smaller registers, or none for a product and a sum at once. One thread will do."""
    script = f"""
import sys
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1)
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_winograd as tests
inputs, kernel = tests.random(21, 30, 32), tests.random(3, 3, 32, 64)
expected = tests.correlated(inputs, kernel)
print(tests.winograd.THREADS, tests.relative_error(tests.convolve(inputs, kernel), expected))
"""
    told = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features}
    environment = {**os.environ, **told, "NUMBA_CACHE_DIR": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    threads, error = found.stdout.split()
    assert threads == "1"
    assert float(error) < 2e-6


# As a layer.


def frozen(filters=64, **options):
    return FrozenConv2D(
        filters, 3, padding="same", activation="relu", bias_initializer="random_normal", **options
    )


def taken(layer, picture, upstream):
    with tf.GradientTape() as tape:
        tape.watch(picture)
        outputs = layer(picture)
    return outputs, tape.gradient(outputs, picture, upstream)


def rounds_either_way(layer, picture):
    """Returns what is so close to zero that its ReLU may be open or closed."""
    layer(picture)
    kernel, bias = layer.get_weights()
    opened = []
    for shift in (-1e-4, 1e-4):
        layer.set_weights([kernel, bias + shift])
        opened.append(layer(picture) > 0)
    layer.set_weights([kernel, bias])
    return opened[0] != opened[1]


def graph(function, wanted=True):
    """Returns the function as a graph traced with or without minimal filtering."""

    def traced(*arguments):
        with convolution.minimal_filtering(wanted):
            return function(*arguments)

    return tf.function(traced, autograph=False)


def calls_python(function, *arguments):
    nodes = function.get_concrete_function(*arguments).graph.as_graph_def(add_shapes=False)
    every = [*nodes.node, *(node for each in nodes.library.function for node in each.node_def)]
    return any("PyFunc" in node.op for node in every)


@needs_kernels
@pytest.mark.parametrize("mode", ["zeros", *convolution.PADDINGS])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_layer_filters_minimally(mode, batch):
    layer = frozen()
    layer.padding_mode = mode
    picture, upstream = (tf.constant(random(batch, 11, 14, 64, seed=i)) for i in (1, 2))
    upstream = tf.where(rounds_either_way(layer, picture), 0.0, upstream)
    expected = taken(layer, picture, upstream)
    run = graph(lambda *given: taken(layer, *given))
    assert calls_python(run, picture, upstream)
    for found, true in zip(run(picture, upstream), expected, strict=True):
        assert found.shape == true.shape
        assert relative_error(found, true.numpy()) < 3e-6
    with convolution.minimal_filtering():
        for found, true in zip(taken(layer, picture, upstream), expected, strict=True):
            assert relative_error(found, true.numpy()) < 3e-6


@needs_kernels
@pytest.mark.parametrize("mode", ["zeros", *convolution.PADDINGS])
def test_a_layer_that_filters_minimally_is_gone_back_through_by_its_switches(mode):
    layer = frozen()
    layer.padding_mode = mode
    picture, upstream = (tf.constant(random(1, 11, 14, 64, seed=i)) for i in (1, 2))
    outputs, expected = taken(layer, picture, upstream)

    @graph
    def back(upstream, outputs):
        return layer.backward(upstream, layer.switches(picture, outputs), tf.constant([11, 14]))

    assert calls_python(back, upstream, outputs)
    assert relative_error(back(upstream, outputs), expected.numpy()) < 3e-6


@needs_kernels
@pytest.mark.parametrize("how", ["set_weights", "load_weights"])
def test_new_weights_are_taken_even_by_old_graphs(how, tmp_path):
    layer, other = (frozen(name="layer") for _ in range(2))
    picture = tf.constant(random(1, 9, 9, 64))
    run = graph(layer)
    run(picture)
    expected = other(picture)
    if how == "set_weights":
        layer.set_weights(other.get_weights())
    else:
        models = [keras.Sequential([keras.Input((9, 9, 64)), each]) for each in (other, layer)]
        models[0].save_weights(tmp_path / "model.weights.h5")
        models[1].load_weights(tmp_path / "model.weights.h5")
    assert relative_error(run(picture), expected.numpy()) < 3e-6


@needs_kernels
@pytest.mark.parametrize(
    ("options", "channels"),
    [
        ({"filters": 63}, 64),
        ({"filters": 80}, 64),
        ({}, 63),
        ({"dtype": "float64"}, 64),
        ({"dtype": "mixed_bfloat16"}, 64),
    ],
    ids=str,
)
def test_other_layers_are_computed_as_ever(options, channels):
    layer = frozen(**options)
    picture = tf.constant(random(1, 9, 9, channels), layer.compute_dtype)
    assert not calls_python(graph(layer), picture)


@needs_kernels
def test_it_is_only_done_where_it_is_asked_for():
    layer, picture = frozen(), tf.constant(random(1, 9, 9, 64))
    assert calls_python(graph(layer), picture)
    assert not calls_python(graph(layer, wanted=False), picture)
    assert not calls_python(tf.function(layer, autograph=False), picture)


@needs_kernels
@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_graphs_of_the_package_do_unless_xla_compiles_them(jit_compile, monkeypatch):
    settings = config.StyleTransferConfig(
        backbone="vgg16",
        style_layers="block1_conv1",
        content_layers="block1_conv2",
        style_loss="gram",
    )
    backbone = backbones.build("vgg16", objective.used_layers(settings))
    whole = objective.Objective.from_config(settings, backbone)
    photo, everywhere = tf.random.stateless_uniform((1, 12, 20, 3), (1, 2)), tf.ones((1, 1, 1, 1))
    measure = steps.compile_targets(whole, "content")
    assert calls_python(measure, photo, everywhere)
    targets = measure(photo, everywhere) | steps.compile_targets(whole, "style")(photo, everywhere)
    optimizer = optimizers.Guarded(optimizers.get(settings.optimizer, settings))
    state = {name: tf.Variable(value) for name, value in optimizer.init(photo, 9).items()}
    step = steps.compile_step(whole, optimizer, jit_compile=jit_compile)
    calls, convolve = [], winograd.convolve

    def counted(*arrays, **options):
        calls.append(options["turned"])
        convolve(*arrays, **options)

    monkeypatch.setattr(winograd, "convolve", counted)
    step(tf.Variable(photo), state, targets)
    assert calls == ([] if jit_compile else [False, True])  # Forward and backward.


@needs_kernels
def test_what_it_keeps_is_counted(monkeypatch):
    backbone = backbones.build("vgg16", ("block5_conv1",))
    kernels = [layer.kernel for layer in backbone.layers if isinstance(layer, FrozenConv2D)]
    spectra = sum(winograd.spectrum(kernel.numpy()).nbytes for kernel in kernels[1:])

    def expected(**changes):
        settings = config.StyleTransferConfig(**changes)
        level = pyramid.Level(64, 96, 9)
        return memory.expected(settings, backbone.costs(), level, tiles.WHOLE)

    exact = expected(precision="float32")
    found = [exact, expected(precision="bfloat16"), expected(jit_compile=True)]
    monkeypatch.setattr(convolution, "minimal_filters", lambda: None)
    without = expected(precision="float32")
    assert found[0] - without == pytest.approx(spectra, rel=1e-3)
    assert found[1:] == [expected(precision="bfloat16"), without]


@pytest.mark.parametrize("lack", ["Numba", "instructions", "kernels"])
def test_where_it_cannot_be_done_it_is_not(lack, monkeypatch):
    if lack == "Numba":
        monkeypatch.setitem(sys.modules, "numba", None)
        monkeypatch.delitem(sys.modules, "nst_tf.kernels.winograd")
        monkeypatch.delattr(kernels, "winograd")
    elif lack == "instructions":
        monkeypatch.setattr(backend, "vector_instructions", lambda: "")
    else:  # As with a GPU.
        monkeypatch.setattr(convolution, "linear_kernel", lambda: None)
    assert convolution.minimal_filters.__wrapped__() is None


def test_where_numba_compiles_nothing_it_is_not_done_either(monkeypatch):
    monkeypatch.setattr(winograd.numba.config, "DISABLE_JIT", 1)
    monkeypatch.delitem(sys.modules, "nst_tf.kernels.winograd")
    monkeypatch.delattr(kernels, "winograd")
    assert convolution.minimal_filters.__wrapped__() is None


def doubled(numbers):
    for i in range(numbers.size):
        numbers[i] *= 2


def compiled_and_run():
    numbers = np.arange(3.0)
    winograd._compiled(doubled)(numbers)
    np.testing.assert_array_equal(numbers, [0.0, 2.0, 4.0])


def test_without_a_folder_for_machine_code_it_is_compiled_all_the_same(monkeypatch):
    def refuse(function):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(winograd, "_Filed", refuse)
    compiled_and_run()


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", [b"", b"garbage", "half"])
def test_damaged_machine_code_is_compiled_anew_and_told_once(
    kind, damage, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(winograd.numba.config, "CACHE_DIR", str(tmp_path))
    compiled_and_run()
    (filed,) = tmp_path.rglob(f"*.{kind}")
    whole = filed.read_bytes()
    filed.write_bytes(whole[: len(whole) // 2] if damage == "half" else damage)
    for _ in range(2):
        compiled_and_run()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(filed.parent) in caplog.text
    assert filed.stat().st_size > 100


def test_machine_code_that_cannot_be_filed_is_used_all_the_same(tiny_disk, monkeypatch, caplog):
    monkeypatch.setattr(winograd.numba.config, "CACHE_DIR", str(tiny_disk))
    (tiny_disk / "full").write_bytes(bytes(1 << 16))
    compiled_and_run()
    assert "could not be written" in caplog.text
