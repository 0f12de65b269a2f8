"""The public `stylize` and `StyleTransfer`: inputs, results, repeatability and side effects."""

import collections
import contextlib
import dataclasses
import gc
import math
import os
import subprocess
import sys
import textwrap
from concurrent import futures
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import nst_tf
from nst_tf import backbones, callbacks, errors, losses, objective, optimizers
from nst_tf.engine import steps
from nst_tf.imaging import images, pyramid
from nst_tf.kernels import convolution
from nst_tf.runtime import backend
from nst_tf.tiling import bands

ROOT = Path(nst_tf.__file__).parents[1]
BUNDLED = Path(backbones.__file__).with_name("vgg16_imagenet.h5")
SETTINGS = nst_tf.StyleTransferConfig(
    backbone="vgg16",
    precision="float32",
    weights=str(BUNDLED),
    image_size=48,
    levels=1,
    steps=(2,),
    content_layers=("block2_conv1",),
    style_layers=("block1_conv1", "block3_conv1"),
    style_loss="gram",
    color="style",
    init_noise=0.5,
    level_factor=2**0.5,
    content_weight=1.0,
    style_weight=10.0,
    pooling="max",
    optimizer="adam",
    learning_rate=0.02,
    device="cpu",
)


def pixels(seed, height=40, width=48):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


PHOTO, PAINTING = pixels(0), pixels(1, 56, 44)


@pytest.fixture(scope="module")
def transfer():
    return nst_tf.StyleTransfer(SETTINGS)


@pytest.fixture(scope="module")
def rebuilt(transfer):
    """Returns a function to a transfer with other settings, and what fits them of the first."""
    return transfer.replace


@pytest.fixture(scope="module")
def fresh(transfer):
    """Returns a function to a transfer with other settings, which has only the network."""

    def build(**changes):
        return nst_tf.StyleTransfer(SETTINGS.replace(**changes), transfer.backbone)

    return build


@pytest.fixture(scope="module")
def result(transfer):
    return transfer.stylize(PHOTO, PAINTING).numpy()


# Inputs and the result.


def test_the_result_is_a_float32_picture_of_the_size_asked_for(transfer, result):
    picture = transfer.stylize(pixels(2, 30, 90), PAINTING)
    assert isinstance(picture, nst_tf.Result)
    assert isinstance(picture.tensor, tf.Tensor)
    assert picture.dtype == tf.float32
    assert picture.shape == (16, 48, 3)
    assert result.shape == (40, 48, 3)
    assert result.min() >= 0
    assert result.max() <= 1
    assert np.abs(result - PHOTO / 255).max() > 1e-3


def saved(array, folder):
    path = folder / f"{len(list(folder.iterdir()))}.png"
    Image.fromarray(array).save(path)
    return path


FORMS = {
    "path": saved,
    "text path": lambda array, folder: str(saved(array, folder)),
    "PIL image": lambda array, _: Image.fromarray(array),
    "uint16": lambda array, _: array.astype(np.uint16) * 257,
    "float32": lambda array, _: np.float32(array) / 255,
    "float64": lambda array, _: array / 255,
    "tensor": lambda array, _: tf.constant(np.float32(array) / 255),
    "batch of one": lambda array, _: array[np.newaxis],
    "picture": lambda array, _: images.load(array),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_a_picture_gives_the_same_result(transfer, result, tmp_path, form):
    found = transfer.stylize(form(PHOTO, tmp_path), form(PAINTING, tmp_path))
    np.testing.assert_array_equal(found, result)


def test_stylize_does_what_a_style_transfer_does(result):
    np.testing.assert_array_equal(nst_tf.stylize(PHOTO, PAINTING, SETTINGS), result)


def test_photo_and_painting_both_have_their_say(transfer, result):
    assert np.abs(transfer.stylize(PHOTO, pixels(3, 56, 44)) - result).max() > 1e-3
    assert np.abs(transfer.stylize(pixels(4), PAINTING) - result).max() > 1e-3


STYLE_LOSSES = ["moments", "w2", "swd", "histogram", "gram+histogram", "remd+moments"]
CONTENT_LOSSES = ["laplacian", "features+laplacian", "self_similarity"]


@pytest.mark.parametrize(
    "changes",
    [{"style_loss": name} for name in STYLE_LOSSES]
    + [{"content_loss": name} for name in CONTENT_LOSSES],
    ids=lambda changes: "".join(changes.values()),
)
def test_every_loss_falls_with_masks_and_two_styles_and_twice_the_same(rebuilt, changes):
    """Bit for bit: no sum may be added up in an order that changes."""
    mask = np.zeros((40, 48, 3), np.uint8)
    mask[:, :24] = 255
    stylist, pictures, histories = rebuilt(steps=(5,), **changes), [], []
    for _ in range(2):
        histories.append(callbacks.History())
        pictures.append(
            stylist.stylize(PHOTO, [PAINTING, pixels(5)], [histories[-1]], content_mask=mask)
        )
    np.testing.assert_array_equal(*pictures)
    entries = histories[0].entries
    assert entries[-1]["loss"] < entries[0]["loss"]
    names = "".join(changes.values()).split("+")
    terms = list(entries[0]["terms"])
    for name in names if len(names) > 1 else ():
        assert any(name in term for term in terms), terms


def test_the_content_without_layers_needs_none(rebuilt):
    """The Laplacian looks at pixels."""
    picture = rebuilt(content_loss="laplacian", style_weight=0, steps=(3,), init="noise").stylize(
        PHOTO, PAINTING
    )
    assert np.isfinite(picture).all()


def test_the_loss_falls(rebuilt):
    history = callbacks.History()
    rebuilt(steps=(12,)).stylize(PHOTO, PAINTING, [history])
    losses = [entry["loss"] for entry in history.entries]
    assert len(losses) == 12
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adam"},
        {"optimizer": "lbfgs"},
        {"optimizer": "adam", "laplacian_bands": 8},
        {"optimizer": "rmsprop", "laplacian_bands": 5},
    ],
)
def test_the_optimizers_run_over_several_levels(rebuilt, changes):
    settings = {"learning_rate": 0.0, "image_size": 64, "levels": 2, "steps": (3, 2), **changes}
    picture = rebuilt(**settings).stylize(PHOTO, PAINTING)
    assert picture.shape == (53, 64, 3)
    assert np.isfinite(picture).all()


TWO_LEVELS = {"image_size": 64, "levels": 2, "steps": (1, 1)}


