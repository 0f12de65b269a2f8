"""docs/embedding.md: every snippet runs, and does what the page says."""

from __future__ import annotations

import io
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

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "embedding.md"
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
    for seed, name in enumerate(("photo", "a", "b", "c")):
        pixels = conftest.smooth_picture(HEIGHT, WIDTH, seed)
        Image.fromarray(pixels).save(tmp_path / f"{name}.jpg")
    Image.fromarray(conftest.smooth_picture(56, 44, 9)).save(tmp_path / "painting.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(snippets: list[str]) -> dict[str, object]:
    """Runs snippets in order, in one fresh namespace, and returns it."""
    keras.utils.set_random_seed(SEED)  # A new network, now and then, gets worse at first.
    namespace: dict[str, object] = {"__name__": "snippet"}
    for snippet in snippets:
        exec(compile(snippet, str(PAGE), "exec"), namespace)
    return namespace


def test_every_section_is_tested():
    assert list(SECTIONS) == [
        "Features in a model of your own",
        "Losses in a loop of your own",
        "Previews for a web server",
        "Work that is never lost",
        "Many photos, one style",
        "Export without nst_tf",
    ]
    assert sum(map(len, SECTIONS.values())) == PAGE.read_text().count("```") / 2


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


def test_previews_for_a_web_server(folder):
    found = run(SECTIONS["Previews for a web server"])
    assert found["parts"]
    for part in found["parts"]:
        header, _, jpeg = part.partition(b"\r\n\r\n")
        assert header == b"--frame\r\nContent-Type: image/jpeg"
        picture = Image.open(io.BytesIO(jpeg))
        assert picture.format == "JPEG"
        assert picture.size == (WIDTH, HEIGHT)
        picture.load()


def test_a_reader_that_leaves_stops_the_work(folder):
    found = run(SECTIONS["Previews for a web server"])
    stream, steps = found["Stream"](every=1), []
    counted = stream.on_step_end
    stream.on_step_end = lambda step: (steps.append(step.step), counted(step))
    stream.cancelled.set()
    found["work"](stream)
    assert steps == [1]
    assert stream.jpegs.get_nowait()[:2] == b"\xff\xd8"


def test_an_error_does_not_leave_the_reader_waiting(folder):
    found = run(SECTIONS["Previews for a web server"])
    (folder / "photo.jpg").unlink()
    stream = found["Stream"]()
    with pytest.raises(found["nst_tf"].errors.ImageError):
        found["work"](stream)
    assert list(found["body"](stream)) == []


def test_work_that_is_never_lost(folder, monkeypatch):
    snippets = SECTIONS["Work that is never lost"]
    monkeypatch.setattr("nst_tf.imaging.save", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(snippets)
    assert len(list((folder / "checkpoints").iterdir())) == 1
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    found = run(snippets)
    assert (folder / "result.png").exists()
    assert not (folder / "checkpoints").exists()
    assert found["checkpoint"].saved is None


def test_many_photos_are_painted_with_one_style(folder):
    run(SECTIONS["Many photos, one style"])
    for name in ("a", "b", "c"):
        photo, picture = (
            np.asarray(Image.open(folder / f"{prefix}{name}.jpg"), np.float32)
            for prefix in ("", "painted-")
        )
        assert picture.shape == photo.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(picture - photo).mean() > 1


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
