"""Recipes: what is checked, told and refused when a picture is made again, whoever wrote them."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nst_tf
from nst_tf import callbacks, errors
from nst_tf.commands import console, stylize
from nst_tf.imaging import images, sources
from nst_tf.kernels import convolution
from nst_tf.records import environment, recipe
from nst_tf.records import snapshot as snapshots

Config = nst_tf.StyleTransferConfig
CONFIG = Config(backbone="vgg16", image_size=64, levels=1, steps=(2,))
FILES, FLAGS = 1, 2
"""Exit status where a file is to blame, and where a flag is."""


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Runs a test in its own folder, and leaves the log as it was."""
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("nst_tf")
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers, logger.level = handlers, level


@pytest.fixture
def made(content_path: Path, style_path: Path) -> dict[str, Any]:
    """The recipe of a picture of the two, as it is after JSON."""
    hashes = recipe.input_hashes({"content": str(content_path), "style": str(style_path)})
    network = {"name": "vgg16", "weights": "the package", "sha256": "0" * 64}
    parts = recipe.record(CONFIG, network, {"versions": {}, "machine": {}}, hashes)
    return json.loads(json.dumps(parts))


def write(made: Any, path: Path) -> Path:
    """Writes a picture with a recipe, or with any text, in its metadata."""
    text = made if isinstance(made, str) else json.dumps(made)
    images.save(np.zeros((4, 4, 3)), path, recipe=text)
    return path


Replay = Callable[..., int]


@pytest.fixture
def replay(quiet: None, tmp_path: Path, content_path: Path, style_path: Path) -> Replay:
    """Replays a recipe with further flags."""

    def run(made: Any, *arguments: str) -> int:
        path = write(made, tmp_path / "made.png")
        pictures = {"--content=": content_path, "--style=": style_path}
        own = [
            f"{flag}{picture}"
            for flag, picture in pictures.items()
            if not any(each.startswith(flag) for each in arguments)
        ]
        return stylize.main(["stylize", *own, f"--replay={path}", "--output=again.png", *arguments])

    return run