def test_the_content_weight_falls_from_level_to_level(rebuilt):
    settings = {**TWO_LEVELS, "learning_rate": 1e-7, "init_noise": 0.3}
    settings |= {"image_size": 128, "level_factor": 2.0}
    found = []
    for decay in (1.0, 0.25):
        history = callbacks.History()
        rebuilt(**settings, content_decay=decay).stylize(PHOTO, PAINTING, [history])
        found.append([entry["terms"] for entry in history.entries])
    (coarse, fine), (coarse_too, less) = found
    assert coarse == coarse_too
    for name, value in fine.items():
        factor = 0.25 if name.startswith("content") else 1.0
        assert less[name] == pytest.approx(factor * value, rel=1e-5)


@pytest.mark.parametrize(
    ("side", "factor"), [(32, 1), (64, 1), (96, 0.5 ** math.log2(1.5)), (128, 0.5)]
)
def test_the_content_of_a_level_weighs_by_its_size(rebuilt, side, factor):
    found = []
    for decay in (1.0, 0.5):
        history = callbacks.History()
        rebuilt(image_size=side, steps=(1,), content_decay=decay).stylize(
            PHOTO, PAINTING, [history]
        )
        found.append(history.entries[0]["terms"]["content/block2_conv1"])
    assert found[1] == pytest.approx(factor * found[0], rel=1e-5)


def test_the_rate_of_the_finest_level_may_differ(rebuilt):
    settings = {**TWO_LEVELS, "optimizer": "gradient_descent", "clip_pixels": False}
    settings |= {"learning_rate": 1e-3, "init_noise": 0.3}
    found = []
    for factor in (1e-9, 0.5, 1.0):
        recorder = Recorder()
        recorder.on_step_end = lambda step, seen=recorder: seen.pictures.append(step.picture())
        rebuilt(**settings, finest_rate=factor).stylize(PHOTO, PAINTING, [recorder])
        found.append([np.float64(picture) for picture in recorder.pictures])
    (coarse, still), (coarse_too, half), (_, whole) = found
    np.testing.assert_array_equal(coarse, coarse_too)
    inside = (still > 0.1) & (still < 0.9)
    assert np.abs(whole - still)[inside].max() > 1e-5
    np.testing.assert_allclose((half - still)[inside], (whole - still)[inside] / 2, atol=1e-6)


# Several styles and transparency.


def test_a_style_given_twice_is_that_style(transfer, result):
    np.testing.assert_array_equal(transfer.stylize(PHOTO, [PAINTING]), result)
    np.testing.assert_array_equal(transfer.stylize(PHOTO, [PAINTING, PAINTING]), result)


def test_two_styles_give_neither(transfer, result):
    other = pixels(3, 56, 44) // 3
    both = transfer.stylize(PHOTO, [PAINTING, other]).numpy()
    assert np.abs(both - result).max() > 1e-3
    assert np.abs(both - transfer.stylize(PHOTO, other)).max() > 1e-3
    np.testing.assert_allclose(both, transfer.stylize(PHOTO, [other, PAINTING]), atol=1e-4)


def veiled(seed):
    """Returns the painting with its right half transparent and filled with noise."""
    alpha = np.zeros((56, 44, 1), np.uint8)
    alpha[:, :22] = 255
    colour = np.where(alpha > 0, PAINTING, pixels(seed, 56, 44))
    return np.concatenate([colour, alpha], axis=-1)


def test_what_lies_under_transparency_is_not_seen(transfer, result):
    one, other = veiled(5), veiled(6)
    assert (one != other).any()
    found = transfer.stylize(PHOTO, one)
    np.testing.assert_array_equal(found, transfer.stylize(PHOTO, other))
    assert np.abs(found - result).max() > 1e-3


def test_a_style_with_hardly_anything_to_see_still_works(transfer):
    painting = np.concatenate([PAINTING, np.zeros((56, 44, 1), np.uint8)], axis=-1)
    painting[17, 23, 3] = 1
    assert np.isfinite(transfer.stylize(PHOTO, painting)).all()


# Repeatability.


def test_the_same_settings_give_the_same_picture_bit_for_bit(result):
    again = nst_tf.StyleTransfer(SETTINGS).stylize(PHOTO, PAINTING)
    np.testing.assert_array_equal(again, result)


def test_the_seed_chooses_the_noise(rebuilt):
    one, same, other = (
        rebuilt(init="noise", seed=seed).stylize(PHOTO, PAINTING).numpy() for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).mean() > 0.1


def test_runs_in_two_threads_equal_runs_in_a_row(fresh):
    photos = [pixels(seed) for seed in (10, 11)]
    shared, separate = fresh(steps=(6,)), [fresh(steps=(6,)) for _ in photos]
    expected = [shared.stylize(photo, PAINTING) for photo in photos]
    with futures.ThreadPoolExecutor(2) as threads:
        together = [threads.submit(shared.stylize, photo, PAINTING) for photo in photos]
        found = [job.result() for job in together]
        apart = [
            threads.submit(one.stylize, photo, PAINTING)
            for one, photo in zip(separate, photos, strict=True)
        ]
        found += [job.result() for job in apart]
    for picture, wanted in zip(found, expected * 2, strict=True):
        np.testing.assert_array_equal(picture, wanted)


def test_runs_in_two_threads_in_tiles_equal_runs_in_a_row(fresh):
    photos = [pixels(seed, 80, 96) for seed in (10, 11)]
    shared = fresh(image_size=96, tile_size=24, steps=(4,))
    expected = [shared.stylize(photo, PAINTING) for photo in photos]
    with futures.ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda photo: shared.stylize(photo, PAINTING), photos))
    np.testing.assert_array_equal(found, expected)


def alive():
    """Returns how many graphs, layers and arrays of a network are in memory."""
    gc.collect()
    kinds = ("FuncGraph", "FrozenConv2D", "Backbone", "StyleTransfer")
    found = collections.Counter(type(each).__name__ for each in gc.get_objects())
    return {kind: found[kind] for kind in kinds}


@pytest.mark.parametrize("changes", [{}, {"tile_size": 24}, {"style_loss": "swd+w2"}])
def test_what_is_deleted_leaves_nothing_in_memory(changes):
    settings = SETTINGS.replace(**changes)
    nst_tf.stylize(PHOTO, PAINTING, settings)
    before = alive()
    for _ in range(2):
        nst_tf.stylize(PHOTO, PAINTING, settings)
    assert alive() == before


def test_a_network_goes_as_soon_as_its_picture_is_made():
    before = alive()["Backbone"]
    nst_tf.stylize(PHOTO, PAINTING, SETTINGS)
    networks = [each for each in gc.get_objects() if type(each) is backbones.Backbone]
    assert len(networks) == before


