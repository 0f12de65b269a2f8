"""docs/guides/library.md: every snippet runs, and does what the page says."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import conftest
import keras
import numpy as np
import pytest
from PIL import Image

import nst_tf
from nst_tf.imaging import images

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guides" / "library.md"
HEIGHT, WIDTH = 40, 48
SEED = 0


def sections() -> dict[str, list[str]]:
    """Returns the Python snippets below each heading, padded to their line in the page."""
    text, found = PAGE.read_text(), {}
    for heading, start, end in [
        (match[1], match.start(), match.end()) for match in re.finditer(r"^## (.+)\n", text, re.M)
    ]:
        body = text[end:].partition("\n## ")[0]
        line = text[:start].count("\n") + 1
        found[heading] = [
            "\n" * (line + body[: match.start(1)].count("\n")) + match[1]
            for match in re.finditer(r"```python\n(.*?)```", body, re.S)
        ]
    return found


SECTIONS = sections()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a snippet, with small pictures."""
    monkeypatch.chdir(with_pictures(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def previews(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What the section on previews has defined."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(with_pictures(tmp_path_factory.mktemp("previews")))
        return run(SECTIONS["Previews for a web server"])


def with_pictures(tmp_path: Path) -> Path:
    """Returns a folder, with small pictures in it."""
    for seed, name in enumerate(("photo", "a", "b", "c")):
        pixels = conftest.smooth_picture(HEIGHT, WIDTH, seed)
        Image.fromarray(pixels).save(tmp_path / f"{name}.jpg")
    Image.fromarray(conftest.smooth_picture(56, 44, 9)).save(tmp_path / "painting.jpg")
    return tmp_path


def run(snippets: list[str]) -> dict[str, object]:
    """Runs snippets in order, in one fresh namespace, and returns it."""
    keras.utils.set_random_seed(SEED)  # A new network, now and then, gets worse at first.
    namespace: dict[str, object] = {"__name__": "snippet"}
    for snippet in snippets:
        exec(compile(snippet, str(PAGE), "exec"), namespace)
    return namespace


def test_every_section_is_tested():
    assert [heading for heading, snippets in SECTIONS.items() if snippets] == [
        "Make a picture",
        "Watch a run",
        "Choose the parts",
        "Add your own loss",
        "A loss of several references",
        "A backbone of your own",
        "Features in a model of your own",
        "Losses in a loop of your own",
        "An optimiser of your own",
        "Previews for a web server",
        "Resume after a crash",
        "Run jobs",
        "Many photos, one style",
        "Start from a picture",
        "Export without nst_tf",
    ]
    assert sum(map(len, SECTIONS.values())) == PAGE.read_text().count("```") / 2


def test_make_a_picture(folder):
    found = run(SECTIONS["Make a picture"])
    pixels, result = found["pixels"], found["result"]
    assert pixels.dtype == np.float32
    assert pixels.shape == tuple(result.shape) == (HEIGHT, WIDTH, 3)
    assert 0 <= pixels.min() < pixels.max() <= 1
    np.testing.assert_array_equal(result.numpy(), pixels)
    written = np.asarray(Image.open(folder / "result.png"), np.float32) / 255
    np.testing.assert_allclose(written, pixels, atol=0.5 / 255 + 1e-6)
    recipe = images.read_recipe(folder / "result.png")
    assert json.loads(recipe)["config"]["steps"] == [30]
    assert len(found["history"].entries) == sum(level.steps for level in result.levels)


def test_watch_a_run(folder):
    found = run(SECTIONS["Watch a run"])
    history = nst_tf.callbacks.History()
    watching = [found["StopWhenGood"](np.inf), history]
    nst_tf.stylize("photo.jpg", "painting.jpg", found["config"], callbacks=watching)
    assert len(history.entries) == 1


def test_choose_the_parts(folder):
    found = run(SECTIONS["Choose the parts"])
    plain = nst_tf.StyleTransferConfig(backbone="vgg16", image_size=WIDTH, steps=30)
    other = nst_tf.stylize("photo.jpg", "painting.jpg", plain)
    assert np.isfinite(found["result"]).all()
    assert np.abs(np.asarray(found["result"]) - np.asarray(other)).mean() > 0.01


def test_add_your_own_loss(folder):
    found = run(SECTIONS["Add your own loss"])
    assert np.asarray(found["result"]).shape == (HEIGHT, WIDTH, 3)
    loss, random = found["Means"](), np.random.default_rng(SEED)
    style, picture = random.random((2, 1, 6, 8, 3), np.float32)
    mask = random.random((1, 6, 8, 1), np.float32)
    target = loss.target(style, mask)
    value = loss.value(loss.statistics(picture, 1.0, target), target)
    wanted = np.average(np.float64(style)[0], axis=(0, 1), weights=np.repeat(mask[0], 3, axis=2))
    means = np.float64(picture).mean(axis=(0, 1, 2))
    np.testing.assert_allclose(value, sum((means - wanted) ** 2) / sum(wanted**2), rtol=1e-4)


def test_a_loss_of_several_references(folder):
    found = run(SECTIONS["A loss of several references"])
    losses = [entry["loss"] for entry in found["result"].history]
    assert losses[-1] < losses[0]


def test_a_backbone_of_your_own(folder):
    found = run(SECTIONS["A backbone of your own"])
    assert np.asarray(found["result"]).shape == (HEIGHT, WIDTH, 3)
    picture = np.random.default_rng(SEED).random((1, 8, 8, 3), np.float32)
    low = found["model"].get_layer("low")(2 * picture - 1)
    np.testing.assert_allclose(found["backbone"](picture)["low"], low, rtol=1e-5, atol=1e-6)


def test_features_in_a_model_of_your_own(folder, capsys):
    snippets = SECTIONS["Features in a model of your own"]
    before = run(snippets[:1])
    printed = capsys.readouterr().out.splitlines()
    assert all(f"`{line}`" in " ".join(PAGE.read_text().split()) for line in printed)
    assert len(printed) == 2
    activations = before["backbone"](np.zeros((1, 256, 384, 3), np.float32))
    for name in before["layers"]:
        assert f"`{tuple(activations[name].shape)}`" in PAGE.read_text()

    after = run(snippets)
    assert len(after["model"].trainable_variables) == 2
    for found, expected in zip(
        after["backbone"].get_weights(), before["backbone"].get_weights(), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_losses_in_a_loop_of_your_own(folder):
    found = run(SECTIONS["Losses in a loop of your own"])
    assert found["losses"][-1] < 0.9 * found["losses"][0]
    assert found["network"](found["load"]("a.jpg")).shape == (1, HEIGHT, WIDTH, 3)
    assert found["train"].experimental_get_tracing_count() <= 2  # Keras makes variables in one.


def test_an_optimiser_of_your_own(folder):
    found = run(SECTIONS["An optimiser of your own"])
    kept = []

    class Keep(nst_tf.callbacks.Callback):
        def on_step_end(self, step):
            kept.append(float(step.loss))

    found["transfer"].stylize("photo.jpg", "painting.jpg", [Keep()])
    assert min(kept) < 0.9 * kept[0]
    with Image.open("result.png") as picture:
        assert picture.size == (WIDTH, HEIGHT)


def test_previews_for_a_web_server(previews):
    assert previews["parts"]
    for part in previews["parts"]:
        header, _, jpeg = part.partition(b"\r\n\r\n")
        assert header == b"--frame\r\nContent-Type: image/jpeg"
        picture = Image.open(io.BytesIO(jpeg))
        assert picture.format == "JPEG"
        assert picture.size == (WIDTH, HEIGHT)
        picture.load()


def test_a_reader_that_leaves_stops_the_work(folder, previews):
    stream, steps = previews["Stream"](every=1), []
    counted = stream.on_step_end
    stream.on_step_end = lambda step: (steps.append(step.step), counted(step))
    stream.cancelled.set()
    previews["work"](stream)
    assert steps == [1]
    assert stream.jpegs.get_nowait()[:2] == b"\xff\xd8"


def test_an_error_does_not_leave_the_reader_waiting(folder, previews):
    (folder / "photo.jpg").unlink()
    stream = previews["Stream"]()
    with pytest.raises(nst_tf.errors.ImageError):
        previews["work"](stream)
    assert list(previews["body"](stream)) == []


def test_resume_after_a_crash(folder):
    snippets = SECTIONS["Resume after a crash"]
    (folder / "result.png").mkdir()  # So that the picture cannot be written.
    with pytest.raises(nst_tf.errors.OutputError):
        run(snippets)
    assert len(list((folder / "checkpoints").iterdir())) == 1
    (folder / "result.png").rmdir()
    found = run(snippets)
    assert (folder / "result.png").is_file()
    assert not (folder / "checkpoints").exists()
    assert found["checkpoint"].saved is None


def test_run_jobs(folder):
    found = run(SECTIONS["Run jobs"])
    assert [outcome.status for outcome in found["outcomes"]] == ["done", "failed", "done"]
    assert Image.open(folder / "a.png").size == Image.open(folder / "b.png").size == (WIDTH, HEIGHT)
    assert not (folder / "missing.png").exists()


def test_many_photos_are_painted_with_one_style(folder):
    run(SECTIONS["Many photos, one style"])
    for name in ("a", "b", "c"):
        photo, picture = (
            np.asarray(Image.open(folder / f"{prefix}{name}.jpg"), np.float32)
            for prefix in ("", "painted-")
        )
        assert picture.shape == photo.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(picture - photo).mean() > 1


def test_start_from_a_picture(folder):
    found = run(SECTIONS["Start from a picture"])
    first, second = (np.asarray(found[name]) for name in ("first", "second"))
    fresh = np.asarray(found["transfer"].stylize("b.jpg", "painting.jpg"))
    assert np.abs(second - first).mean() < np.abs(fresh - first).mean()


def test_export_without_nst_tf(folder, command_environment):
    *exporting, using = SECTIONS["Export without nst_tf"]
    ours = run(exporting)
    report = """
        import sys
        import numpy as np

        assert not [name for name in sys.modules if name.partition(".")[0] == "nst_tf"]
        np.savez(
            "found.npz",
            photo=photo,
            activations=activations,
            image=image,
            losses=losses,
            **painter.evaluate(image),
        )
        """
    environment = {**command_environment, "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", using + textwrap.dedent(report)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = np.load(folder / "found.npz")
    assert found["losses"][-1] < found["losses"][0]
    assert_same(found["activations"], ours["backbone"](found["photo"])["block3_conv1"])
    expected = ours["painter"].evaluate(found["image"])
    assert_same(found["loss"], expected["loss"])
    assert_same(found["gradient"], expected["gradient"])


def assert_same(found, expected):
    """Compares up to 1e-5 of the largest value."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
