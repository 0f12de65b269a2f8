"""The command as a person meets it: files, words on the terminal and the exit status."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import io
import json
import logging
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import forked
import numpy as np
import psutil
import pytest
from PIL import Image

from nst_tf import backbones, callbacks, config, errors, jobs, presets
from nst_tf.commands import console, flags, stylize
from nst_tf.imaging import images, masks, sources
from nst_tf.kernels import convolution
from nst_tf.records import recipe
from nst_tf.runtime import files

SCRIPT = Path(__file__).parents[2] / "scripts" / "stylize.py"
SMALL = ("--backbone=vgg16", "--image_size=64", "--steps=2", "--levels=1", "--device=cpu")
QUICK = (*SMALL, "--style_loss=gram")
"""Flags of a run that takes no longer than TensorFlow takes to load."""

FILES, FLAGS = 1, 2
"""Exit status where a file is to blame, and where a flag is."""

Command = Callable[..., subprocess.CompletedProcess]


def inputs(content: Path, style: Path, arguments: Sequence[object]) -> list[str]:
    """Returns the arguments with the two pictures before them, unless they name a photo."""
    further = list(map(str, arguments))
    photo = [] if any("--content=" in each for each in further) else [f"--content={content}"]
    return [*photo, f"--style={style}", *further]


@pytest.fixture(scope="session")
def command(content_path: Path, style_path: Path, command_environment: dict[str, str]) -> Command:
    """Runs the command on the two pictures with further flags, as a process of its own."""

    def run(folder: Path, *arguments: object, **options: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, SCRIPT, *inputs(content_path, style_path, arguments)],
            **{"cwd": folder, "env": command_environment, "capture_output": True, "text": True,
               "timeout": 300, **options},
        )  # fmt: skip

    return run


@pytest.fixture(scope="session")
def warm(content_path: Path, style_path: Path, command_environment: dict[str, str]) -> Command:
    """Does the same in a process that has TensorFlow loaded already."""

    def run(folder: Path, *arguments: object, **settings: str) -> subprocess.CompletedProcess:
        given = inputs(content_path, style_path, arguments)
        environment = {**command_environment, **settings}
        return forked.run(SCRIPT, *given, folder=folder, environment=environment)

    return run


@pytest.fixture
def main(
    content_path: Path,
    style_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., int]]:
    """Calls the command in this process, for what ends before TensorFlow is loaded."""
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("nst_tf")
    handlers, level = list(logger.handlers), logger.level

    def run(*arguments: str) -> int:
        return stylize.main(["stylize.py", *inputs(content_path, style_path, arguments)])

    yield run
    logger.handlers, logger.level = handlers, level


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


# A run that goes well.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `finished` ran."""
    return tmp_path_factory.mktemp("finished")


@pytest.fixture(scope="module")
def finished(command: Command, folder: Path) -> subprocess.CompletedProcess:
    """A run with all extras, which gives its output no name."""
    extras = ("--report=report.json", "--plot=curves.png", "--preview_every=1",
              "--timelapse=film.gif")  # fmt: skip
    return command(folder, *SMALL, *extras)


def test_finished_run_writes_the_picture_and_the_extras(
    finished: subprocess.CompletedProcess, folder: Path
):
    assert finished.returncode == 0, finished.stderr
    expected = ["content_style.png", "content_style.preview.png", "curves.png", "film.gif",
                "report.json"]  # fmt: skip
    assert sorted(os.listdir(folder)) == expected
    assert pixels(folder / "content_style.png").shape == (48, 64, 3)
    assert pixels(folder / "content_style.preview.png").shape == (48, 64, 3)
    assert np.ptp(pixels(folder / "curves.png")[..., :3]) > 100, "the plot is blank"


def test_standard_output_is_the_path_alone(finished: subprocess.CompletedProcess):
    assert finished.stdout == "content_style.png\n"


def test_sizes_are_announced_before_the_device(
    finished: subprocess.CompletedProcess, content_path: Path, style_path: Path
):
    lines = finished.stderr.splitlines()
    for word in (str(content_path), "96x72", str(style_path), "64x80", "64x48 in 2 steps"):
        assert word in lines[0]
    assert "CPU:0" in lines[1] and "vgg16" in lines[1] and "GB of memory" in lines[1]
    assert any("step 2/2" in line and "loss" in line for line in lines[2:])
    assert lines[-1].startswith("Done in")


def test_bfloat16_is_as_silent(warm: Command, tmp_path: Path):
    done = warm(tmp_path, *QUICK, "--precision=bfloat16")
    assert done.returncode == 0
    assert "oneDNN" not in done.stderr


def test_report_holds_the_whole_run(finished: subprocess.CompletedProcess, folder: Path):
    report = json.loads((folder / "report.json").read_text())
    assert set(report) == {
        "config", "versions", "machine", "device", "backbone", "levels", "history", "rollbacks",
        "seconds", "peak_memory_bytes",
    }  # fmt: skip
    provenance = config.StyleTransferConfig.from_dict(report["config"])
    assert (provenance.image_size, provenance.steps, provenance.backbone) == (64, (2,), "vgg16")
    assert {"nst_tf", "python", "tensorflow", "keras", "numpy"} <= set(report["versions"])
    assert "CPU:0" in report["device"]
    assert report["levels"] == [{"height": 48, "width": 64, "steps": 2}]
    assert report["seconds"] > 0
    assert 10**8 < report["peak_memory_bytes"] < 10**10


def test_report_names_the_weights(finished: subprocess.CompletedProcess, folder: Path):
    backbone = json.loads((folder / "report.json").read_text())["backbone"]
    bundled = Path(backbones.__file__).with_name("vgg16_imagenet.h5")
    expected = {"name": "vgg16", "weights": "the package", "sha256": files.file_hash(bundled)}
    assert backbone == expected


def test_history_has_every_step_and_terms_that_add_up(
    finished: subprocess.CompletedProcess, folder: Path
):
    history = json.loads((folder / "report.json").read_text())["history"]
    assert [(entry["level"], entry["step"]) for entry in history] == [(0, 1), (0, 2)]
    assert 0 < history[0]["seconds"] <= history[1]["seconds"]
    for entry in history:
        assert set(entry) == {"level", "step", "loss", "terms", "seconds"}
        assert sum(entry["terms"].values()) == pytest.approx(entry["loss"], rel=1e-4)
        assert any(name.startswith("style/") for name in entry["terms"])


def test_existing_output_is_left_alone(
    finished: subprocess.CompletedProcess, folder: Path, warm: Command
):
    before = (folder / "content_style.png").read_bytes()
    again = warm(folder, *QUICK)
    assert again.returncode == 1
    assert again.stdout == ""
    lines = again.stderr.splitlines()
    assert len(lines) == 1 and "content_style.png" in lines[0] and "--overwrite" in lines[0]
    assert (folder / "content_style.png").read_bytes() == before