def test_sizes_and_masks_leave_nothing_in_memory(fresh):
    transfer = fresh(image_size=0, steps=(1,))
    counts = []
    for number in range(8):
        mask = np.zeros((40, 48, 3), np.uint8)
        mask[:, : 10 + number] = 255
        photo = pixels(number, 40 + number, 48)
        transfer.stylize(photo, PAINTING)
        transfer.stylize(photo, PAINTING, content_mask=mask)
        counts.append(alive())
    assert counts[1:] == counts[1:2] * 7


def test_strength_of_nothing_is_the_photo():
    found = nst_tf.stylize(PHOTO, PAINTING, SETTINGS.replace(strength=0))
    expected = images.resize(images.load(PHOTO).rgb, *found.shape[:2])
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_strength_grows_away_from_the_photo():
    settings = SETTINGS.replace(init_noise=0.0, steps=20)
    pictures = [
        nst_tf.stylize(PHOTO, PAINTING // 2, settings.replace(strength=strength))
        for strength in (0.1, 0.5, 0.9)
    ]
    expected = images.resize(images.load(PHOTO).rgb, *pictures[0].shape[:2])
    distances = [float(np.abs(picture - expected).mean()) for picture in pictures]
    assert distances == sorted(distances) and distances[0] < 0.8 * distances[2], distances


def test_styles_are_blended_by_their_shares(rebuilt):
    other = pixels(30)
    alone = rebuilt(style_blend=(1.0, 0.0)).stylize(PHOTO, [PAINTING, other])
    np.testing.assert_array_equal(alone, rebuilt().stylize(PHOTO, PAINTING))
    both = rebuilt(style_blend=(2.0, 2.0)).stylize(PHOTO, [PAINTING, other])
    np.testing.assert_array_equal(both, rebuilt().stylize(PHOTO, [PAINTING, other]))
    assert not np.array_equal(both, alone)


def seam(picture):
    """Returns how much larger steps across the border are than those within."""
    within = [np.abs(np.diff(picture, axis=axis)).mean() for axis in (0, 1)]
    across = [
        np.abs(np.take(picture, 0, axis) - np.take(picture, -1, axis)).mean() for axis in (0, 1)
    ]
    return max(one / other for one, other in zip(across, within, strict=True))


def test_a_circular_picture_tiles_the_plane():
    settings = nst_tf.StyleTransferConfig(
        backbone="vgg16", image_size=90, levels=1, steps=25, content_weight=0.0, init="noise",
        style_layers=("block1_conv1", "block2_conv1", "block3_conv1"), content_layers=(),
        style_loss="gram",  # A matched painting keeps the seam of the photo.
    )  # fmt: skip
    waves = 0.5 + 0.4 * np.sin(np.mgrid[0:96, 0:96].sum(axis=0) / 5)
    painting = np.stack([waves, 1 - waves, waves.T], axis=-1).astype(np.float32)
    plain = nst_tf.stylize(PHOTO, painting, settings).numpy()
    circular = nst_tf.stylize(PHOTO, painting, settings.replace(padding="circular")).numpy()
    assert all(side % 4 == 0 for side in circular.shape[:2])
    assert seam(circular) < 1.15
    assert seam(plain) > 1.5 * seam(circular)


def test_a_painting_does_not_go_on_across_its_border_where_the_picture_does(monkeypatch):
    painting = np.zeros((64, 96, 3), np.float32)
    painting[:, 48:] = 1  # Wrapped, it has an edge more.
    targets, blend = [], objective.Objective.blend
    monkeypatch.setattr(
        objective.Objective,
        "blend",
        lambda self, *given: targets.append(given[0]) or blend(self, *given),
    )
    for padding in ("circular", "reflect"):
        nst_tf.StyleTransfer(SETTINGS.replace(padding=padding, steps=1)).stylize(PHOTO, painting)
    for found, expected in zip(*map(tf.nest.flatten, targets), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_second_photo_costs_nothing_but_its_steps(fresh, monkeypatch):
    """Neither are steps traced again, whatever its size, nor targets of the style computed."""
    transfer = fresh(image_size=64, levels=2)
    traced, value = [], objective.Objective.value
    monkeypatch.setattr(
        objective.Objective, "value", lambda *given: traced.append(1) or value(*given)
    )
    measured = []
    transfer.stylize(PHOTO, PAINTING)
    assert len(traced) == 1
    monkeypatch.setattr(losses.Gram, "summary", lambda *given: measured.append(1))
    transfer.stylize(pixels(12), PAINTING)
    transfer.stylize(pixels(12, 30, 90), pixels(1, 56, 44))
    assert len(traced) == 1
    assert not measured


# The initial image.


def start(rebuilt, init):
    """Returns the picture that a run with hardly any movement ends with."""
    settings = {"init": init, "init_noise": 0.0, "learning_rate": 1e-7}
    return rebuilt(**settings).stylize(PHOTO, PAINTING).numpy()


def test_init_content_begins_with_the_photo(rebuilt):
    np.testing.assert_allclose(start(rebuilt, "content"), PHOTO / 255, atol=1e-4)


def test_init_gray_begins_with_gray(rebuilt):
    np.testing.assert_allclose(start(rebuilt, "gray"), 0.5, atol=1e-4)


def test_init_style_begins_with_the_painting(rebuilt):
    expected = images.resize(np.float32(PAINTING) / 255, 40, 48)
    np.testing.assert_allclose(start(rebuilt, "style"), expected, atol=1e-4)


def finest_band(picture):
    """Returns a picture less its means of 2 by 2 pixels, interpolated, in float64."""
    height, width = picture.shape[:2]
    means = picture.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))

    def matrix(length):
        places = (np.arange(length) + 0.5) / 2 - 0.5
        rows = [np.interp(places, np.arange(length // 2), each) for each in np.eye(length // 2)]
        return np.stack(rows, axis=1)

    return picture - np.einsum("ai,bj,ijc->abc", matrix(height), matrix(width), means)


def test_init_outlines_begins_with_the_paintings_colour_and_the_photos_finest_band(rebuilt):
    colour = (PAINTING / 255).mean((0, 1))
    expected = np.clip(colour + finest_band(PHOTO / 255), 0, 1)
    np.testing.assert_allclose(start(rebuilt, "outlines"), expected, atol=2e-3)


def test_outlines_are_added_at_each_level_between_the_first_and_the_last(rebuilt):
    settings = {"init": "outlines", "init_noise": 0.0, "learning_rate": 1e-7, "level_factor": 2}
    recorder = Recorder()
    recorder.on_step_end = lambda step: recorder.pictures.append(np.array(step.picture()))
    rebuilt(**settings, image_size=96, levels=3, steps=(1, 1, 1)).stylize(
        pixels(0, 80, 96), PAINTING, [recorder]
    )
    photo = images.resize(np.float32(pixels(0, 80, 96)) / 255, 40, 48)
    coarse, middle, fine = recorder.pictures
    grown = np.clip(tf.image.resize(coarse, (40, 48), "bicubic"), 0, 1) + finest_band(photo)
    np.testing.assert_allclose(middle, np.clip(grown, 0, 1), atol=1e-4)
    grown = np.clip(tf.image.resize(middle, (80, 96), "bicubic"), 0, 1)
    np.testing.assert_allclose(fine, grown, atol=1e-4)


def test_init_of_another_shape_is_stretched_with_a_warning(rebuilt, tmp_path, caplog):
    for width, expected in ((48, False), (5, True)):
        path = tmp_path / f"{width}.png"
        images.save(np.zeros((40, width, 3), np.float32), path)
        caplog.clear()
        assert start(rebuilt, str(path)).shape == (40, 48, 3)
        assert (f"{width}.png" in caplog.text and "stretched" in caplog.text) == expected


def test_no_painting_is_refused(rebuilt):
    with pytest.raises(errors.ConfigError, match="styles is empty"):
        rebuilt().stylize(PHOTO, [])


def test_init_noise_begins_with_noise(rebuilt):
    noise = start(rebuilt, "noise")
    assert abs(noise.mean() - 0.5) < 0.02
    assert abs(noise.std() - 1 / np.sqrt(12)) < 0.02


def test_init_noise_is_mixed_in_by_its_share(rebuilt):
    def begun(**settings):
        transfer = rebuilt(learning_rate=1e-7, **settings)
        return transfer.stylize(PHOTO, PAINTING).numpy()

    halves = (begun(init="content", init_noise=0.0) + begun(init="noise")) / 2
    np.testing.assert_allclose(begun(init="content", init_noise=0.5), halves, atol=1e-4)


def test_init_goes_on_with_a_file_at_full_size_and_without_noise(rebuilt, tmp_path):
    path = saved(pixels(13), tmp_path)
    on = rebuilt(init=str(path), init_noise=0.5, levels=0, steps=(2,), learning_rate=1e-7)
    np.testing.assert_allclose(on.stylize(PHOTO, PAINTING), pixels(13) / 255, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, [60]),
        ({"steps": (7,)}, [7]),
        ({"steps": (9, 7)}, [9, 7]),
        ({"levels": 2, "steps": (4,)}, [4, 4]),
        ({"levels": 2, "steps": (4,), "style_loss": "gram"}, [7, 4]),
    ],
)
def test_a_run_that_goes_on_has_one_level_unless_it_is_told(settings, steps):
    config = nst_tf.StyleTransferConfig(init="earlier.png", **settings)
    assert [level.steps for level in pyramid.plan(config, (300, 400), [(300, 400)])] == steps


def test_an_init_file_that_is_missing_is_named(rebuilt):
    with pytest.raises(errors.ImageError, match=r"nowhere\.png"):
        start(rebuilt, "nowhere.png")


# Callbacks.


class Recorder(callbacks.Callback):
    """Writes down what it is told, and may stop the run."""

    def __init__(self, stop_after=None):
        self.calls, self.pictures, self.stop_after = [], [], stop_after

    def on_begin(self, run):
        self.run = run
        self.calls.append("begin")

    def on_level_begin(self, level):
        self.calls.append(f"level {level}")

    def on_step_end(self, step):
        self.calls.append(f"step {step.level}.{step.step}")
        self.pictures.append(step.picture())
        np.testing.assert_allclose(step.loss, sum(map(float, step.terms.values())), rtol=1e-5)
        self.run.stopping = len(self.pictures) == self.stop_after

    def on_end(self, image):
        self.calls.append("end")
        self.end = image


@pytest.fixture(scope="module")
def two_levels(rebuilt):
    return rebuilt(image_size=64, steps=(3, 2), levels=2)


def test_callbacks_are_told_everything_in_order(two_levels):
    recorder = Recorder()
    picture = two_levels.stylize(PHOTO, PAINTING, [recorder])
    steps = [f"step 0.{i}" for i in (1, 2, 3)], [f"step 1.{i}" for i in (1, 2)]
    assert recorder.calls == ["begin", "level 0", *steps[0], "level 1", *steps[1], "end"]
    coarse, fine = recorder.run.levels
    assert fine == pyramid.Level(53, 64, 2)
    assert coarse.steps == 3
    assert coarse.width < fine.width
    assert recorder.run.backbone is two_levels.backbone
    shapes = [shown.shape for shown in recorder.pictures]
    assert shapes == [(coarse.height, coarse.width, 3)] * 3 + [(53, 64, 3)] * 2
    assert "cpu" in recorder.run.device.lower()
    np.testing.assert_array_equal(recorder.end, picture)
    np.testing.assert_array_equal(recorder.pictures[-1], picture)


def test_several_callbacks_are_told_in_turn(transfer):
    log = []

    class Named(callbacks.Callback):
        def __init__(self, name):
            self.name = name

        def on_step_end(self, step):
            log.append((self.name, step.step))

    transfer.stylize(PHOTO, PAINTING, [Named("a"), Named("b")])
    assert log == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]