@pytest.fixture
def settings(replay: Replay, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """Replays a recipe up to the network, and returns the settings."""
    reached: list[Config] = []

    def stop(config: Config) -> None:
        reached.append(config)
        raise errors.StyleTransferError("that far")

    def run(made: Any, *arguments: str) -> Config:
        with monkeypatch.context() as patched:
            patched.setattr(console, "build_backbone", stop)
            assert replay(made, *arguments) == FILES
        return reached.pop()

    return run


def changed(made: dict[str, Any], section: str, **changes: Any) -> dict[str, Any]:
    return {**made, section: {**made[section], **changes}}


# The inputs.


INPUTS: dict[str, tuple[list[str], list[str], list[str]]] = {
    "another photo": (
        ["content", "style"], ["--content=other.png"],
        ["content picture: 'content.png' (SHA-256 ", "in the recipe, 'other.png' (SHA-256 "],
    ),
    "a mask more": (
        ["content", "style"], ["--content_mask=other.png"],
        ["content mask picture: nothing in the recipe, 'other.png'"],
    ),
    "a mask less": (
        ["content", "style", "content mask"], [],
        ["content mask picture: 'content.png' (SHA-256 ", "nothing now"],
    ),
    "a style more": (
        ["content", "style"], ["--style=other.png", "--style=other.png"],
        ["style picture: 'style.png'", "style 1 picture: nothing", "style 2 picture: nothing"],
    ),
    "no style in the recipe": (["content"], [], ["style picture: nothing in the recipe"]),
    "nothing in the recipe": ([], [], ["content picture: nothing", "style picture: nothing"]),
}  # fmt: skip


@pytest.mark.parametrize("name", INPUTS)
def test_other_inputs_are_refused_and_all_named(
    name: str, made: dict[str, Any], replay: Replay, capsys: pytest.CaptureFixture[str]
):
    roles, arguments, words = INPUTS[name]
    Image.new("RGB", (48, 64), "white").save("other.png")
    known = {**made["inputs"], "content mask": made["inputs"]["content"]}
    made["inputs"] = {role: known[role] for role in roles}
    assert replay(made, *arguments) == FILES
    error = capsys.readouterr().err.splitlines()[-1]
    assert "leave out --replay" in error
    for word in words:
        assert word in error
    assert not Path("again.png").exists()


def test_names_of_inputs_do_not_matter(
    made: dict[str, Any], settings: Callable[..., Config], content_path: Path
):
    shutil.copy(content_path, "renamed.png")
    assert settings(made, "--content=renamed.png").steps == (2,)


@pytest.mark.parametrize("flag", ["content", "init"])
def test_an_input_that_changes_while_it_is_read_gives_no_false_recipe(
    flag: str, quiet: None, content_path: Path, style_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    shutil.copy(content_path, "photo.png")
    read = sources.Paths.pictures

    def replaced(self: sources.Paths, *given: Any) -> sources.Pictures:
        Image.new("RGB", (96, 72), "navy").save("photo.png")
        return read(self, *given)

    monkeypatch.setattr(sources.Paths, "pictures", replaced)
    given = {"content": str(content_path), flag: "photo.png"}
    status = stylize.main(
        ["stylize", f"--style={style_path}", "--output=new.png", "--backbone=vgg16",
         "--image_size=64", "--steps=1", *(f"--{name}={path}" for name, path in given.items())]
    )  # fmt: skip
    assert status == FILES
    assert "photo.png: the file changed while it was read" in capsys.readouterr().err
    assert not Path("new.png").exists()


# The settings.


def test_flags_win_and_what_they_change_is_told(
    made: dict[str, Any], settings: Callable[..., Config], capsys: pytest.CaptureFixture[str]
):
    found = settings(made, "--steps=3", "--content_weight=5", "--seed=0")
    assert (found.steps, found.content_weight) == ((3,), 5)
    told = capsys.readouterr().err.splitlines()[0]
    assert told.startswith("Changed by flags: ") and "seed" not in told
    assert "steps: [2] in the recipe, [3] now" in told
    assert "content_weight: 0.5 in the recipe, 5.0 now" in told


def test_settings_of_the_machine_are_taken_from_flags_alone(
    made: dict[str, Any], settings: Callable[..., Config], capsys: pytest.CaptureFixture[str]
):
    theirs = {"max_pixels": 10**15, "device": "GPU:7", "memory_limit": "9TB", "tile_size": "0",
              "run_eagerly": True, "jit_compile": True}  # fmt: skip
    made = changed(made, "config", **theirs, precision="bfloat16")
    found = settings(made)
    assert found == CONFIG.replace(precision="bfloat16")
    told = capsys.readouterr().err.splitlines()[0]
    assert all(f"{name}: {value} in the recipe" in told for name, value in theirs.items())
    confirmed = [f"--{name}={value}" for name, value in theirs.items()]
    assert settings(made, *confirmed) == CONFIG.replace(**theirs, precision="bfloat16")
    assert "recipe" not in capsys.readouterr().err


def test_a_recipe_without_levels_repeats_those_of_its_time(
    made: dict[str, Any], settings: Callable[..., Config]
):
    names = ("level_factor", "coarsest", "content_decay")
    older = {name: value for name, value in made["config"].items() if name not in names}
    found = settings({**made, "config": older})
    assert found == CONFIG.replace(level_factor=2**0.5, coarsest=181, content_decay=1.0)


@pytest.mark.parametrize("name", ["init", "weights"])
def test_a_file_in_a_recipe_is_read_if_the_command_line_names_it(
    name: str, made: dict[str, Any], replay: Replay, settings: Callable[..., Config],
    style_path: Path, capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    made = changed(made, "config", **{name: "/their/\x1b[2Jfile"})
    if name == "init":
        made = changed(made, "inputs", init=made["inputs"]["style"])
    assert replay(made) == FLAGS
    error = capsys.readouterr().err
    assert "'/their/\\x1b[2Jfile'" in error and f"--{name}=PATH" in error
    assert error.count("\n") == 1
    assert getattr(settings(made, f"--{name}={style_path}"), name) == str(style_path)


def test_an_object_in_a_recipe_is_refused_unless_another_is_named(
    made: dict[str, Any], replay: Replay, settings: Callable[..., Config],
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    theirs = {"class": "Their\x1b[2JDescent", "settings": {"rate": 0.25, "bounds": None}}
    made = changed(made, "config", optimizer=theirs)
    assert replay(made) == FLAGS
    error = capsys.readouterr().err
    assert "optimizer is Their\\x1b[2JDescent(rate=0.25, bounds=None)" in error
    assert "--optimizer=NAME" in error
    assert error.count("\n") == 1
    assert settings(made, "--optimizer=adam").optimizer == "adam"


def test_another_initial_picture_is_another_input(
    made: dict[str, Any], replay: Replay, content_path: Path, capsys: pytest.CaptureFixture[str]
):
    made = changed(made, "config", init="their.png")
    assert replay(made, f"--init={content_path}") == FILES
    assert "init picture: nothing in the recipe, 'content.png'" in capsys.readouterr().err


def test_an_initial_picture_in_place_of_a_name_is_another_setting(
    made: dict[str, Any], settings: Callable[..., Config], content_path: Path
):
    assert settings(made, f"--init={content_path}").init == str(content_path)


@pytest.mark.parametrize("arguments", [[], ["--backbone=auto"]])
def test_auto_is_the_network_of_the_recipe(
    arguments: list[str], made: dict[str, Any], settings: Callable[..., Config]
):
    made = changed(made, "config", backbone="auto")
    assert settings(made, *arguments).backbone == "vgg16"
    assert settings(made, "--backbone=vgg19").backbone == "vgg19"


# Network, software and machine.


@pytest.fixture(scope="module")
def picture(content_path: Path, style_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of the command."""
    path = tmp_path_factory.mktemp("recipe") / "first.png"
    flags = ["--backbone=vgg16", "--image_size=64", "--levels=1", "--steps=2"]
    given = [f"--content={content_path}", f"--style={style_path}", f"--output={path}"]
    assert stylize.main(["stylize", *given, *flags]) == 0
    return path


def test_a_recipe_tells_network_software_and_machine(picture: Path):
    found = recipe.load(str(picture))
    assert found["versions"] == environment.versions()
    assert found["machine"] == environment.machine(None)
    assert set(found["machine"]) == {
        "device", "processor", "vector instructions", "threads", "oneDNN", "minimal filtering"
    }  # fmt: skip
    assert found["machine"]["threads"] >= 1
    assert found["machine"]["oneDNN"] == ("on" if convolution.uses_onednn() else "off")


def test_other_software_and_another_machine_are_told_and_no_more(
    picture: Path, replay: Replay, capsys: pytest.CaptureFixture[str]
):
    found = changed(recipe.load(str(picture)), "versions", tensorflow="2.0.0")
    found = changed(found, "machine", threads=96, oneDNN="\x1b[2J")
    assert replay(found) == 0
    said = capsys.readouterr().err
    (line,) = [line for line in said.splitlines() if "differ in its last bits" in line]
    for words in ("tensorflow: 2.0.0 in the recipe", "threads: 96 in", r"oneDNN: \x1b[2J in"):
        assert words in line
    assert "\x1b[2J" not in said
    before, after = (np.asarray(Image.open(path)) for path in (picture, "again.png"))
    np.testing.assert_array_equal(before, after)


def test_other_weights_are_refused(
    picture: Path, replay: Replay, capsys: pytest.CaptureFixture[str]
):
    found = changed(recipe.load(str(picture)), "backbone", sha256="1" * 64)
    assert replay(found) == FILES
    assert "its weights: 111111111111... in the recipe" in capsys.readouterr().err
    assert not Path("again.png").exists()


def test_what_an_older_record_does_not_know_is_told(caplog: pytest.LogCaptureFixture):
    now = {"versions": {"keras": "3"}, "machine": {"threads": 2}}
    recipe.require_same({"versions": {"keras": "3"}}, now)
    assert "machine: unknown in the checkpoint" in caplog.text
    caplog.clear()
    recipe.require_same(now, now)
    assert not caplog.text


def test_what_a_record_of_no_run_says_is_told_in_few_words(caplog: pytest.LogCaptureFixture):
    deep: list = []
    for _ in range(900):
        deep = [deep]
    now = {"config": {"steps": [1, 30]}, "machine": {"threads": 2}}
    recipe.require_same({"config": now["config"], "machine": 5}, now)
    assert "machine: unknown in the checkpoint" in caplog.text
    with pytest.raises(errors.ConfigError, match=r"steps: \[\[\[.*in the checkpoint") as caught:
        recipe.require_same({"config": {"steps": deep, "\x1b[2J": "a" * 10_000}}, now)
    assert len(str(caught.value)) < 1000 and str(caught.value).isprintable()


def test_threads_are_those_that_tensorflow_is_told(monkeypatch: pytest.MonkeyPatch):
    import tensorflow as tf

    if tf.config.threading.get_intra_op_parallelism_threads():
        pytest.skip("the number of threads is set in this process")
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "3")
    assert environment.machine(None)["threads"] == 3


@pytest.fixture(scope="module")
def run(content_path: Path, style_path: Path) -> tuple[np.ndarray, nst_tf.Snapshot]:
    """A run's picture, and where it stood after its first step."""

    class Keep(callbacks.Callback):
        def on_step_end(self, step: callbacks.StepEnd) -> None:
            kept.append(step.snapshot())

    kept: list[nst_tf.Snapshot] = []
    picture = nst_tf.stylize(str(content_path), str(style_path), CONFIG, [Keep()])
    return np.asarray(picture), kept[0]


def test_a_start_tells_its_network_and_its_machine(
    run: tuple[np.ndarray, nst_tf.Snapshot], content_path: Path, style_path: Path,
    caplog: pytest.LogCaptureFixture,
):  # fmt: skip
    expected, start = run
    assert start.provenance["machine"] == environment.machine(None)
    machine = {**start.provenance["machine"], "threads": 96}
    start = dataclasses.replace(start, provenance={**start.provenance, "machine": machine})
    auto = CONFIG.replace(backbone="auto")
    found = nst_tf.stylize(str(content_path), str(style_path), auto, start=start)
    assert "threads: 96 in the checkpoint" in caplog.text
    np.testing.assert_array_equal(found, expected)


def test_auto_is_the_network_of_the_checkpoint(
    run: tuple[np.ndarray, nst_tf.Snapshot], quiet: None, content_path: Path, style_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    def stop(config: Config) -> None:
        reached.append(config)
        raise errors.StyleTransferError("that far")

    reached: list[Config] = []
    monkeypatch.setattr(console, "build_backbone", stop)
    Path("kept").mkdir()
    snapshots.write(run[1], Path("kept/checkpoint-000001"))
    status = stylize.main(
        ["stylize", f"--content={content_path}", f"--style={style_path}", "--image_size=64",
         "--levels=1", "--steps=2", "--checkpoint_dir=kept", "--resume", "--backbone=auto"]
    )  # fmt: skip
    assert (status, [config.backbone for config in reached]) == (FILES, ["vgg16"])


# What anybody may have written.


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


HOSTILE = {
    "no json": "{",
    "no object": "[1]",
    "deep list": "[" * 100_000,
    "deep object": '{"a":' * 100_000,
    "deep setting": '{"config": {"seed": ' + nested(500) + '}, "inputs": {}}',
    "long number": '{"config": {"seed": ' + "9" * 400 + '}, "inputs": {}}',
    "longer number": '{"config": {"seed": ' + "9" * 5000 + '}, "inputs": {}}',
    **{
        f"inputs {value}": json.dumps({"config": {}, "inputs": value})
        for value in (
            [1], 5, None, "abc", {"content": 5}, {"content": None}, {"content": "abc"},
            {"content": {"name": "x"}}, {"content": {"sha256": "x"}},
            {"content": {"sha256": 5, "name": "x"}}, {"content": {"sha256": None, "name": "x"}},
        )
    },
    **{
        f"{section} {value}": json.dumps({"config": {}, "inputs": {}, section: value})
        for section in ("config", "versions", "machine", "backbone")
        for value in (None, 5, "abc", [1], {"name": {}}, {"name": None})
    },
    "long text": json.dumps({"config": {"optimizer": "a" * 100_000}, "inputs": {}}),
    "long list": json.dumps({"config": {"steps": [1] * 100_000}, "inputs": {}}),
    "unknown setting": json.dumps({"config": {"\x1b[2J" * 500: 1}, "inputs": {}}),
    "setting of no run": json.dumps({"config": {"optimizer": "\x1b[2J" * 500}, "inputs": {}}),
    "object of no setting": json.dumps(
        {"config": {"\x1b[2J" * 9: {"class": "A", "settings": {}}}, "inputs": {}}
    ),
    "long class": json.dumps(
        {"config": {"optimizer": {"class": "A" * 5000, "settings": {}}}, "inputs": {}}
    ),
    "file of the command": json.dumps({"config": {"output": "x.png"}, "inputs": {}}),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_recipe_of_no_run_is_refused_in_one_sentence(name: str, tmp_path: Path):
    path = write(HOSTILE[name], tmp_path / "made.png")
    with pytest.raises(errors.ImageError, match=r"made\.png: (holds no|its) recipe") as caught:
        recipe.load(str(path))
    assert len(str(caught.value)) < 500 + len(str(tmp_path))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", [None, [], "\x1b[2J", -1, 10**299, float("nan")])
def test_any_value_of_a_setting_is_read_or_refused(
    value: Any, made: dict[str, Any], tmp_path: Path
):
    for field in dataclasses.fields(Config):
        path = write(changed(made, "config", **{field.name: value}), tmp_path / "made.png")
        try:
            recipe.settings(recipe.load(str(path)), ["init", "weights"])
        except errors.ImageError as error:
            assert str(error).isprintable()
