"""Jobs: what becomes of them, whatever happens, and that they are what the command makes."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nst_tf
from nst_tf import backbones, callbacks, errors, jobs
from nst_tf.commands import stylize
from nst_tf.imaging import images
from nst_tf.kernels import convolution
from nst_tf.records import recipe, snapshot

CONFIG = nst_tf.StyleTransferConfig(
    backbone="vgg16", image_size=48, levels=1, steps=(3,), content_layers=("block1_conv2",),
    style_layers=("block1_conv1",), optimizer="adam", run_eagerly=True, device="cpu",
    style_loss="gram", color="style",
)  # fmt: skip
FLAGS = (
    "--backbone=vgg16", "--image_size=48", "--levels=1", "--steps=3",
    "--content_layers=block1_conv2", "--style_layers=block1_conv1", "--style_loss=gram",
    "--color=style", "--optimizer=adam",
    "--run_eagerly", "--device=cpu",
)  # fmt: skip
"""The same settings."""


@pytest.fixture(scope="module")
def engine() -> nst_tf.StyleTransfer:
    return nst_tf.StyleTransfer(CONFIG)


@pytest.fixture
def paths(content_path: Path, style_path: Path, tmp_path: Path, monkeypatch) -> jobs.Paths:
    """The pictures, and a working folder that is empty."""
    monkeypatch.chdir(tmp_path)
    return jobs.Paths(str(content_path), [str(style_path)])


def pixels(path: Path | str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


class AtStep(callbacks.Callback):
    """Does something at the end of a step, and keeps the picture of that moment."""

    def __init__(self, number: int, action: Callable[[AtStep], object]) -> None:
        self._number, self._action = number, action

    def on_begin(self, run: callbacks.Run) -> None:
        self.run = run

    def on_step_end(self, step: callbacks.StepEnd) -> None:
        if step.step == self._number:
            self.picture = step.picture().numpy()
            self._action(self)


def stop(watcher: AtStep) -> None:
    watcher.run.stopping = True


def fail(error: BaseException) -> Callable[[AtStep], None]:
    def action(watcher: AtStep) -> None:
        raise error

    return action


# A job that is done.


def test_a_job_is_what_the_command_makes(paths: jobs.Paths, engine: nst_tf.StyleTransfer):
    logger = logging.getLogger("nst_tf")
    handlers, level = list(logger.handlers), logger.level
    given = f"--content={paths.content}", f"--style={paths.styles[0]}"
    assert stylize.main(["stylize", *given, *FLAGS, "--output=command.png", "--report=a.json"]) == 0
    logger.handlers, logger.level = handlers, level
    outputs = jobs.Outputs("job.png", report="b.json", plot="curves.png", preview_every=2)
    outcome = jobs.run(jobs.Job(paths, CONFIG, outputs), engine)
    assert (outcome.status, outcome.reason, outcome.error) == ("done", "", None)
    assert outcome.done and outcome.path == Path("job.png")
    np.testing.assert_array_equal(pixels("job.png"), pixels("command.png"))
    assert images.read_recipe("job.png") == images.read_recipe("command.png")
    assert sorted(os.listdir()) == [
        "a.json", "b.json", "command.png", "curves.png", "job.png", "job.preview.png",
    ]  # fmt: skip
    first, second = (json.loads(Path(name).read_text()) for name in ("a.json", "b.json"))
    assert first.keys() == second.keys()
    assert first["config"] == second["config"] and first["backbone"] == second["backbone"]
    losses = [[entry["loss"] for entry in each["history"]] for each in (first, second)]
    assert losses[0] == losses[1] and len(losses[0]) == 3


def test_an_outcome_tells_all_that_is_known(paths: jobs.Paths, engine: nst_tf.StyleTransfer):
    outcome = jobs.run(jobs.Job(paths, CONFIG), engine)
    assert outcome.status == "done" and outcome.path is None and not os.listdir()
    assert outcome.picture.shape == (36, 48, 3)
    assert [(level.height, level.width, level.steps) for level in outcome.levels] == [(36, 48, 3)]
    assert [entry["step"] for entry in outcome.history] == [1, 2, 3]
    assert outcome.network["name"] == "vgg16" and outcome.network["weights"] == "the package"
    assert outcome.config == CONFIG.replace(precision=convolution.precision("auto"))
    assert outcome.recipe["inputs"]["content"]["name"] == "content.png"
    assert "CPU" in outcome.device and outcome.seconds > 0 and outcome.peak_memory > 10**7
    expected = engine.stylize(paths.content, list(paths.styles))
    np.testing.assert_array_equal(outcome.picture, expected)
    assert outcome.recipe == expected.recipe


def test_decoded_pictures_serve_several_jobs(
    paths: jobs.Paths, engine: nst_tf.StyleTransfer, tmp_path: Path
):
    copies = jobs.Paths(*(str(tmp_path / name) for name in ("photo.png", "painting.png")))
    shutil.copy(paths.content, copies.content)
    shutil.copy(paths.styles[0], tmp_path / "painting.png")
    given = jobs.read_pictures(jobs.Paths(copies.content, [str(tmp_path / "painting.png")]), CONFIG)
    for name in ("photo.png", "painting.png"):
        (tmp_path / name).unlink()  # So that they cannot be read again.
    for seed in (1, 2):
        outcome = jobs.run(jobs.Job(given, CONFIG.replace(seed=seed)), engine)
        expected = recipe.input_hashes({"content": paths.content, "style": paths.styles[0]})
        found = outcome.recipe["inputs"]
        assert {role: each["sha256"] for role, each in found.items()} == {
            role: each["sha256"] for role, each in expected.items()
        }
        assert found["content"]["name"] == "photo.png"


# Several jobs.


@pytest.fixture
def no_other_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a test that builds a network."""

    def build(*_: Any, **__: Any) -> None:
        raise AssertionError("a network was built")

    monkeypatch.setattr(backbones, "build", build)