@pytest.mark.parametrize(
    ("stop_after", "last"), [(1, "step 0.1"), (3, "step 0.3"), (4, "step 1.1")]
)
def test_a_run_that_is_stopped_gives_a_full_size_picture(two_levels, stop_after, last):
    recorder = Recorder(stop_after)
    picture = two_levels.stylize(PHOTO, PAINTING, [recorder])
    assert recorder.calls[-2:] == [last, "end"]
    assert picture.shape == (53, 64, 3)
    assert np.isfinite(picture).all()
    assert recorder.end.shape == picture.shape


def test_a_run_stopped_at_its_beginning_gives_the_photo(two_levels):
    class Stop(callbacks.Callback):
        def on_begin(self, run):
            run.stopping = True

    picture = two_levels.stylize(PHOTO, PAINTING, [Stop()]).numpy()
    assert picture.shape == (53, 64, 3)
    assert abs(picture.mean() - PHOTO.mean() / 255) < 0.02


def test_what_callbacks_look_at_does_not_change_the_picture(transfer, result):
    np.testing.assert_array_equal(transfer.stylize(PHOTO, PAINTING, [Recorder()]), result)


def test_the_picture_of_a_step_stays_as_it_was(two_levels):
    """A picture that was read keeps its values while the run goes on."""
    copies = []

    class Copy(callbacks.Callback):
        def on_step_end(self, step):
            shown = step.picture()
            copies.append((shown, shown.numpy().copy()))

    two_levels.stylize(PHOTO, PAINTING, [Copy()])
    for shown, then in copies:
        np.testing.assert_array_equal(shown, then)


