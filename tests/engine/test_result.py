"""The result of the library: an array to whatever takes one, which carries its settings."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import nst_tf
from nst_tf import callbacks, errors
from nst_tf.commands import stylize
from nst_tf.imaging import images
from nst_tf.kernels import convolution
from nst_tf.records import recipe

CONFIG = nst_tf.StyleTransferConfig(
    backbone="vgg16", image_size=48, levels=1, steps=(2,), content_layers=("block1_conv2",),
    style_layers=("block1_conv1",), optimizer="adam", run_eagerly=True, device="cpu",
    style_loss="gram", style_weight=10.0, content_weight=1.0, color="style", init_noise=0.5,
)  # fmt: skip


@pytest.fixture(scope="module")
def engine() -> nst_tf.StyleTransfer:
    return nst_tf.StyleTransfer(CONFIG)


@pytest.fixture(scope="module")
def result(engine: nst_tf.StyleTransfer, content_path: Path, style_path: Path) -> nst_tf.Result:
    return engine.stylize(content_path, str(style_path))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder; the log is left as it was."""
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("nst_tf")
    handlers, level = list(logger.handlers), logger.level
    yield tmp_path
    logger.handlers, logger.level = handlers, level


def pixels(path: Path | str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


# The array.


def test_it_is_an_array_to_numpy(result: nst_tf.Result):
    expected = result.tensor.numpy()
    assert (result.shape, result.dtype, len(result)) == ((36, 48, 3), tf.float32, 36)
    for found in (np.asarray(result), np.array(result), result.numpy(), [*result]):
        np.testing.assert_array_equal(found, expected)
    assert np.asarray(result).dtype == np.float32
    assert np.asarray(result, np.float64).dtype == np.float64
    np.testing.assert_array_equal(result[3:5, ..., 0], expected[3:5, ..., 0])
    np.testing.assert_array_equal(np.ones_like(expected) - result, 1 - expected)


def test_a_copy_is_one_and_what_is_no_copy_is_none(result: nst_tf.Result):
    view = np.asarray(result)
    assert np.shares_memory(view, np.asarray(result))
    for copy in (np.array(result), result.numpy()):
        assert not np.shares_memory(view, copy)
        copy[:] = 0  # It can be written to, and changes nothing else.
    assert view.max() > 0
    assert np.shares_memory(result.__array__(copy=False), view)
    with pytest.raises(ValueError, match="copy"):
        result.__array__(np.float64, copy=False)


def test_it_is_a_tensor_to_tensorflow(result: nst_tf.Result):
    np.testing.assert_array_equal(tf.convert_to_tensor(result), result)
    assert tf.image.resize(result, (18, 24)).shape == (18, 24, 3)
    np.testing.assert_allclose(tf.reduce_mean(result), np.asarray(result).mean(), rtol=1e-5)
    assert tf.cast(result, tf.float64).dtype == tf.float64
    eight = tf.image.convert_image_dtype(result, tf.uint8, saturate=True)
    assert np.abs(eight.numpy() / 255 - np.asarray(result)).max() < 1 / 255


def test_pillow_and_matplotlib_and_this_package_take_it(
    result: nst_tf.Result, engine: nst_tf.StyleTransfer, folder: Path, style_path: Path
):
    from matplotlib.figure import Figure

    expected = np.rint(result.numpy() * 255).astype(np.uint8)
    image = Image.fromarray((np.asarray(result) * 255).astype("uint8"))
    assert np.abs(np.asarray(image).astype(int) - expected).max() <= 1
    figure = Figure()
    shown = figure.subplots().imshow(result)
    figure.canvas.draw()
    np.testing.assert_array_equal(shown.get_array(), result)
    nst_tf.imaging.save(result, "plain.png")
    np.testing.assert_array_equal(pixels("plain.png"), expected)
    assert engine.stylize(result, style_path).shape == (36, 48, 3)


# What it knows.


def test_it_knows_how_it_was_made(result: nst_tf.Result, content_path: Path, style_path: Path):
    made = CONFIG.replace(precision=convolution.precision("auto"))
    assert result.config == made and result.finished
    assert [(level.height, level.width) for level in result.levels] == [(36, 48)]
    assert [(entry["level"], entry["step"]) for entry in result.history] == [(0, 1), (0, 2)]
    for entry in result.history:
        assert sum(entry["terms"].values()) == pytest.approx(entry["loss"], rel=1e-4)
    assert (result.network["name"], result.network["weights"]) == ("vgg16", "the package")
    assert result.recipe["config"] == made.to_dict()
    assert result.recipe["inputs"] == recipe.input_hashes(
        {"content": str(content_path), "style": str(style_path)}
    )
    assert "48x36, vgg16, 2 steps" in repr(result)


def test_pixels_are_known_by_their_content(
    engine: nst_tf.StyleTransfer, content_path: Path, style_path: Path
):
    photo = images.load(content_path)
    forms = photo.pixels, photo.rgb, Image.fromarray(photo.pixels), tf.constant(photo.rgb)
    found = [engine.stylize(form, style_path).recipe["inputs"] for form in forms]
    assert all(each == found[0] for each in found)
    content, style = found[0]["content"], found[0]["style"]
    assert content == {"name": "", "sha256": photo.digest, "of": "pixels"}
    assert style["name"] == "style.png" and "of" not in style
    assert engine.stylize(photo, style_path).recipe["inputs"]["content"]["name"] == "content.png"
    cropped = images.Picture(photo.pixels[:60])
    other = engine.stylize(cropped, style_path).recipe["inputs"]["content"]
    assert other["of"] == "pixels" and other["sha256"] != photo.digest


# The file.


def test_saving_replaces_nothing_unless_it_is_told_to(result: nst_tf.Result, folder: Path):
    assert result.save("new.png") == Path("new.png")
    np.testing.assert_array_equal(pixels("new.png"), np.rint(result.numpy() * 255))
    before = Path("new.png").read_bytes()
    with pytest.raises(errors.ExistingOutputError, match=r"new\.png: exists already"):
        result.save("new.png", bit_depth=16)
    assert Path("new.png").read_bytes() == before and os.listdir(folder) == ["new.png"]
    result.save("new.png", bit_depth=16, overwrite=True)
    np.testing.assert_allclose(images.load("new.png").rgb, result, atol=1e-5)


def test_the_transparency_of_the_photo_is_put_back(
    engine: nst_tf.StyleTransfer, style_path: Path, folder: Path
):
    photo = np.random.default_rng(0).integers(0, 256, (48, 48, 4), np.uint8)
    photo[..., 3] = np.linspace(0, 255, 48).astype(np.uint8)
    result = engine.stylize(photo, style_path)
    assert result.shape == (48, 48, 3)
    result.save("cut.png")
    np.testing.assert_array_equal(pixels("cut.png")[..., 3], photo[..., 3])


def replay(content: object, style: Path, *further: str) -> int:
    given = f"--content={content}", f"--style={style}", "--replay=first.png", "--output=again.png"
    return stylize.main(["stylize", *given, "--device=cpu", "--run_eagerly", *further])


@pytest.mark.parametrize("form", ["path", "array"])
def test_the_command_makes_a_saved_result_again(
    form: str, engine: nst_tf.StyleTransfer, content_path: Path, style_path: Path, folder: Path,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    given = content_path if form == "path" else images.load(content_path).rgb
    engine.stylize(given, style_path).save("first.png")
    assert replay(content_path, style_path) == 0, capsys.readouterr().err
    np.testing.assert_array_equal(pixels("again.png"), pixels("first.png"))


def test_the_command_refuses_other_pixels_in_one_sentence(
    engine: nst_tf.StyleTransfer, content_path: Path, style_path: Path, folder: Path,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    photo = images.load(content_path).pixels.copy()
    photo[0, 0, 0] ^= 1
    engine.stylize(photo, style_path).save("first.png")
    assert replay(content_path, style_path) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "content picture: a picture that was no file (SHA-256 of its pixels " in last
    assert "in the recipe, 'content.png' (SHA-256 of its pixels " in last
    assert "leave out --replay" in last
    assert not Path("again.png").exists()


def test_a_picture_that_is_not_finished_holds_no_recipe(
    engine: nst_tf.StyleTransfer, content_path: Path, style_path: Path, folder: Path
):
    class Stop(callbacks.Callback):
        def on_begin(self, run: callbacks.Run) -> None:
            run.stopping = False
            self.run = run

        def on_step_end(self, step: callbacks.StepEnd) -> None:
            self.run.stopping = True

    result = engine.stylize(content_path, style_path, [Stop()])
    assert not result.finished and len(result.history) == 1
    result.save("partial.png")
    assert not images.read_recipe("partial.png")


def test_the_recipe_of_a_file_is_that_of_the_result(result: nst_tf.Result, folder: Path):
    for name in ("a.png", "b.jpg", "c.webp", "d.tif"):
        result.save(name)
        with contextlib.closing(Image.open(name)):
            assert recipe.load(name) == json.loads(json.dumps(result.recipe))


def test_arithmetic_makes_arrays_and_leaves_the_result_as_it_is(result):
    before, changed = result.numpy(), result
    changed += 1
    changed *= 0.5
    np.testing.assert_array_equal(changed, (before + 1) * 0.5)
    np.testing.assert_array_equal(result, before)
    np.testing.assert_array_equal(np.abs(result - before).max(), 0)