def test_a_batch_goes_on_past_a_job_that_fails(
    paths: jobs.Paths, engine: nst_tf.StyleTransfer, no_other_network: None
):
    contents = [paths.content, "missing.png", paths.content]
    settings = [CONFIG, CONFIG, CONFIG.replace(backbone="auto", steps=(2,))]
    batch = [
        jobs.Job(jobs.Paths(content, paths.styles), config, jobs.Outputs(f"{number}.png"))
        for number, (content, config) in enumerate(zip(contents, settings, strict=True))
    ]
    outcomes = [jobs.run(job, engine) for job in batch]
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "done"]
    assert outcomes[1].reason == "missing.png: no such file; expected a picture."
    assert isinstance(outcomes[1].error, errors.ImageError) and outcomes[1].picture is None
    assert sorted(os.listdir()) == ["0.png", "2.png"]
    assert len(outcomes[2].history) == 2


def test_an_engine_that_does_not_fit_is_not_used(paths: jobs.Paths, engine: nst_tf.StyleTransfer):
    config = CONFIG.replace(pooling="avg", content_layers=("block2_conv1",))
    given, alone = (jobs.run(jobs.Job(paths, config), each) for each in (engine, None))
    assert given.done and alone.done
    np.testing.assert_array_equal(given.picture, alone.picture)
    assert np.abs(given.picture - np.asarray(jobs.run(jobs.Job(paths, CONFIG)).picture)).max() > 0


# A job that does not end well.


def test_a_job_that_is_stopped_keeps_what_there_is(paths: jobs.Paths, engine: nst_tf.StyleTransfer):
    watcher = AtStep(2, stop)
    job = jobs.Job(paths, CONFIG, jobs.Outputs("new.png", report="run.json"))
    outcome = jobs.run(job, engine, [watcher])
    assert (outcome.status, outcome.error) == ("stopped", None)
    assert "stopped" in outcome.reason and len(outcome.history) == 2
    assert outcome.path == Path("new.partial.png") and os.listdir() == ["new.partial.png"]
    np.testing.assert_array_equal(outcome.picture, watcher.picture)
    assert not images.read_recipe("new.partial.png"), "it can be replayed, but is not finished"


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (KeyboardInterrupt(), "stopped", "stopped before its last step"),
        (RuntimeError("line one\nline two"), "failed", "failed (RuntimeError: line one)."),
        (MemoryError(), "failed", "not enough memory"),
        (errors.StyleTransferError("it is too hot."), "failed", "it is too hot."),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_within_the_steps_is_an_outcome(
    error: BaseException, status: str, words: str, paths: jobs.Paths, engine: nst_tf.StyleTransfer
):
    watcher = AtStep(2, fail(error))
    outcome = jobs.run(jobs.Job(paths, CONFIG, jobs.Outputs("new.png")), engine, [watcher])
    assert outcome.status == status and outcome.error is error
    assert words in outcome.reason
    assert os.listdir() == ["new.partial.png"]
    expected = np.rint(watcher.picture * 255).astype(np.uint8)
    np.testing.assert_array_equal(pixels("new.partial.png"), expected)


def test_a_loss_that_is_no_number_is_an_outcome(paths: jobs.Paths, engine: nst_tf.StyleTransfer):
    config = CONFIG.replace(style_weight=1e300)
    outcome = jobs.run(jobs.Job(paths, config, jobs.Outputs("new.png")), engine)
    assert outcome.status == "diverged" and "finite" in outcome.reason
    assert isinstance(outcome.error, errors.DivergenceError)
    assert outcome.path == Path("new.partial.png") and np.isfinite(outcome.picture).all()


def test_nothing_partial_is_kept_where_that_is_not_wanted(
    paths: jobs.Paths, engine: nst_tf.StyleTransfer
):
    job = jobs.Job(paths, CONFIG, jobs.Outputs("new.png", partial=False))
    outcome = jobs.run(job, engine, [AtStep(2, stop)])
    assert outcome.path is None and not os.listdir()
    assert outcome.picture.shape == (36, 48, 3)