# Errors.


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_divergence_hands_over_a_finite_picture(rebuilt, optimizer):
    diverging = rebuilt(optimizer=optimizer, style_weight=3e38, content_weight=3e38, init="gray")
    with pytest.raises(errors.DivergenceError, match="learning_rate") as caught:
        diverging.stylize(PHOTO, PAINTING // 16)
    assert caught.value.image.shape == (40, 48, 3)
    assert np.isfinite(caught.value.image).all()
    assert 0 <= np.min(caught.value.image) <= np.max(caught.value.image) <= 1


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_loss_that_breaks_late_leaves_the_last_good_picture(fresh, optimizer, monkeypatch):
    compile_step, broken = steps.compile_step, []

    def breakable(*arguments, **options):
        sound = compile_step(*arguments, **options)

        def step(image, state, targets):
            spoilt = tf.nest.map_structure(lambda value: value * np.nan, targets)
            return sound(image, state, spoilt if broken else targets)

        return step

    monkeypatch.setattr(steps, "compile_step", breakable)
    transfer, recorder = fresh(optimizer=optimizer, steps=(20,), average=0.0), Recorder()

    class Break(callbacks.Callback):
        """Makes every step after the fourth aim at what is no number."""

        def on_step_end(self, step):
            if step.step == 4:
                broken.append(True)

    watchers = [Break(), Recorder()]
    watchers[1].on_step_end = lambda step: recorder.pictures.append(step.picture())
    with pytest.raises(errors.DivergenceError) as caught:
        transfer.stylize(PHOTO, PAINTING, watchers)
    good = recorder.pictures[3 if optimizer == "lbfgs" else 2]  # The last that was evaluated.
    np.testing.assert_allclose(caught.value.image, good, atol=5e-5)


@pytest.mark.parametrize("tile_size", [0, 32])
@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "gradient_descent", "learning_rate": 3000.0},
        {"optimizer": "rmsprop", "laplacian_bands": 3, "learning_rate": 20.0},
    ],
)
def test_a_rate_that_explodes_is_halved_until_it_does_not(fresh, tile_size, changes, caplog):
    settings = {"clip_pixels": False, "final_rate": 0.01, **changes}
    transfer = fresh(steps=(40,), tile_size=tile_size, **settings)
    history = callbacks.History()
    with caplog.at_level("WARNING", "nst_tf"):
        picture = transfer.stylize(PHOTO, PAINTING, [history])
    losses = [entry["loss"] for entry in history.entries]
    assert not max(losses) <= 100 * losses[0]
    assert history.run.rollbacks > 0
    assert "went back to the last good picture, with half the learning rate" in caplog.text
    assert losses[-1] < losses[0]
    assert np.isfinite(picture).all()
    again = callbacks.History()
    transfer.stylize(PHOTO, PAINTING, [again])
    assert [entry["loss"] for entry in again.entries] == losses


def test_an_unknown_device_lists_the_devices():
    with pytest.raises(errors.ConfigError, match=r"'GPU:7'.*expected one of: auto, CPU:0"):
        nst_tf.StyleTransfer(SETTINGS.replace(device="GPU:7"))


@pytest.mark.parametrize("name", ["cpu", "CPU:0", "/device:CPU:0"])
def test_a_device_may_be_spelled_in_several_ways(transfer, result, name):
    found = nst_tf.StyleTransfer(SETTINGS.replace(device=name), transfer.backbone)
    np.testing.assert_array_equal(found.stylize(PHOTO, PAINTING), result)


def test_a_picture_that_is_too_small_is_refused(transfer):
    with pytest.raises(errors.ConfigError, match="style picture has 6x6"):
        transfer.stylize(PHOTO, pixels(0, 6, 6))
    with pytest.raises(errors.ConfigError, match="content picture has 90x5"):
        transfer.stylize(pixels(0, 5, 90), PAINTING)


def test_a_picture_in_the_range_of_bytes_is_refused(transfer):
    with pytest.raises(errors.ImageError, match="Divide 0 to 255 by 255"):
        transfer.stylize(np.float32(PHOTO), PAINTING)


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def test_another_keras_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(errors.ConfigError, match=r"'jax'.*KERAS_BACKEND=tensorflow"):
        nst_tf.stylize(PHOTO, PAINTING, SETTINGS)


def test_keras_started_with_another_backend_is_refused():
    pytest.importorskip("jax", reason="Keras needs it for its backends jax and numpy")
    done = run_python(
        """
        import numpy, nst_tf
        try:
            nst_tf.stylize(numpy.zeros((64, 64, 3)), numpy.zeros((64, 64, 3)))
        except nst_tf.errors.ConfigError as error:
            print(error)
        """,
        KERAS_BACKEND="numpy",
    )
    assert "'numpy'" in done.stdout, done.stderr


@pytest.mark.parametrize("backend_name", ["theano", "jax", "torch"])
def test_another_backend_in_the_settings_of_keras_is_refused(backend_name, tmp_path, monkeypatch):
    (tmp_path / "keras.json").write_text(f'{{"backend": "{backend_name}"}}')
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.delitem(sys.modules, "keras")  # As if it were not imported yet.
    with pytest.raises(errors.ConfigError, match=rf"'{backend_name}'.*KERAS_BACKEND=tensorflow"):
        backend.require_tensorflow()


def test_settings_that_keras_does_not_take_are_told_in_a_sentence(tmp_path):
    (tmp_path / "keras.json").write_text('{"floatx": "float8"}')
    done = run_python(
        """
        from nst_tf import errors
        from nst_tf.runtime import backend
        try:
            backend.require_tensorflow()
        except errors.ConfigError as error:
            print(error)
        """,
        KERAS_HOME=str(tmp_path),
    )
    assert done.stdout.startswith("Keras cannot be imported"), done.stderr
    assert "float8" in done.stdout and str(tmp_path / "keras.json") in done.stdout


# Manners of a library.