def test_replay_makes_the_same_pixels_again(
    finished: subprocess.CompletedProcess, folder: Path, warm: Command, tmp_path: Path
):
    replay = f"--replay={folder / 'content_style.png'}"
    (tmp_path / "again.tif").write_bytes(b"old")
    done = warm(tmp_path, replay, "--device=cpu", "--output=again.tif", "--overwrite")
    assert (done.returncode, done.stdout) == (0, "again.tif\n"), done.stderr
    assert "recipe" not in done.stderr, "something is said to differ"
    again = pixels(tmp_path / "again.tif")
    np.testing.assert_array_equal(again, pixels(folder / "content_style.png"))
    assert images.read_recipe(tmp_path / "again.tif") == images.read_recipe(
        folder / "content_style.png"
    )


def test_replay_refuses_another_photo(
    finished: subprocess.CompletedProcess,
    folder: Path,
    main: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    Image.fromarray(np.full((72, 96, 3), 90, np.uint8)).save(tmp_path / "other.png")
    replay = f"--replay={folder / 'content_style.png'}"
    status = main(replay, "--content=other.png", "--output=again.png")
    assert status == 1
    said = capsys.readouterr().err
    assert "content picture: 'content.png' (SHA-256 " in said and "'other.png' (SHA-256 " in said
    assert os.listdir(tmp_path) == ["other.png"]


def test_replay_refuses_a_picture_without_recipe(
    main: Callable[..., int], content_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(f"--replay={content_path}", "--output=again.png") == 1
    error = capsys.readouterr().err
    assert str(content_path) in error and "holds no recipe" in error


def test_transparent_photo_gives_a_transparent_picture(warm: Command, tmp_path: Path):
    array = np.random.default_rng(0).integers(0, 256, (48, 64, 4), dtype=np.uint8)
    array[..., 3] = np.linspace(0, 255, 64).astype(np.uint8)
    Image.fromarray(array).save(tmp_path / "cut.webp", lossless=True)
    done = warm(tmp_path, *QUICK, "--content=cut.webp", "--output=new.webp")
    assert (done.returncode, done.stdout) == (0, "new.webp\n"), done.stderr
    made = pixels(tmp_path / "new.webp")
    assert made.shape == (48, 64, 4)
    np.testing.assert_array_equal(made[..., 3], array[..., 3])


# Several styles, and masks.


@pytest.fixture(scope="module")
def mixed(
    command_environment: dict[str, str], style_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[subprocess.CompletedProcess, Path, tuple[str, ...]]:
    """A run with two styles from a folder, and masks; with its folder and flags."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "styles").mkdir()
    shutil.copy(style_path, folder / "styles" / "b.png")
    Image.new("RGB", (64, 64), (200, 30, 30)).save(folder / "styles" / "a.jpg")
    (folder / "styles" / "notes.txt").write_text("no picture")
    for name, left, right in (("photo", "red", "blue"), ("a", "red", "red"), ("b", "blue", "blue")):
        mask = Image.new("RGB", (40, 30), left)
        mask.paste(right, (20, 0, 40, 30))
        mask.save(folder / f"mask_{name}.png")
    flags_ = (
        "--content_mask=mask_photo.png", "--style_mask=mask_a.png", "--style_mask=mask_b.png",
        "--save_mask_overlay=overlay.png", "--output=mixed.png", *QUICK,
    )  # fmt: skip
    # The fixture's own --style is the second one of the folder, so it is left out here.
    content = folder / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)).save(content)
    given = ("--content=photo.png", "--style=styles", *flags_)
    done = forked.run(SCRIPT, *given, folder=folder, environment=command_environment)
    return done, folder, given


def test_every_region_is_painted_and_told(mixed):
    done, folder, _ = mixed
    assert done.returncode == 0, done.stderr
    assert "styles/a.jpg (64x64) and styles/b.png (64x80)" in done.stderr
    assert "mask_photo.png: #0000ff (50.0%), #ff0000 (50.0%)." in done.stderr
    assert pixels(folder / "mixed.png").shape == (48, 64, 3)
    shown = pixels(folder / "overlay.png").astype(int)
    assert shown.shape == (48, 64, 3)
    assert shown[:, :30, 0].mean() > shown[:, :30, 2].mean() + 50
    assert shown[:, 34:, 2].mean() > shown[:, 34:, 0].mean() + 50


def test_recipe_names_every_picture(mixed):
    _, folder, _ = mixed
    inputs = recipe.load(str(folder / "mixed.png"))["inputs"]
    assert {role: entry["name"] for role, entry in inputs.items()} == {
        "content": "photo.png", "style 1": "a.jpg", "style 2": "b.png",
        "content mask": "mask_photo.png", "style mask 1": "mask_a.png",
        "style mask 2": "mask_b.png",
    }  # fmt: skip


def test_replay_refuses_another_mask(mixed, monkeypatch, capsys):
    _, folder, given = mixed
    monkeypatch.chdir(folder)
    other = [flag.replace("mask_photo", "mask_a") for flag in given if "output" not in flag]
    other = [flag for flag in other if "overlay" not in flag]
    status = stylize.main(["stylize.py", *other, "--replay=mixed.png", "--output=again.png"])
    assert status == 1
    said = capsys.readouterr().err
    assert "content mask picture: 'mask_photo.png' (SHA-256 " in said and "'mask_a.png'" in said


def test_colours_of_one_side_are_refused_before_the_work(mixed, monkeypatch, capsys):
    _, folder, given = mixed
    monkeypatch.chdir(folder)
    Image.new("RGB", (40, 30), "lime").save(folder / "mask_c.png")
    other = [flag.replace("mask_b", "mask_c") for flag in given if "overlay" not in flag]
    status = stylize.main(["stylize.py", *other, "--output=again.png"])
    said = capsys.readouterr().err
    assert status == 2
    assert "#0000ff, #00ff00 is in the masks of one side only" in said
    assert not (folder / "again.png").exists()


# A run that is stopped, or cannot keep its result.


def start(
    folder: Path, content: Path, style: Path, *arguments: str, env: dict[str, str]
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, SCRIPT, f"--content={content}", f"--style={style}", *QUICK, *arguments],
        cwd=folder, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    """Reads what the process says until a line holds `words`."""
    assert process.stderr is not None
    assert any(words in line for line in process.stderr)


STOPPING = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@STOPPING
def test_ctrl_c_keeps_what_there_is(
    number: signal.Signals, content_path: Path, style_path: Path,
    command_environment: dict[str, str], tmp_path: Path,
):  # fmt: skip
    process = start(
        tmp_path, content_path, style_path, "--levels=2", "--steps=1,100000", "--image_size=96",
        "--output=long.png", env=command_environment,
    )  # fmt: skip
    wait_for(process, "step 1/1")
    process.send_signal(number)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 128 + number, error
    assert os.listdir(tmp_path) == ["long.partial.png"]
    assert pixels(tmp_path / "long.partial.png").shape == (72, 96, 3)
    assert "long.partial.png" in error and "Traceback" not in error
    assert out == ""


@STOPPING
def test_ctrl_c_while_tensorflow_loads_is_one_sentence(
    number: signal.Signals, content_path: Path, style_path: Path,
    command_environment: dict[str, str], tmp_path: Path,
):  # fmt: skip
    process = start(
        tmp_path, content_path, style_path, "--output=new.png", env=command_environment
    )  # fmt: skip
    wait_for(process, "in the manner of")
    time.sleep(0.7)  # Loading takes some seconds.
    process.send_signal(number)
    out, error = process.communicate(timeout=120)
    assert (process.returncode, out) == (128 + number, "")
    assert error == "Interrupted; nothing was written.\n"
    assert not os.listdir(tmp_path)


def test_loss_that_is_no_number_keeps_the_last_good_picture(warm: Command, tmp_path: Path):
    done = warm(tmp_path, *QUICK, "--style_weight=1e300", "--output=new.png")
    assert (done.returncode, done.stdout) == (1, "")
    assert os.listdir(tmp_path) == ["new.partial.png"]
    last = done.stderr.splitlines()[-1]
    for word in ("finite", "learning_rate", "new.partial.png"):
        assert word in last
    assert "Traceback" not in done.stderr


def limit_files() -> None:
    """Lets no file of this process grow beyond 2000 bytes, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))


def test_full_disk_is_one_sentence_and_no_file(
    command: Command, command_environment: dict[str, str], tmp_path: Path
):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "old.png").write_bytes(b"old")
    done = command(
        tmp_path, *QUICK, "--output=old.png", "--overwrite", preexec_fn=limit_files,
        env={**command_environment, "TMPDIR": str(scratch)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("stylize.py: old.png: ") and "File too large" in last
    assert (tmp_path / "old.png").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["old.png", "scratch"] and not os.listdir(scratch)


def test_picture_is_kept_elsewhere_when_its_folder_vanishes(
    content_path: Path, style_path: Path, command_environment: dict[str, str], tmp_path: Path
):
    for name in ("results", "scratch"):
        (tmp_path / name).mkdir()
    process = start(
        tmp_path, content_path, style_path, "--output=results/new.png",
        env={**command_environment, "TMPDIR": str(tmp_path / "scratch")},
    )  # fmt: skip
    wait_for(process, "in the manner of")
    (tmp_path / "results").rmdir()
    out, error = process.communicate(timeout=120)
    assert (process.returncode, out) == (1, "")
    refuge = tmp_path / "scratch" / "new.png"
    assert pixels(refuge).shape == (48, 64, 3)
    assert str(refuge) in error.splitlines()[-1] and "Traceback" not in error


# Whatever happens in a run, the picture is kept.


TINY = (
    "--backbone=vgg16", "--image_size=48", "--levels=1", "--steps=3", "--optimizer=adam",
    "--content_layers=block1_conv2", "--style_layers=block1_conv1", "--style_loss=gram",
    "--color=style", "--run_eagerly", "--device=cpu", "--output=new.png",
)  # fmt: skip
"""Flags of a run that takes no time, once TensorFlow is loaded."""


def at_step(monkeypatch: pytest.MonkeyPatch, number: int, action: Callable[[], object]) -> None:
    """Has something happen at the end of a step."""
    shown = callbacks.Progress.on_step_end

    def on_step_end(self: callbacks.Progress, step: callbacks.StepEnd) -> None:
        shown(self, step)
        if step.step == number:
            action()

    monkeypatch.setattr(callbacks.Progress, "on_step_end", on_step_end)


def press(*numbers: int) -> Callable[[], None]:
    """Returns what sends signals to this process, one after the other."""

    def send() -> None:
        for number in numbers:
            signal.raise_signal(number)

    return send


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.fixture
def handlers() -> Iterator[None]:
    """Python's own handler for Ctrl-C, and a test that all are as they were in the end."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before = [signal.getsignal(number) for number in callbacks.SIGNALS]
    yield
    assert [signal.getsignal(number) for number in callbacks.SIGNALS] == before


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(), OSError(5, "Input/output error"), RuntimeError("line one\nline two"),
        errors.StyleTransferError("it is too hot."),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_an_error_within_the_steps_keeps_the_last_good_picture(
    error: Exception, main: Callable[..., int], handlers: None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
):  # fmt: skip
    at_step(monkeypatch, 2, raising(error))
    status = main(*TINY, "--checkpoint_dir=kept", "--checkpoint_seconds=0", "--timelapse=x.mp4")
    assert status == 1
    assert sorted(os.listdir(tmp_path)) == ["kept", "new.partial.png"]
    assert pixels(tmp_path / "new.partial.png").shape == (36, 48, 3)
    out, said = capfd.readouterr()
    last = said.splitlines()[-1]
    assert out == "" and "Traceback" not in said
    assert last.startswith("stylize.py: ")
    assert "The last good picture is new.partial.png. --resume goes on from kept/" in last
    assert (errors.reason(error) if str(error) else "not enough memory") in last


def test_an_error_before_the_first_step_is_one_sentence(
    main: Callable[..., int], handlers: None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
):  # fmt: skip
    monkeypatch.setattr(callbacks.Progress, "on_level_begin", raising(MemoryError()))
    assert main(*TINY) == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert last == ("stylize.py: the run has failed (MemoryError: there is not enough memory).")
    assert not os.listdir(tmp_path)


def test_an_error_of_what_shows_the_picture_does_not_end_the_run(
    main: Callable[..., int], handlers: None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
):  # fmt: skip
    pytest.importorskip("av")
    monkeypatch.setattr(callbacks.timelapse, "_enlarged", raising(MemoryError()))
    monkeypatch.setattr(callbacks.Progress, "on_end", raising(RuntimeError("no end")))
    saved = images.save
    monkeypatch.setattr(images, "save", raising(MemoryError()))
    at_step(monkeypatch, 3, lambda: monkeypatch.setattr(images, "save", saved))
    assert main(*TINY, "--timelapse=film.mp4", "--preview_every=2") == 0
    assert os.listdir(tmp_path) == ["new.png"]
    said = capfd.readouterr().err
    assert "film.mp4: no film (there is not enough memory)" in said
    assert "No preview for now: there is not enough memory" in said
    assert "no end" in said


@pytest.mark.parametrize("number", callbacks.SIGNALS)
@pytest.mark.parametrize("times", [1, 3])
def test_a_signal_while_the_finished_picture_is_saved_waits(
    number: int, times: int, main: Callable[..., int], handlers: None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
):  # fmt: skip
    saved = images.save

    def save(*arguments: object, **options: object) -> None:
        press(*[number] * times)()
        saved(*arguments, **options)

    monkeypatch.setattr(images, "save", save)
    status = main(*TINY, "--report=run.json", "--checkpoint_dir=kept")
    assert status == 128 + number
    assert os.listdir(tmp_path) == ["new.png"]
    out, said = capfd.readouterr()
    assert out == "new.png\n"
    assert said.splitlines()[-1] == "Interrupted, but the picture is finished: new.png."


@pytest.mark.parametrize("number", callbacks.SIGNALS)
def test_further_signals_do_not_cost_the_last_good_picture(
    number: int, main: Callable[..., int], handlers: None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
):  # fmt: skip
    saved = images.save

    def save(*arguments: object, **options: object) -> None:
        press(number, number)()
        saved(*arguments, **options)

    monkeypatch.setattr(images, "save", save)
    at_step(monkeypatch, 2, press(number, number))  # The second does not wait for the step.
    assert main(*TINY) == 128 + number
    assert os.listdir(tmp_path) == ["new.partial.png"]
    said = capfd.readouterr().err
    assert said.splitlines()[-1] == "Stopped. What there is so far is new.partial.png."


def test_a_signal_at_the_last_step_finishes_the_picture(
    main: Callable[..., int], handlers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    at_step(monkeypatch, 3, press(signal.SIGTERM))
    assert main(*TINY) == 143
    assert os.listdir(tmp_path) == ["new.png"]


def test_a_signal_that_is_ignored_stays_so(
    main: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        at_step(monkeypatch, 1, press(signal.SIGHUP, signal.SIGHUP))
        assert main(*TINY) == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert os.listdir(tmp_path) == ["new.png"]


def test_the_command_works_in_a_thread(main: Callable[..., int], handlers: None, tmp_path: Path):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        assert pool.submit(main, *TINY).result() == 0
    assert os.listdir(tmp_path) == ["new.png"]


class Broken(io.StringIO):
    """A stream that takes so many texts, and then fails."""

    def __init__(self, texts: int) -> None:
        super().__init__()
        self._left = texts

    def write(self, text: str) -> int:
        self._left -= 1
        if self._left < 0:
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(text)


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS: dict[str, Callable[[], object]] = {
    "missing": lambda: None,
    "broken": lambda: Broken(0),
    "broken midway": lambda: Broken(4),
    "full": lambda: Path("/dev/full").open("w", buffering=1),  # noqa: SIM115
    "closed": closed,
    "Latin": lambda: io.TextIOWrapper(io.BytesIO(), encoding="cp1252"),
}


@pytest.mark.parametrize("name", STREAMS)
def test_words_that_cannot_be_said_cost_nothing(
    name: str, main: Callable[..., int], content_path: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    shutil.copy(content_path, tmp_path / "\u753b.png")
    streams = [STREAMS[name](), STREAMS[name]()]
    for where, stream in zip(("stdout", "stderr"), streams, strict=True):
        monkeypatch.setattr(sys, where, stream)
    assert main(*TINY, "--content=\u753b.png", "--output=") == 0
    assert sorted(os.listdir(tmp_path)) == ["\u753b.png", "\u753b_style.png"]
    if name == "Latin":
        streams[0].flush()
        assert streams[0].buffer.getvalue() == b"\\u753b_style.png\n"


@pytest.mark.parametrize("closing", ["stdout", "stderr", "both"])
def test_a_reader_that_has_gone_is_no_error(
    closing: str, tmp_path: Path, command_environment: dict[str, str]
):
    reader, writer = os.pipe()
    os.close(reader)
    streams = {name: writer for name in ("stdout", "stderr") if closing in (name, "both")}
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **streams}
    flag = "--help" if closing == "stdout" else "--content="
    done = subprocess.run(
        [sys.executable, SCRIPT, flag], cwd=tmp_path, env=command_environment, **streams
    )
    os.close(writer)
    assert done.returncode == (0 if closing == "stdout" else FLAGS)


def test_names_that_are_no_text_are_written(main: Callable[..., int], tmp_path: Path):
    names = [os.fsdecode(b"o\xff.png"), os.fsdecode(b"r\xff.json"), os.fsdecode(b"f\xff.gif")]
    output, record, film = names
    extras = (f"--report={record}", f"--timelapse={film}", "--preview_every=3")
    assert main(*TINY, f"--output={output}", *extras) == 0
    assert sorted(os.listdir(tmp_path)) == sorted([*names, os.fsdecode(b"o\xff.preview.png")])


def test_a_name_as_long_as_can_be_has_room_for_all(
    main: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    name = "\u753b" * 83 + "ab.png"
    at_step(monkeypatch, 2, press(signal.SIGTERM))
    assert main(*TINY, f"--output={name}", "--preview_every=1") == 143
    assert sorted(path.name[-12:] for path in tmp_path.iterdir()) == [
        "\u753b.partial.png"[-12:], "\u753b.preview.png"[-12:]
    ]  # fmt: skip
    stems = [console.result_name("\u753b" * n + ".png", ["b.png"]) for n in (30, 50)]
    assert stems[0] == "\u753b" * 30 + "_b" and stems[1] == "\u753b" * 40


def test_a_preview_of_the_run_that_is_resumed_may_be_there(
    main: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    flags_ = (*TINY, "--preview_every=1", "--checkpoint_dir=kept")
    with monkeypatch.context() as patch:
        at_step(patch, 2, press(signal.SIGTERM))
        assert main(*flags_) == 143
    assert main(*flags_, "--resume") == 0
    (tmp_path / "new.png").unlink()
    assert main(*flags_) == 1
    assert "new.preview.png: exists already" in capfd.readouterr().err
    Image.new("RGB", (4, 4)).save(tmp_path / "new.preview.png")
    assert main(*flags_, "--resume") == 1


def test_the_picture_may_replace_the_one_that_it_begins_with(
    main: Callable[..., int], content_path: Path, tmp_path: Path
):
    shutil.copy(content_path, tmp_path / "new.png")
    assert main(*TINY, "--init=./new.png", "--overwrite") == 0
    assert pixels(tmp_path / "new.png").shape == (36, 48, 3)
    assert main(*TINY, "--overwrite") == 0
    assert main("--replay=./new.png", "--output=new.png", "--overwrite") == 0


def test_a_picture_goes_elsewhere_where_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import tensorflow as tf

    import nst_tf

    saved, (results, scratch) = images.save, (tmp_path / "results", tmp_path / "scratch")
    results.mkdir()
    scratch.mkdir()
    (scratch / "new.png").write_bytes(b"old")

    def save(image: object, path: Path, **options: object) -> None:
        with monkeypatch.context() as patch:
            if path.parent == results:
                patch.setattr(Image.Image, "save", raising(MemoryError()))
            saved(image, path, **options)

    monkeypatch.setattr(images, "save", save)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    refuge = scratch / "new-2.png"
    made = nst_tf.Result(tf.zeros((4, 5, 3)), config.StyleTransferConfig(), [], [], {})
    words = rf"not enough memory.* is {refuge} instead"
    with pytest.raises(errors.OutputError, match=words) as caught:
        jobs.keep(made, results / "new.png")
    assert caught.value.elsewhere == refuge
    assert pixels(refuge).shape == (4, 5, 3)
    assert not os.listdir(results)


def test_nothing_from_outside_commands_the_terminal(
    main: Callable[..., int], capfd: pytest.CaptureFixture[str]
):
    assert main("--content=a\x1b(0\x9b2J.png") == 1
    said = capfd.readouterr().err
    assert "a\\x1b(0\\x9b2J.png: no such file" in said
    assert not set("\x1b\x9b") & set(said)


# A run that goes on.


LONG = ("--levels=2", "--steps=1,30", "--image_size=96", "--checkpoint_dir=kept",
        "--output=new.png")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Stopped:
    """A run that was ended by SIGTERM.

    Attributes:
        folder: where it ran.
        status: exit status.
        error: what it said.
    """

    folder: Path
    status: int
    error: str


@pytest.fixture(scope="module")
def stopped(
    content_path: Path, style_path: Path, command_environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Stopped:  # fmt: skip
    folder = tmp_path_factory.mktemp("stopped")
    seen = "--preview_every=4"
    process = start(folder, content_path, style_path, *LONG, seen, env=command_environment)
    while not (folder / "new.preview.png").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    _, error = process.communicate(timeout=120)
    return Stopped(folder, process.returncode, error)


@pytest.fixture
def copied(stopped: Stopped, tmp_path: Path) -> Path:
    """A copy of the checkpoints of `stopped`, in the working folder of `main`."""
    return Path(shutil.copytree(stopped.folder / "kept", tmp_path / "kept"))


def test_sigterm_saves_a_checkpoint_and_says_how_to_go_on(stopped: Stopped):
    assert stopped.status == 143, stopped.error
    assert sorted(os.listdir(stopped.folder)) == ["kept", "new.partial.png", "new.preview.png"]
    newest = max(os.listdir(stopped.folder / "kept"))
    assert 4 <= int(newest[-6:]) < 31
    assert f"new.partial.png. --resume goes on from kept/{newest}." in stopped.error
    assert "Traceback" not in stopped.error


def test_a_resumed_run_makes_the_picture_of_one_that_was_never_stopped(
    stopped: Stopped, copied: Path, warm: Command, tmp_path: Path
):
    newest = max(os.listdir(copied))
    taken = int(newest[-6:]) - 1
    done = warm(tmp_path, *QUICK, *LONG, "--resume", "--report=run.json")
    assert (done.returncode, done.stdout) == (0, "new.png\n"), done.stderr
    assert f"Going on from kept/{newest}: step {taken} of level 2." in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["new.png", "run.json"], "checkpoints were not removed"
    report = json.loads((tmp_path / "run.json").read_text())
    steps = [(entry["level"], entry["step"]) for entry in report["history"]]
    assert steps == [(0, 1), *((1, step) for step in range(1, 31))]
    seconds = [entry["seconds"] for entry in report["history"]]
    assert seconds == sorted(seconds) and seconds[-1] <= report["seconds"]

    anew = warm(tmp_path, *QUICK, *LONG, "--resume", "--output=anew.png")
    assert "kept: no checkpoint to resume; starting anew." in anew.stderr
    np.testing.assert_array_equal(pixels(tmp_path / "anew.png"), pixels(tmp_path / "new.png"))
    recipes = [images.read_recipe(tmp_path / name) for name in ("anew.png", "new.png")]
    assert recipes[0] == recipes[1]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a test that gets as far as the expensive work."""

    def fail(*_: object) -> None:
        raise AssertionError("the network was built")

    monkeypatch.setattr(console, "build_backbone", fail)


def garble(folder: Path) -> None:
    for path in folder.glob("*/run.json"):
        path.write_text("{")


BAD_RESUME: dict[str, tuple[list[str], int, list[str]]] = {
    "neither resumed nor replaced": ([], FLAGS, ["kept", "--resume", "--overwrite", "another"]),
    "other settings": (
        ["--resume", "--style_weight=12", "--steps=1,31"], FLAGS,
        ["style_weight: 1.0 in the checkpoint, 12.0 now", "steps: [1, 30] in", "[1, 31] now"],
    ),
    "another photo": (
        ["--resume", "--content=other.png"], FLAGS, ["content picture: ", "in the checkpoint"]
    ),
    "damaged": (["--resume"], FILES, ["kept", "every checkpoint in it is damaged"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_RESUME)
def test_a_resume_that_cannot_be_is_refused_early(
    name: str, main: Callable[..., int], copied: Path, no_network: None, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    Image.fromarray(np.full((72, 96, 3), 90, np.uint8)).save(tmp_path / "other.png")
    if name == "damaged":
        garble(copied)
    before = {path: path.read_bytes() for path in copied.glob("*/*")}
    arguments, status, words = BAD_RESUME[name]
    assert main(*QUICK, *LONG, *arguments) == status
    error = capsys.readouterr().err
    assert "Traceback" not in error
    for word in words:
        assert word in error.splitlines()[-1]
    assert {path: path.read_bytes() for path in copied.glob("*/*")} == before
    assert sorted(os.listdir(tmp_path)) == ["kept", "other.png"]


def test_another_network_is_refused_once_it_is_known(copied: Path, main: Callable[..., int]):
    """Weights that are not those of the checkpoint, whatever the settings say."""
    about = json.loads((max(copied.iterdir()) / "run.json").read_text())
    provenance = config.StyleTransferConfig.from_dict(about["provenance"]["config"])
    assert provenance.backbone == "vgg16" == about["provenance"]["backbone"]["network"]
    then = {**about["provenance"], "backbone": {"network": "vgg19", "its weights": "1" * 64}}
    with pytest.raises(errors.ConfigError, match=r"network: vgg19 in.* weights: 1{12}\.\.\. in"):
        recipe.require_same(then, about["provenance"])


def test_a_disk_that_is_full_in_the_end_loses_neither_picture_nor_checkpoint(
    warm: Command, tiny_disk: Path, tmp_path: Path
):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tiny_disk / "rubbish").write_bytes(b"0" * 65536)
    keep = (*QUICK, "--checkpoint_dir=kept")
    failed = warm(tmp_path, *keep, "--output=disk/new.png", TMPDIR=str(scratch))
    assert (failed.returncode, failed.stdout) == (1, "")
    last = failed.stderr.splitlines()[-1]
    assert "No space left on device" in last and str(scratch / "new.png") in last
    assert "Traceback" not in failed.stderr
    assert pixels(scratch / "new.png").shape == (48, 64, 3)
    assert os.listdir(tmp_path / "kept") == ["checkpoint-000002"]
    assert os.listdir(tiny_disk) == ["rubbish"]

    extras = ("--report=disk/run.json", "--plot=plot.png")
    done = warm(tmp_path, *keep, "--output=new.png", "--resume", *extras)
    assert (done.returncode, done.stdout) == (0, "new.png\n"), done.stderr
    assert "disk/run.json: cannot be written (No space left on device)." in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["disk", "new.png", "plot.png", "scratch"]
    np.testing.assert_array_equal(pixels(tmp_path / "new.png"), pixels(scratch / "new.png"))


def test_checkpoints_in_the_way_are_seen_before_tensorflow_is_loaded(
    copied: Path, content_path: Path, style_path: Path, command_environment: dict[str, str]
):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", SCRIPT, f"--content={content_path}",
         f"--style={style_path}", *LONG],
        cwd=copied.parent, env=command_environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "nst_tf.records.snapshot" in imported and not {"tensorflow", "keras"} & imported


# Bad input.


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


@pytest.fixture
def bad_files(tmp_path: Path, content_path: Path) -> Path:
    """A folder of pictures that are none, or unfit."""
    good = content_path.read_bytes()
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("This is no picture.\n" * 20)
    with Image.open(content_path) as image:
        image.save(tmp_path / "cut.jpg")
        image.resize((1, 1)).save(tmp_path / "dot.png")
        image.resize((1200, 40)).save(tmp_path / "ribbon.png")
    cut = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(cut[: len(cut) // 2])
    (tmp_path / "cut.png").write_bytes(good[: len(good) // 2])
    forged = struct.pack(">II", 2_000_000, 2_000_000) + good[24:29]
    (tmp_path / "bomb.png").write_bytes(good[:8] + chunk(b"IHDR", forged) + good[33:])
    images.save(np.random.default_rng(0).random((64, 64, 3)), tmp_path / "deep.png", bit_depth=16)
    (tmp_path / "deep.png").write_bytes((tmp_path / "deep.png").read_bytes()[:3000])
    (tmp_path / "taken.png").write_bytes(b"taken")
    for name in ("shown.preview.png", "new.partial.png"):
        shutil.copy(content_path, tmp_path / name)
    (tmp_path / "dangling.png").symlink_to("nowhere.png")
    (tmp_path / "link").symlink_to(".")
    os.mkfifo(tmp_path / "fifo")
    return tmp_path


BAD_INPUT = {
    "missing file": (["--content=missing.png"], FILES, ["missing.png", "no such file"]),
    "missing style": (["--style=missing.png"], FILES, ["missing.png", "no such file"]),
    "missing initial picture": (["--init=missing.png"], FILES, ["missing.png", "no such file"]),
    "folder as initial picture": (["--init=folder"], FILES, ["folder"]),
    "damaged initial picture": (["--init=cut.png"], FILES, ["cut.png", "damaged"]),
    "folder": (["--content=folder"], FILES, ["folder"]),
    "empty file": (["--style=empty.png"], FILES, ["empty.png", "empty"]),
    "folder of styles without a picture": (
        ["--style=folder"], FILES, ["folder", "no picture in this folder", ".png"]
    ),
    "blend of another number of styles": (
        ["--style_blend=3,1"], FLAGS, ["style_blend", "2 numbers", "1 style pictures"]
    ),
    "blend of nothing": (["--style_blend=0"], FLAGS, ["style_blend", "not all 0"]),
    "strength": (["--strength=2"], FLAGS, ["strength", "2.0", "0 to 1"]),
    "colours without lightness": (
        ["--color=content", "--color_space=rgb"], FLAGS, ["color_space=rgb", "lab or yiq"]
    ),
    "outside of no mask": (["--outside=keep"], FLAGS, ["outside=keep", "content mask"]),
    "masks for no style": (
        ["--style_mask=cut.png", "--style_mask=cut.png"], FLAGS, ["2 style masks", "1 style pict"]
    ),
    "overlay of no mask": (
        ["--save_mask_overlay=x.png"], FLAGS, ["--save_mask_overlay=x.png", "--content_mask"]
    ),
    "missing mask": (["--content_mask=missing.png"], FILES, ["missing.png", "no such file"]),
    "text as picture": (["--content=text.jpg"], FILES, ["text.jpg", "not a picture"]),
    "truncated JPEG": (["--content=cut.jpg"], FILES, ["cut.jpg", "damaged"]),
    "truncated PNG": (["--style=cut.png"], FILES, ["cut.png", "damaged"]),
    "truncated 16-bit PNG": (["--style=deep.png"], FILES, ["deep.png", "damaged"]),
    "too many pixels": (["--max_pixels=100"], FILES, ["96x72", "max_pixels"]),
    "forged header": (["--content=bomb.png"], FILES, ["bomb.png"]),
    "name too long": ([f"--content={'n' * 300}.png"], FILES, ["nnn"]),
    "picture of one pixel": (["--content=dot.png"], FLAGS, ["content", "1x1"]),
    "extreme aspect ratio": (["--content=ribbon.png"], FLAGS, ["64x2", "image_size"]),
    "extreme aspect ratio of the style": (["--style=ribbon.png"], FLAGS, ["64x2", "style"]),
    "image_size too small": (["--image_size=20"], FLAGS, ["20x15", "image_size"]),
    "too many levels": (["--levels=9"], FLAGS, ["9 levels"]),
    "levels against steps": (["--levels=1", "--steps=1,2"], FLAGS, ["levels=1", "2 numbers"]),
    "no content": (["--content="], FLAGS, ["--content is missing"]),
    "no style": (["--style="], FLAGS, ["--style is missing"]),
    "unknown flag": (["--stile=x.png"], FLAGS, ["--stile", "Did you mean --style?"]),
    "loose argument": (["photo.png"], FLAGS, ["photo.png", "--name=value"]),
    "no number": (["--image_size=big"], FLAGS, ["image_size", "big", "whole number"]),
    "unknown layer": (
        ["--style_layers=block3_conv9"], FLAGS,
        ["block3_conv9", "block1_conv1", "block5_pool", "Did you mean 'block3_conv"],
    ),
    "unknown backbone": (
        ["--backbone=vvg16"], FLAGS, ["'vvg16'", "auto, vgg16, vgg19", "Did you mean 'vgg16'"]
    ),
    "unknown optimizer": (
        ["--optimizer=adan"], FLAGS, ["'adan'", "lbfgs", "Did you mean 'adam'"]
    ),
    "negative weight": (["--style_weight=-1"], FLAGS, ["style_weight", "-1.0", "0 or above"]),
    "weight is NaN": (["--content_weight=nan"], FLAGS, ["content_weight", "nan", "finite"]),
    "all weights zero": (
        ["--content_weight=0", "--style_weight=0", "--tv_weight=0"], FLAGS, ["nothing to optimise"]
    ),
    "learning rate is infinite": (["--learning_rate=inf"], FLAGS, ["learning_rate", "inf"]),
    "existing preview": (
        ["--output=shown.png", "--preview_every=1"], FILES, ["shown.preview.png", "--overwrite"]
    ),
    "dangling link": (["--output=dangling.png"], FILES, ["dangling.png", "--overwrite"]),
    "plot and output are one": (
        ["--plot=./new.png"], FLAGS, ["new.png", "--plot and --output are one file"]
    ),
    "plot and preview are one": (
        ["--plot=folder/../new.preview.png", "--preview_every=1"], FLAGS, ["the preview"]
    ),
    "plot and partial are one": (["--plot=link/new.partial.png"], FLAGS, ["a stopped run"]),
    "report and output are one by a link": (
        ["--report=link/taken.png", "--output=taken.png", "--overwrite"], FLAGS, ["one file"]
    ),
    "output is the painting": (
        ["--style=dot.png", "--output=link/dot.png", "--overwrite"], FILES,
        ["dot.png", "style", "--output", "inputs are not replaced"],
    ),
    "preview is the photo": (
        ["--content=shown.preview.png", "--output=shown.png", "--preview_every=1", "--overwrite"],
        FILES, ["shown.preview.png", "content", "the preview would replace"],
    ),
    "partial is the initial picture's mask": (
        ["--content_mask=new.partial.png", "--overwrite"], FILES, ["content mask", "stopped run"]
    ),
    "overlay is the weights": (
        ["--weights=taken.png", "--save_mask_overlay=taken.png", "--content_mask=dot.png",
         "--overwrite"], FILES, ["weights", "--save_mask_overlay"],
    ),
    "NUL in output": (["--output=a\0b.png"], FLAGS, ["a\\x00b.png"]),
    "NUL in report": (["--report=a\0b"], FLAGS, ["a\\x00b"]),
    "NUL in film": (["--timelapse=a\0b.gif"], FLAGS, ["a\\x00b.gif"]),
    "NUL in overlay": (
        ["--save_mask_overlay=a\0b.png", "--content_mask=dot.png"], FLAGS, ["a\\x00b.png"]
    ),
    "NUL in checkpoint_dir": (["--checkpoint_dir=a\0b"], FLAGS, ["a\\x00b"]),
    "output is a FIFO": (["--report=fifo", "--overwrite"], FILES, ["fifo", "no regular file"]),
    "existing output": (["--output=taken.png"], FILES, ["taken.png", "--overwrite"]),
    "missing output folder": (["--output=no/x.png"], FILES, ["no/x.png", "No such file"]),
    "unwritable output folder": (["--output=/proc/x.png"], FILES, ["/proc/x.png"]),
    "output below a file": (["--output=taken.png/x.png"], FILES, ["taken.png/x.png"]),
    "output is a folder": (["--output=folder.png"], FILES, ["folder.png", "folder"]),
    "output name too long": ([f"--output={'n' * 300}.png"], FILES, ["nnn"]),
    "unsupported suffix": (["--output=x.gif"], FLAGS, ["x.gif", ".png", ".webp"]),
    "no suffix": (["--output=x"], FLAGS, ["x", ".png"]),
    "bit depth": (["--bit_depth=12"], FLAGS, ["bit_depth", "12"]),
    "bit depth of a JPEG": (["--bit_depth=16", "--output=x.jpg"], FLAGS, ["16", ".png"]),
    "preview_every": (["--preview_every=-1"], FLAGS, ["preview_every", "-1"]),
    "suffix of the film": (["--timelapse=x.avi"], FLAGS, ["--timelapse=x.avi", ".mp4, .gif"]),
    "suffix of the plot": (["--plot=x.doc"], FLAGS, ["x.doc", ".png"]),
    "missing report folder": (["--report=no/x.json"], FILES, ["no/x.json"]),
    "resume without a folder": (["--resume"], FLAGS, ["--resume", "--checkpoint_dir=DIR"]),
    "checkpoints into a file": (["--checkpoint_dir=taken.png"], FILES, ["taken.png", "a file"]),
    "checkpoints nowhere": (["--checkpoint_dir=no/x"], FILES, ["no/x", "No such file"]),
    "checkpoint_seconds": (["--checkpoint_seconds=-1"], FLAGS, ["checkpoint_seconds", "-1"]),
    "replay of nothing": (["--replay=missing.png"], FILES, ["missing.png"]),
}  # fmt: skip
"""Flags, the exit status and words that the sentence on the terminal holds."""
ANNOUNCED = {"damaged initial picture", "truncated JPEG", "truncated PNG", "truncated 16-bit PNG",
             "missing initial picture", "folder as initial picture"}  # fmt: skip
"""What may be found out after the first line, which names sizes and steps."""


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {path.name: path.read_bytes() if path.is_file() else None for path in folder.iterdir()}


def check_refusal(name: str, error: str) -> None:
    assert "Traceback" not in error
    lines = error.splitlines()
    if name in ANNOUNCED and " in the manner of " in lines[0]:
        lines = lines[1:]
    assert len(lines) == 1, error
    assert lines[0].startswith("stylize.py: ")
    for word in BAD_INPUT[name][2]:
        assert word in lines[0]


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_refused_in_one_sentence(
    name: str, main: Callable[..., int], bad_files: Path, capfd: pytest.CaptureFixture[str]
):
    (bad_files / "folder.png").mkdir()
    before = snapshot(bad_files)
    arguments, status, _ = BAD_INPUT[name]
    assert main(*QUICK, "--output=new.png", *arguments) == status
    captured = capfd.readouterr()
    assert captured.out == ""
    check_refusal(name, captured.err)
    assert snapshot(bad_files) == before


@pytest.mark.parametrize(
    "name", ["missing file", "truncated JPEG", "truncated 16-bit PNG", "unknown flag", "bit depth"]
)
def test_bad_input_is_refused_by_the_process_too(name: str, command: Command, bad_files: Path):
    before = snapshot(bad_files)
    arguments, status, _ = BAD_INPUT[name]
    done = command(bad_files, *QUICK, "--output=new.png", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    check_refusal(name, done.stderr)
    assert snapshot(bad_files) == before


@pytest.mark.parametrize("role", ["content", "style", "content_mask", "init"])
def test_decoding_beyond_the_memory_limit_is_refused(
    role: str, main: Callable[..., int], no_network: None, capsys: pytest.CaptureFixture
):
    Image.new("RGB", (4000, 4000)).save("large.png")
    taken = psutil.Process().memory_info().rss
    limit = f"--memory_limit={taken + 30_000_000}"
    assert main(f"--{role}=large.png", "--image_size=64", limit, "--overwrite") == 2
    assert "large.png: decoding it takes about 0.1 GB" in capsys.readouterr().err


def test_unfit_weights_are_refused_in_one_sentence(warm: Command, bad_files: Path):
    done = warm(bad_files, *QUICK, "--weights=text.jpg", "--output=new.png")
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and "text.jpg" in lines[1] and "HDF5" in lines[1]
    assert not (bad_files / "new.png").exists()


# Help and version.


@pytest.mark.parametrize(
    ("flag", "groups"),
    [
        ("--help", ["Files", "Size and schedule", "Losses", "Optimiser", "Machine"]),
        ("--helpfull", ["Files", "Losses", "Network", "Machine", config.PUBLISHED]),
    ],
)
def test_help_shows_its_groups_without_tensorflow(
    flag: str, groups: list[str], command_environment: dict[str, str], tmp_path: Path
):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", SCRIPT, flag],
        cwd=tmp_path, env=command_environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0
    for group in groups:
        assert f"\n{group}:\n" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "nst_tf.commands.stylize" in imported
    assert not {"tensorflow", "keras"} & imported


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]):
    import nst_tf

    assert stylize.main(["stylize.py", "--version"]) == 0
    assert capsys.readouterr().out == f"{nst_tf.__version__}\n"


# The process.


def test_the_command_needs_no_settings_of_keras_and_matplotlib(
    command: Command, command_environment: dict[str, str], tmp_path: Path
):
    (tmp_path / "keras.json").write_text('{"backend": "theano", "image_dim_ordering": "th"}')
    surroundings = {"KERAS_HOME": str(tmp_path), "MPLBACKEND": "a notebook's"}
    environment = {**command_environment, **surroundings}
    environment.pop("KERAS_BACKEND", None)
    done = command(tmp_path, *QUICK, "--rate_decay=0.5", "--output=new.png", env=environment)
    assert (done.returncode, done.stdout) == (0, "new.png\n"), done.stderr
    assert done.stderr.count("rate_decay=0.5 has no effect with optimizer=lbfgs") == 1


# Presets.


def test_a_preset_with_changes_is_run_and_its_mapped_layers_are_named(
    warm: Command, tmp_path: Path
):
    done = warm(tmp_path, "--preset=tv_regularized", *QUICK, "--report=run.json")
    assert done.returncode == 0, done.stderr
    assert "tv_regularized: vgg16 has no block3_conv4; block3_conv3 stands for it." in done.stderr
    found = json.loads((tmp_path / "run.json").read_text())["config"]
    changes = {"image_size": 64, "steps": (2,), "levels": 1, "device": "cpu"}
    expected = config.StyleTransferConfig.preset("tv_regularized", backbone="vgg16", **changes)
    precision = found.pop("precision")
    assert precision == convolution.precision("auto")
    assert (" in bfloat16; about" in done.stderr) == (precision == "bfloat16")
    assert config.StyleTransferConfig.from_dict(found) == expected


def test_a_vgg19_preset_without_its_weights_names_the_nearest(
    main: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def unreachable(architecture: backbones.Architecture, *_: object) -> None:
        raise errors.WeightsError(f"the {architecture.name} weights could not be fetched.")

    monkeypatch.setattr(backbones.weights, "download", unreachable)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert main("--preset=eager_notebook", "--image_size=64") == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert "vgg19 weights could not be fetched" in message
    assert "nearest is --backbone=vgg16" in message


def test_presets_are_listed_without_pictures(capsys: pytest.CaptureFixture[str]):
    assert stylize.main(["stylize.py", "--list_presets"]) == 0
    assert capsys.readouterr().out == presets.table() + "\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--preset=gatys"], ["unknown preset 'gatys'", "Did you mean 'gatys201"]),
        (["--preset=vgg16", "--replay=old.png"], ["--preset=vgg16", "--replay=old.png", "one"]),
        (["--content_style_ratio=1/0"], ["content_style_ratio", "a number"]),
    ],
)
def test_a_bad_choice_of_recipe_is_refused(
    main: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: list[str],
):
    assert main(*arguments) == 2
    message = capsys.readouterr().err
    assert all(word in message for word in words), message


def test_a_ratio_may_be_written_as_a_fraction():
    values = flags.define(*flags.ALL)
    flags.parse(values, ["stylize.py", "--content_style_ratio=1/8"])
    assert values.content_style_ratio == 0.125


def test_memory_that_cannot_suffice_is_said_before_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from nst_tf.commands import console
    from nst_tf.engine import transfer
    from nst_tf.imaging import images, pyramid
    from nst_tf.tiling import memory

    monkeypatch.setattr(memory, "available", lambda: 2_000_000_000)
    settings = config.StyleTransferConfig(backbone="vgg16", style_loss="gram")
    model = console.build_backbone(settings)
    picture = images.Picture(np.zeros((60, 80, 3), np.uint8))
    given = sources.Pictures(picture, [picture])

    def announce(settings: config.StyleTransferConfig, height: int, width: int):
        levels = [pyramid.Level(height, width, 9)]
        plans = transfer.planned(settings, model, levels, given)
        console.announce(settings, model, levels, plans, given)

    announce(settings, 256, 256)
    assert "may end the run" not in capsys.readouterr().err
    announce(settings, 3000, 4000)
    said = capsys.readouterr().err
    assert "in tiles of" in said
    assert "more than the 2.0 GB that can be counted on" in said
    assert "--optimizer=adam would take about" in said
    announce(settings.replace(memory_limit="20GB"), 3000, 4000)
    assert "may end the run" not in capsys.readouterr().err


def test_every_picture_is_decoded_and_every_mask_analysed_once(
    main: Callable[..., int],
    content_path: Path,
    style_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    decoded, analysed = [], []
    load, read = images.load, masks.read

    def loading(source: object, *more: object, **others: object) -> images.Picture:
        if not isinstance(source, images.Picture):  # Which is decoded already.
            decoded.append(Path(source).name)
        return load(source, *more, **others)

    def reading(mask: object, name: str, *more: object) -> masks.Regions:
        analysed.append(name)
        return read(mask, name, *more)

    monkeypatch.setattr(images, "load", loading)
    monkeypatch.setattr(masks, "read", reading)
    for name in ("mask.png", "of_style.png", "init.png"):
        Image.fromarray(np.full((64, 64, 3), 255, np.uint8)).save(tmp_path / name)
    arguments = ["--content_mask=mask.png", "--style_mask=of_style.png", "--init=init.png"]
    overlay = ["--save_mask_overlay=overlay.png", "--checkpoint_dir=kept"]
    assert main(*QUICK, *arguments, *overlay, "--output=result.png") == 0
    names = [content_path.name, style_path.name, "mask.png", "of_style.png", "init.png"]
    assert sorted(decoded) == sorted(names)
    assert sorted(analysed) == ["content mask", "style mask"]