def test_an_interrupt_before_the_steps_is_raised(
    paths: jobs.Paths, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(images, "size", lambda *_: fail(KeyboardInterrupt())(AtStep(0, stop)))
    with pytest.raises(KeyboardInterrupt):
        jobs.run(jobs.Job(paths, CONFIG))


def test_what_is_in_the_way_is_not_replaced(paths: jobs.Paths, engine: nst_tf.StyleTransfer):
    Path("new.png").write_bytes(b"old")
    outcome = jobs.run(jobs.Job(paths, CONFIG, jobs.Outputs("new.png")), engine)
    assert outcome.status == "failed" and "new.png: exists already" in outcome.reason
    assert Path("new.png").read_bytes() == b"old"
    assert jobs.run(jobs.Job(paths, CONFIG, jobs.Outputs("new.png", overwrite=True)), engine).done
    assert pixels("new.png").shape == (36, 48, 3)


def test_an_output_is_no_input_and_no_other_output(paths: jobs.Paths, engine: nst_tf.StyleTransfer):
    shutil.copy(paths.content, "photo.png")
    before = Path("photo.png").read_bytes()
    given = jobs.Paths("photo.png", paths.styles)
    for outputs, words in (
        (jobs.Outputs("photo.png", overwrite=True), "is the content of this run"),
        (jobs.Outputs("a.png", plot="./a.png"), "plot and picture are one file"),
        (jobs.Outputs("a.gif"), "picture=a.gif: cannot write"),
        (jobs.Outputs(preview_every=2), "preview_every=2"),
    ):
        outcome = jobs.run(jobs.Job(given, CONFIG, outputs), engine)
        assert outcome.status == "failed" and words in outcome.reason
    assert Path("photo.png").read_bytes() == before and os.listdir() == ["photo.png"]


def test_a_report_that_cannot_be_written_costs_nothing_else(
    paths: jobs.Paths, engine: nst_tf.StyleTransfer
):
    Path("reports").mkdir()
    outputs = jobs.Outputs("new.png", report="reports/run.json", plot="plot.png")
    vanish = AtStep(2, lambda _: Path("reports").rmdir())
    outcome = jobs.run(jobs.Job(paths, CONFIG, outputs), engine, [vanish])
    assert outcome.done and sorted(os.listdir()) == ["new.png", "plot.png"]
    (sentence,) = outcome.unwritten.values()
    assert sentence.startswith("reports/run.json: cannot be written (No such file")


def test_a_picture_that_cannot_be_written_is_somewhere_else(
    paths: jobs.Paths, engine: nst_tf.StyleTransfer, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    Path("results").mkdir()
    Path("scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    vanish = AtStep(2, lambda _: Path("results").rmdir())
    job = jobs.Job(paths, CONFIG, jobs.Outputs("results/new.png"))
    outcome = jobs.run(job, engine, [vanish])
    assert outcome.status == "failed" and outcome.path == tmp_path / "scratch" / "new.png"
    assert str(outcome.path) in outcome.reason
    assert pixels(outcome.path).shape == (36, 48, 3)


# Checkpoints and recipes.


def test_a_job_goes_on_from_its_checkpoint(paths: jobs.Paths, engine: nst_tf.StyleTransfer):
    whole = jobs.run(jobs.Job(paths, CONFIG), engine)
    kept = jobs.Checkpoints("kept", seconds=0)
    first = jobs.run(jobs.Job(paths, CONFIG, checkpoints=kept), engine, [AtStep(2, stop)])
    assert first.status == "stopped" and first.checkpoint == Path("kept/checkpoint-000002")
    earlier = snapshot.read(first.checkpoint).history[-1]["seconds"]
    again = jobs.Checkpoints("kept", seconds=0, resume=True)
    refused = jobs.run(jobs.Job(paths, CONFIG.replace(seed=5), checkpoints=again), engine)
    assert refused.status == "failed" and "seed: 0 in the checkpoint, 5 now" in refused.reason
    second = jobs.run(jobs.Job(paths, CONFIG, checkpoints=again), engine)
    assert second.done and second.checkpoint is None and not os.listdir()
    assert [entry["step"] for entry in second.history] == [1, 2, 3]
    assert second.earlier_seconds == earlier > 0
    np.testing.assert_array_equal(second.picture, whole.picture)


def test_a_replay_is_of_the_same_inputs(paths: jobs.Paths, engine: nst_tf.StyleTransfer):
    assert jobs.run(jobs.Job(paths, CONFIG, jobs.Outputs("first.png")), engine).done
    assert jobs.run(jobs.Job(paths, CONFIG, replay="first.png"), engine).done
    Image.new("RGB", (96, 72), "navy").save("other.png")
    other = jobs.Job(jobs.Paths("other.png", paths.styles), CONFIG, replay="first.png")
    outcome = jobs.run(other, engine)
    assert outcome.status == "failed" and "content picture: 'content.png'" in outcome.reason


def test_jobs_need_no_tensorflow_until_one_is_done(command_environment: dict[str, str]):
    code = (
        "import sys, nst_tf\n"
        "job = nst_tf.jobs.Job(nst_tf.jobs.Paths('missing.png', ['missing.png']))\n"
        "assert nst_tf.jobs.run(job).status == 'failed'\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules\n"
    )
    root = Path(nst_tf.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], cwd=root, env=command_environment, check=True)