@pytest.fixture(scope="module")
def manners():
    """Returns a fresh process that made three pictures; it prints what it found changed."""
    code = f"""
        import logging, random, sys
        import numpy as np, tensorflow as tf, keras
        tf.zeros(())  # TensorFlow says what it thinks of the machine, which is not our doing.
        print("begin", file=sys.stderr, flush=True)

        def state():
            return {{
                "handlers of the root logger": list(logging.getLogger().handlers),
                "level of the root logger": logging.getLogger().level,
                "dtype policy": keras.config.dtype_policy().name,
                "float type": keras.config.floatx(),
                "image data format": keras.config.image_data_format(),
                "eager functions": tf.config.functions_run_eagerly(),
                "XLA": tf.config.optimizer.get_jit(),
                "device placement": tf.config.get_soft_device_placement(),
                "seed of Python": random.getstate(),
                "seed of NumPy": str(np.random.get_state()),
                "seed of TensorFlow": tf.random.get_global_generator().state.numpy().tolist(),
            }}

        before = state()
        tf.random.set_seed(5)
        expected = tf.random.uniform((3,)).numpy()
        tf.random.set_seed(5)
        import nst_tf, nst_tf.commands.stylize
        settings = nst_tf.StyleTransferConfig.from_dict({SETTINGS.to_dict()!r})
        picture = np.random.default_rng(0).random((48, 48, 3))
        for changes in ({{}}, {{"init": "noise"}}, {{"precision": "bfloat16"}}):
            nst_tf.stylize(picture, picture, settings.replace(**changes))
        assert (tf.random.uniform((3,)).numpy() == expected).all()
        print("end", file=sys.stderr, flush=True)
        after = state()
        print(", ".join(name for name in before if before[name] != after[name]))
        """
    done = run_python(code, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    return done


def test_the_library_leaves_global_state_alone(manners):
    assert manners.stdout.splitlines()[-1] == ""


def test_the_library_prints_nothing(manners):
    assert len(manners.stdout.splitlines()) == 1
    assert manners.stderr.partition("begin\n")[2] == "end\n"


# What is around a call.


def in_a_function():
    return tf.function(lambda: nst_tf.stylize(PHOTO, PAINTING, SETTINGS), autograph=False)()


def in_a_graph():
    with tf.Graph().as_default():
        return nst_tf.stylize(PHOTO, PAINTING, SETTINGS)


def in_a_strategy():
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        return nst_tf.stylize(PHOTO, PAINTING, SETTINGS)


@pytest.mark.parametrize("around", [in_a_function, in_a_graph, in_a_strategy])
def test_where_nothing_is_computed_eagerly_a_call_is_refused(around):
    with pytest.raises(errors.ConfigError, match="outside of"):
        around()


@contextlib.contextmanager
def channels_first():
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


@contextlib.contextmanager
def another_policy():
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


@contextlib.contextmanager
def checked_numbers():
    tf.debugging.enable_check_numerics()
    yield
    tf.debugging.disable_check_numerics()


HOSTS = [
    channels_first,
    another_policy,
    checked_numbers,
    lambda: keras.RematScope(mode="full"),
    lambda: tf.GradientTape(persistent=True),
]


@pytest.mark.parametrize("host", HOSTS)
def test_settings_of_a_host_change_nothing(host, result):
    with host():
        found = nst_tf.stylize(PHOTO, PAINTING, SETTINGS)
    np.testing.assert_array_equal(found, result)


@pytest.mark.parametrize("flags", ["fma avx512f amx_bf16", "fma avx512f"])
def test_auto_takes_the_precision_that_the_processor_multiplies_in(flags, monkeypatch):
    monkeypatch.setattr(backend, "_processor", lambda: {"flags": flags})
    monkeypatch.setattr(convolution, "uses_onednn", lambda: True)
    expected = "bfloat16" if "amx_bf16" in flags else "float32"
    engine = nst_tf.StyleTransfer(SETTINGS.replace(precision="auto"))
    assert (engine.config.precision, engine.backbone.precision) == (expected, expected)
    convolutions = [
        each for each in engine.backbone.layers if isinstance(each, keras.layers.Conv2D)
    ]
    assert {each.compute_dtype for each in convolutions} == {expected}
    assert engine.stylize(PHOTO, PAINTING).recipe["config"]["precision"] == expected
    assert engine.replace(steps=3).backbone is engine.backbone
    other = "float32" if expected == "bfloat16" else "bfloat16"
    assert engine.replace(precision=other).backbone.precision == other


def test_auto_is_float32_where_onednn_is_off(command_environment):
    code = "from nst_tf.kernels import convolution; print(convolution.precision('auto'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**command_environment, "TF_ENABLE_ONEDNN_OPTS": "0"},
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout == "float32\n"


AT_THE_END = """
    import sys, threading
    import numpy as np
    import nst_tf

    photo, painting = (np.random.default_rng(i).random((48, 64, 3), np.float32) for i in (0, 1))
    begun, steps = [threading.Event(), threading.Event()], (10_000, 4)

    class Begun(nst_tf.callbacks.Callback):
        def __init__(self, event):
            self.event = event

        def on_step_end(self, step):
            self.event.set()

    def work(steps, event):
        config = nst_tf.StyleTransferConfig(
            backbone="vgg16", image_size=64, levels=1, steps=steps, optimizer="adam",
            style_layers="block2_conv1", content_layers="block2_conv1",
        )
        nst_tf.stylize(photo, painting, config, [Begun(event)])
        print("done", steps)

    for daemon, event, count in zip((True, False), begun, steps):
        threading.Thread(target=work, args=(count, event), daemon=daemon).start()
    for event in begun:
        event.wait()
"""


def test_the_interpreter_exits_cleanly_whatever_threads_are_at_work(command_environment):
    code = textwrap.dedent(AT_THE_END)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=command_environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "done 4\n")
    assert "Traceback" not in done.stderr
    assert "terminate" not in done.stderr


# What callbacks are told of the end.


class Told(callbacks.Callback):
    """Notes what it is told, and raises where it is asked to."""

    def __init__(self, notes: list[str], name: str = "", raises: tuple[str, ...] = ()) -> None:
        self._notes, self._name, self._raises = notes, name, raises

    def _note(self, what: str) -> None:
        self._notes.append(f"{self._name}{what}")
        if what in self._raises:
            raise KeyboardInterrupt(f"{self._name}{what}")

    def on_begin(self, run: callbacks.Run) -> None:
        self.run = run
        self._note("begin")

    def on_step_end(self, step: callbacks.StepEnd) -> None:
        self._note("step")

    def on_end(self, image: tf.Tensor) -> None:
        self._note("end")

    def on_error(self, error: BaseException) -> None:
        assert isinstance(error, KeyboardInterrupt)
        self._note("error")


QUICK = nst_tf.StyleTransferConfig(
    backbone="vgg16", image_size=48, levels=1, steps=(3,), content_layers=("block1_conv2",),
    style_layers=("block1_conv1",), optimizer="adam", run_eagerly=True, device="cpu",
    style_loss="gram", style_weight=10.0, content_weight=1.0, color="style", init_noise=0.5,
)  # fmt: skip


@pytest.mark.parametrize(
    ("raises", "expected"),
    [
        ((), "a:begin b:begin c:begin a:step b:step c:step a:end b:end c:end"),
        (("begin",), "a:begin b:begin a:error"),
        (("step",), "a:begin b:begin c:begin a:step b:step a:error b:error c:error"),
        (("end",), "a:begin b:begin c:begin a:step b:step c:step a:end b:end c:error"),
        (("step", "error"), "a:begin b:begin c:begin a:step b:step a:error b:error c:error"),
    ],
)
def test_every_callback_that_has_begun_is_told_the_end_once(raises, expected):
    notes: list[str] = []
    told = [Told(notes, "a:"), Told(notes, "b:", raises), Told(notes, "c:")]
    photo = np.zeros((48, 48, 3), np.uint8)
    settings = QUICK.replace(steps=(1,))
    if raises:
        with pytest.raises(KeyboardInterrupt, match=f"b:{raises[-1]}"):
            nst_tf.stylize(photo, photo, settings, told)
    else:
        nst_tf.stylize(photo, photo, settings, told)
    assert notes == expected.split()


def test_a_run_tells_its_last_good_picture_at_any_time():
    seen: list[np.ndarray | None] = []

    class Look(Told):
        def on_level_begin(self, level: int) -> None:
            seen.append(self.run.picture())

        def on_step_end(self, step: callbacks.StepEnd) -> None:
            seen.append(self.run.picture().numpy())
            np.testing.assert_array_equal(seen[-1], step.picture())
            if step.step == 2 and not finishes:
                raise KeyboardInterrupt

    photo, painting = np.random.default_rng(0).random((2, 48, 64, 3), np.float32)
    for finishes in (True, False):
        look = Look([])
        with contextlib.nullcontext() if finishes else pytest.raises(KeyboardInterrupt):
            result = nst_tf.stylize(photo, painting, QUICK, [look])
        last = look.run.picture()
        assert look.run.finished == finishes
        np.testing.assert_array_equal(last, result if finishes else seen[-1])
    assert seen[0] is None
    assert seen[1].shape == (36, 48, 3)


def test_a_picture_that_is_asked_for_late_is_refused():
    kept: list[callbacks.StepEnd] = []

    class Keep(callbacks.Callback):
        def on_step_end(self, step: callbacks.StepEnd) -> None:
            kept.append(step)

    photo = np.zeros((48, 48, 3), np.uint8)
    picture = nst_tf.stylize(photo, photo, QUICK, [Keep()])
    for late in (kept[0].picture, kept[1].snapshot):
        with pytest.raises(errors.StyleTransferError, match="before the next one"):
            late()
    np.testing.assert_array_equal(kept[2].picture(), picture)
    assert kept[2].snapshot().step == 3


# Regions at the border, and numbers at the limits.


@pytest.mark.parametrize("side", ["bottom", "right"])
@pytest.mark.parametrize("loss", ["gram", "w2", "swd"])
def test_a_thin_region_at_the_border_is_painted(rebuilt, side, loss):
    """At 47 pixels poolings leave three rows and columns over."""
    mask, alpha = np.zeros((39, 47, 3), np.uint8), np.zeros((39, 47, 1), np.uint8)
    mask[..., 2] = 255
    last = np.s_[-2:] if side == "bottom" else np.s_[:, -2:]
    mask[last], alpha[last] = (255, 0, 0), 255
    transfer = rebuilt(image_size=47, style_loss=loss)
    both = [PHOTO[:39, :47], pixels(3, 39, 47)]
    for arguments in (
        {"content_mask": mask},
        {"content_mask": mask, "style_masks": mask},
    ):
        history = callbacks.History()
        picture = transfer.stylize(*both, [history], **arguments)
        assert np.isfinite(picture).all()
        found = history.entries[0]["terms"]
        assert all(found[f"style/block3_conv1/{region}"] > 0 for region in (1, 2))
    seen = np.concatenate([both[1], alpha], axis=2)
    assert np.isfinite(transfer.stylize(both[0], seen)).all()


def test_a_region_that_is_small_or_gone_is_named_before_the_work(rebuilt, caplog):
    transfer, started = rebuilt(), Recorder()
    mask, alpha = np.zeros((40, 48, 3), np.uint8), np.full((40, 48, 1), 255, np.uint8)
    mask[..., 2] = 255
    mask[20:23, 30:34] = 255, 0, 0
    with caplog.at_level("WARNING", "nst_tf"):
        transfer.stylize(PHOTO, pixels(3), content_mask=mask)
    assert "#ff0000 covers 12 pixels of the photo at 48x40" in caplog.text
    assert "block3_conv1" in caplog.text
    assert "#0000ff" not in caplog.text
    alpha[18:24, 28:36] = 0
    painting = np.concatenate([pixels(3), alpha], axis=2)
    with pytest.raises(errors.ConfigError, match=r"#ff0000 covers 0 pixels of the style picture"):
        transfer.stylize(PHOTO, painting, [started], content_mask=mask, style_masks=mask)
    assert not started.calls


@pytest.mark.parametrize("power", [70, -65])
def test_a_factor_of_all_weights_makes_no_difference_to_lbfgs(rebuilt, power):
    def run(factor):
        history = callbacks.History()
        transfer = rebuilt(
            optimizer="lbfgs", steps=8, content_weight=factor, style_weight=10 * factor,
            tv_weight=factor,
        )  # fmt: skip
        picture = transfer.stylize(PHOTO, PAINTING, [history]).numpy()
        return picture, [entry["loss"] / factor for entry in history.entries]

    (plain, losses), (scaled, scaled_losses) = run(1.0), run(2.0**power)
    np.testing.assert_array_equal(scaled, plain)
    assert scaled_losses == losses
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": 1e-30},
        {"adam_epsilon": 1e30},
        {"pixel_range": 1e30, "tv_weight": 0.0},
        {"optimizer": "lbfgs", "learning_rate": 1e-30},
        {"optimizer": "steepest_descent", "content_weight": 1e30, "style_weight": 1e30},
    ],
    ids=str,
)
def test_a_run_that_does_not_move_is_no_success(rebuilt, settings):
    with pytest.raises(errors.DivergenceError, match="no step moved the picture") as caught:
        rebuilt(steps=4, **settings).stylize(PHOTO, PAINTING)
    assert caught.value.image.shape == (40, 48, 3)


def test_a_start_that_is_right_already_need_not_move(rebuilt):
    for optimizer in ("adam", "lbfgs"):
        transfer = rebuilt(
            optimizer=optimizer, steps=4, init="content", init_noise=0.0, tv_weight=0.0
        )
        found = transfer.stylize(PAINTING, PAINTING).numpy()
        np.testing.assert_allclose(found, images.resize(PAINTING / np.float32(255), 48, 38), 1e-5)


def test_a_loss_that_ends_above_its_beginning_is_told(rebuilt, caplog):
    settings = {"optimizer": "gradient_descent", "steps": 4}
    with caplog.at_level("WARNING", "nst_tf"):
        rebuilt(learning_rate=0.1, **settings).stylize(PHOTO, PAINTING)
        assert not caplog.text
        rebuilt(learning_rate=1e6, **settings).stylize(PHOTO, PAINTING)
    assert "Lower learning_rate" in caplog.text


def test_weights_without_a_gradient_are_refused():
    with pytest.raises(errors.ConfigError, match=r"1e-24; expected 1e-20 or above"):
        SETTINGS.replace(content_weight=1e-25, style_weight=1e-24)


# An optimiser of one's own.


class RMSProp(optimizers.Optimizer):
    """Hinton, "Neural networks for machine learning" (2012), lecture 6e."""

    def __init__(self, rate: float = 0.01) -> None:
        self.rate = rate

    def init(self, image, steps):
        return {"squares": tf.zeros_like(image), "backoff": tf.constant(1.0)}

    def update(self, image, state, evaluation):
        squares = 0.9 * state["squares"] + 0.1 * evaluation.gradient**2
        move = self.rate * state["backoff"] * evaluation.gradient / (tf.sqrt(squares) + 1e-12)
        return tf.clip_by_value(image - move, 0, 1), {**state, "squares": squares}


class Walk(callbacks.Callback):
    """Keeps losses and snapshots."""

    def __init__(self):
        self.losses, self.snapshots = [], []

    def on_step_end(self, step):
        self.losses.append(float(step.loss))
        self.snapshots.append(step.snapshot())


OWN = SETTINGS.replace(levels=2, steps=(4, 4), learning_rate=0.0)


@pytest.mark.parametrize("tile_size", [0, 32])
def test_an_optimizer_of_ones_own_needs_init_and_update_and_no_more(
    transfer, tile_size, monkeypatch
):
    monkeypatch.setattr(bands, "_BAND", 9 * 48)
    mine = nst_tf.StyleTransfer(
        OWN.replace(tile_size=tile_size), transfer.backbone, optimizer=RMSProp()
    )
    walk = Walk()
    picture = mine.stylize(PHOTO, PAINTING, [walk])
    assert walk.losses[3] < 0.9 * walk.losses[0]
    assert walk.losses[7] < walk.losses[4]
    for start in (walk.snapshots[1], walk.snapshots[5]):
        np.testing.assert_array_equal(mine.stylize(PHOTO, PAINTING, start=start), picture)
    other = nst_tf.StyleTransfer(mine.config.replace(optimizer=RMSProp(0.02)), transfer.backbone)
    with pytest.raises(errors.ConfigError, match=r"RMSProp\(rate=0.01\) in the checkpoint"):
        other.stylize(PHOTO, PAINTING, start=walk.snapshots[5])


def test_an_optimizer_of_ones_own_takes_the_same_steps_in_tiles(transfer, rebuilt, monkeypatch):
    monkeypatch.setattr(bands, "_BAND", 9 * 48)
    whole, tiled = (
        nst_tf.StyleTransfer(
            OWN.replace(tile_size=size, steps=4, levels=1, init_noise=0.5),
            transfer.backbone,
            optimizer=RMSProp(),
        ).stylize(PHOTO, PAINTING)
        for size in (0, 32)
    )
    assert np.mean(np.abs(whole - rebuilt(init_noise=0.0).stylize(PHOTO, PAINTING)) > 1e-3) > 0.5
    # A gradient near 0 may round to either side of it.
    assert np.mean(np.abs(tiled - whole) > 1e-3) < 0.02


def test_an_optimizer_of_ones_own_is_guarded(transfer, caplog):
    """Its rate is halved until the loss no longer explodes."""

    class Leap(RMSProp):
        def update(self, image, state, evaluation):
            move = self.rate * state["backoff"] * evaluation.gradient
            return image - move, state

    steps = OWN.replace(levels=1, steps=12, clip_pixels=False)
    walk = Walk()
    mine = nst_tf.StyleTransfer(steps, transfer.backbone, optimizer=Leap(100.0))
    mine.stylize(PHOTO, PAINTING, [walk])
    assert "went back to the last good picture" in caplog.text
    assert walk.snapshots[-1].tensors["state/backoff"] < 1
    assert walk.losses[-1] < 100 * walk.losses[0]


@pytest.mark.parametrize("name", ["adam", "lbfgs", "steepest_descent"])
def test_an_optimizer_object_does_what_its_name_does(rebuilt, transfer, name):
    expected = rebuilt(optimizer=name, learning_rate=0.0, steps=3).stylize(PHOTO, PAINTING)
    settings = SETTINGS.replace(learning_rate=0.0, steps=3)
    for found in (
        nst_tf.StyleTransfer(settings, transfer.backbone, optimizer=optimizers.get(name)),
        nst_tf.StyleTransfer(settings.replace(optimizer=optimizers.get(name)), transfer.backbone),
        nst_tf.StyleTransfer(settings, transfer.backbone, optimizer=name),
    ):
        np.testing.assert_array_equal(found.stylize(PHOTO, PAINTING), expected)


def test_what_an_optimizer_object_switches_off_is_told(transfer, caplog):
    nst_tf.StyleTransfer(
        SETTINGS.replace(learning_rate=0.5), transfer.backbone, optimizer=optimizers.LBFGS(3)
    )
    (text,) = caplog.messages
    assert text.startswith("learning_rate=0.5 has no effect with optimizer=LBFGS(history=3, ")


def test_an_object_that_does_not_go_pixel_by_pixel_by_its_class_is_refused(transfer):
    class Walker:
        def init(self, image, steps):
            return {}

        def update(self, image, state, evaluation):
            return image, state

    with pytest.raises(errors.ConfigError, match=r"type Walker; expected .*optimizers\.Optimizer"):
        nst_tf.StyleTransfer(OWN, transfer.backbone, optimizer=Walker())


def test_a_snapshot_of_what_is_no_number_is_refused(transfer):
    kept = []

    class Keep(callbacks.Callback):
        def on_step_end(self, step):
            kept.append(step.snapshot())

    transfer.stylize(PHOTO, PAINTING, [Keep()])
    image = kept[0].tensors["image"].numpy()
    image[0, 3, 4, 1] = np.nan
    broken = dataclasses.replace(kept[0], tensors={**kept[0].tensors, "image": tf.constant(image)})
    with pytest.raises(errors.ConfigError, match="not finite numbers"):
        transfer.stylize(PHOTO, PAINTING, start=broken)
