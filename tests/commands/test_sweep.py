"""The sweep: what is planned, made, kept and refused, and the sheet that shows it."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nst_tf
from nst_tf import backbones, callbacks, errors, objective
from nst_tf.commands import flags
from nst_tf.commands.options import SweepOptions
from nst_tf.commands.sweep import command, grid
from nst_tf.engine import transfer
from nst_tf.imaging import images, sheet
from nst_tf.records import recipe

Config = nst_tf.StyleTransferConfig
SCRIPT = Path(__file__).parents[2] / "scripts" / "sweep.py"
BASE = ("--backbone=vgg16", "--image_size=64", "--levels=1", "--device=cpu")
LOSS = "--style_loss=gram:3"  # Sooner than the default, which matches places.
GRIDS = (
    "--grid=init=noise,content",
    "--grid=style_weight=1,10",
    "--steps=2",
    "--precision=float32",
)
VALUES = [(init, weight) for init in ("noise", "content") for weight in (1, 10)]


def cell_name(init: str, weight: float) -> str:
    return f"init={init},style_weight={weight}.png"


@pytest.fixture(scope="module")
def main(content_path: Path, style_path: Path) -> Callable[..., int]:
    """Calls the sweep in this process, on the two pictures unless the arguments name a photo."""

    def run(*arguments: object) -> int:
        further = list(map(str, arguments))
        photo = (
            [] if any("--content=" in each for each in further) else [f"--content={content_path}"]
        )
        return command.main(["sweep.py", *photo, f"--style={style_path}", *BASE, LOSS, *further])

    return run


@pytest.fixture(scope="module")
def finished(main: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished sweep, which no test changes."""
    folder = tmp_path_factory.mktemp("finished") / "sweep"
    assert main(*GRIDS, f"--output={folder}") == 0
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished sweep."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Config]]:
    """The config of every stylisation from now on."""
    made: list[Config] = []
    stylize = transfer.StyleTransfer.stylize

    def counted(self: transfer.StyleTransfer, *arguments: Any, **options: Any) -> Any:
        made.append(self.config)
        return stylize(self, *arguments, **options)

    monkeypatch.setattr(transfer.StyleTransfer, "stylize", counted)
    yield made


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def read_table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "losses.csv", newline="") as file:
        return list(csv.DictReader(file))


def read_report(folder: Path, init: str, weight: float) -> dict[str, Any]:
    return json.loads((folder / cell_name(init, weight)).with_suffix(".json").read_text())


def modified(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("init=*")}


# The plan.


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("style_weight=1,10,1e2", "style_weight", (1.0, 10.0, 100.0)),
        (" seed = 3 , 4 ", "seed", (3, 4)),
        ("jit_compile=true,false", "jit_compile", (True, False)),
        ("init=noise,a b.png", "init", ("noise", "a b.png")),
        ("steps=40;20,10", "steps", ((40,), (20, 10))),
        ("steps=;5", "steps", ((), (5,))),
        ("style_layer_weights=1, 2;.5", "style_layer_weights", ((1.0, 2.0), (0.5,))),
        ("style_layers=conv1_1,conv2_1", "style_layers", (("conv1_1", "conv2_1"),)),
    ],
)
def test_grid_is_read_as_flags_are(text: str, name: str, values: tuple):
    assert grid.read_grids([text]) == (grid.Axis(name, values),)


def test_a_preset_can_be_swept_or_shared_by_all_cells(content_path: Path, style_path: Path):
    def cells(*arguments: str) -> list[Config]:
        pictures = f"--content={content_path}", f"--style={style_path}"
        values = flags.define(*flags.SWEEP)
        flags.parse(values, ["", *pictures, *BASE, *arguments])
        options = flags.to_dataclass(values, SweepOptions)
        return [cell.config for cell in grid.plan(options, values).cells]

    changes = {"backbone": "vgg16", "image_size": 64, "levels": 1, "device": "cpu", "steps": (2,)}
    names = ("gatys2016", "eager_notebook")
    expected = [Config.preset(name, **changes) for name in names]
    assert cells(f"--grid=preset={','.join(names)}", "--steps=2") == expected
    expected = [Config.preset("gatys2016", **changes, init=init) for init in ("gray", "noise")]
    assert cells("--preset=gatys2016", "--grid=init=gray,noise", "--steps=2") == expected
    with pytest.raises(errors.ConfigError, match="preset=gatys: unknown preset"):
        cells("--grid=preset=gatys")


@pytest.mark.parametrize("field", dataclasses.fields(Config), ids=lambda field: field.name)
def test_every_field_can_be_swept(field: dataclasses.Field):
    value = field.default
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    if text:
        assert grid.read_grids([f"{field.name}={text}"])[0].values == (value,)


def make_plan(content: Path, style: Path, *arguments: str) -> grid.SweepPlan:
    values = flags.define(*flags.SWEEP)
    flags.parse(values, ["", f"--content={content}", f"--style={style}", *BASE, *arguments])
    return grid.plan(flags.to_dataclass(values, flags.SWEEP[0]), values)


def test_first_grid_makes_rows_and_second_columns(content_path: Path, style_path: Path):
    plan = make_plan(content_path, style_path, *GRIDS)
    assert plan.rows == [{"init": "noise"}, {"init": "content"}]
    assert plan.columns == [{"style_weight": 1.0}, {"style_weight": 10.0}]
    assert [(c.config.init, c.config.style_weight) for c in plan.cells] == VALUES
    assert {(c.config.image_size, c.config.steps) for c in plan.cells} == {(64, (2,))}


def test_single_grid_is_one_row(content_path: Path, style_path: Path):
    plan = make_plan(content_path, style_path, "--grid=seed=1,2,3")
    assert (plan.rows, plan.columns) == ([{}], [{"seed": 1}, {"seed": 2}, {"seed": 3}])


def test_third_grid_multiplies_the_rows(content_path: Path, style_path: Path):
    plan = make_plan(
        content_path, style_path, "--grid=seed=1,2", "--grid=init=noise", "--grid=pooling=max,avg"
    )
    assert plan.rows == [
        {"seed": seed, "pooling": pooling} for seed in (1, 2) for pooling in ("max", "avg")
    ]
    assert [cell.label for cell in plan.cells][1] == "seed=1, init=noise, pooling=avg"


def test_file_names_are_safe_and_bounded_and_differ():
    layers = [f"block{b}_conv{c}" for b in range(1, 6) for c in (1, 2)]
    inits = ["noise", "Photo.png", "photo.png", "../a:b/*?.png", "..-a-b-.png", "ü.png", "~/\n"]
    values = itertools.product(inits, [(), (*layers,), tuple(layers[:-1])])
    names = [
        grid.Cell({"init": init, "style_layers": chosen}, Config(), ()).name
        for init, chosen in values
    ]
    assert len({name.lower() for name in names}) == len(inits) * 3
    for name in names:
        assert len(name) <= 130 and name.endswith(".png")
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.,=+-")


BAD_INPUT = {
    "no grid": ([], ["--grid is missing", "--grid=style_weight=1,10,100"]),
    "no values": (["--grid=seed"], ["--grid=seed", "lists no values"]),
    "empty values": (["--grid=seed= "], ["lists no values", "FIELD=VALUE"]),
    "unknown field": (["--grid=stile_weight=1"], ["stile_weight", "Did you mean 'style_weight'"]),
    "field of the files": (["--grid=output=a,b"], ["setting of --grid 'output'"]),
    "unreadable value": (["--grid=seed=1,x"], ["--grid=seed=1,x", "whole number"]),
    "missing value": (["--grid=seed=1,,2"], ["whole number"]),
    "same value twice": (["--grid=tv_weight=1,1.0"], ["lists 1 twice"]),
    "same field twice": (["--grid=seed=1", "--grid=seed=2"], ["seed", "two --grid"]),
    "field swept and given": (["--grid=seed=1,2", "--seed=1"], ["seed", "leave one out"]),
    "value out of range": (["--grid=style_weight=1,-1"], ["style_weight=-1:", "0 or above"]),
    "unknown choice": (["--grid=pooling=max,min"], ["pooling=min:", "max, avg"]),
    "unknown layer": (["--grid=style_layers=conv1_1;conv9_9"], ["conv9_9", "block1_conv1"]),
    "values at odds": (["--grid=steps=2;2,2"], ["steps=2,2:", "levels=1"]),
    "size too small": (["--grid=seed=1,2", "--image_size=20"], ["seed=1:", "20x15"]),
    "no photo": (["--grid=seed=1", "--content="], ["--content is missing"]),
    "outside of no mask": (["--grid=outside=style,keep"], ["outside=keep:", "content mask"]),
    "flag of the other command": (["--grid=seed=1", "--replay=a.png"], ["--replay"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_refused_in_one_sentence(
    name: str, main: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    arguments, words = BAD_INPUT[name]
    assert main(*arguments) == 2
    captured = capfd.readouterr()
    assert captured.out == "" and not os.listdir(tmp_path)
    assert captured.err.startswith("sweep.py: ") and captured.err.count("\n") == 1
    for word in words:
        assert word in captured.err


# A sweep that goes well.


def test_finished_sweep_writes_pictures_reports_sheet_and_table(finished: Path):
    pictures = [cell_name(*values) for values in VALUES]
    reports = [name.replace(".png", ".json") for name in pictures]
    assert sorted(os.listdir(finished)) == sorted([*pictures, *reports, "sheet.png", "losses.csv"])


def test_masks_are_those_of_every_cell(
    main: Callable[..., int], content_path: Path, tmp_path: Path
):
    mask = Image.new("L", (40, 30), 255)
    mask.paste(0, (20, 0, 40, 30))
    mask.save(tmp_path / "mask.png")
    flags_ = (f"--content_mask={tmp_path / 'mask.png'}", f"--output={tmp_path / 'sweep'}")
    assert main("--grid=outside=style,keep", "--steps=2", *flags_) == 0
    style, keep = (
        pixels(tmp_path / "sweep" / f"outside={value}.png").astype(int)
        for value in ("style", "keep")
    )
    photo = np.rint(images.resize(images.load(content_path).rgb, 48, 64) * 255)
    assert np.abs(keep[:, 34:] - photo[:, 34:]).max() <= 1
    assert np.abs(style[:, 34:] - photo[:, 34:]).mean() > 2


def test_masks_that_do_not_fit_are_refused_before_the_work(
    main: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    for name in ("red", "blue"):
        Image.new("RGB", (40, 30), name).save(tmp_path / f"{name}.png")
    masks = (f"--content_mask={tmp_path / 'red.png'}", f"--style_mask={tmp_path / 'blue.png'}")
    assert main("--grid=seed=1,2", *masks, f"--output={tmp_path / 'sweep'}") == 2
    assert "#ff0000, #0000ff is in the masks of one side only" in capfd.readouterr().err
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(("init", "weight"), VALUES)
def test_cell_is_what_the_library_makes(
    init: str, weight: float, finished: Path, content_path: Path, style_path: Path
):
    config = Config(
        backbone="vgg16", image_size=64, levels=1, device="cpu", steps=(2,), init=init,
        style_weight=weight, precision="float32", style_loss="gram:3",
    )  # fmt: skip
    path = finished / cell_name(init, weight)
    expected = np.asarray(nst_tf.stylize(str(content_path), str(style_path), config))
    np.testing.assert_array_equal(pixels(path), np.rint(expected * 255).astype(np.uint8))
    made = recipe.load(str(path))
    assert Config.from_dict(made["config"]) == config
    assert made["inputs"] == recipe.input_hashes(
        {"content": str(content_path), "style": str(style_path)}
    )
    assert read_report(finished, init, weight)["config"] == made["config"]


def test_table_says_what_the_reports_say(finished: Path):
    rows = read_table(finished)
    assert list(rows[0]) == [
        "init", "style_weight", "loss", "content", "style", "tv", "content unweighted",
        "style unweighted", "tv unweighted", "seconds", "picture",
    ]  # fmt: skip
    assert [(row["init"], int(row["style_weight"])) for row in rows] == VALUES
    for row, (init, weight) in zip(rows, VALUES, strict=True):
        report = read_report(finished, init, weight)
        terms = report["history"][-1]["terms"]
        style = math.fsum(value for name, value in terms.items() if name.startswith("style/"))
        assert float(row["loss"]) == report["history"][-1]["loss"]
        assert float(row["style"]) == pytest.approx(style)
        assert float(row["style unweighted"]) == pytest.approx(style / weight / 3)
        assert float(row["content"]) == pytest.approx(terms["content/block4_conv2"])
        assert float(row["content unweighted"]) == pytest.approx(float(row["content"]) / 0.5)
        assert float(row["tv unweighted"]) == pytest.approx(terms["tv"] / 1.5)
        assert float(row["seconds"]) == report["seconds"]
        assert row["picture"] == cell_name(init, weight)


def test_second_run_makes_nothing_again_but_the_sheet(
    folder: Path, main: Callable[..., int], runs: list, capfd: pytest.CaptureFixture[str]
):
    before, table = modified(folder), (folder / "losses.csv").read_bytes()
    shown = pixels(folder / "sheet.png")
    (folder / "sheet.png").unlink()
    assert main(*GRIDS, f"--output={folder}") == 0
    assert not runs and modified(folder) == before
    assert (folder / "losses.csv").read_bytes() == table
    np.testing.assert_array_equal(pixels(folder / "sheet.png"), shown)
    captured = capfd.readouterr()
    assert captured.out == f"{folder / 'sheet.png'}\n"
    assert "[4/4] init=content, style_weight=10: kept" in captured.err


@pytest.mark.parametrize("damage", ["missing", "cut", "deep", "another's"])
def test_cell_without_its_report_is_made_again(
    damage: str, folder: Path, main: Callable[..., int], runs: list
):
    path = (folder / cell_name("noise", 10)).with_suffix(".json")
    other = (folder / cell_name("noise", 1)).with_suffix(".json").read_text()
    whole = path.read_text()
    texts = {"missing": "", "cut": whole[:200], "deep": "[" * 100_000, "another's": other}
    path.write_text(texts[damage])
    if damage == "missing":
        path.unlink()
    assert main(*GRIDS, f"--output={folder}") == 0
    assert [(config.init, config.style_weight) for config in runs] == [("noise", 10)]
    assert read_report(folder, "noise", 10)["config"]["style_weight"] == 10


def test_wider_grid_makes_the_new_cells_alone(folder: Path, main: Callable[..., int], runs: list):
    wider = [GRIDS[0], "--grid=style_weight=1,10,100", *GRIDS[2:]]
    assert main(*wider, f"--output={folder}") == 0
    assert [config.style_weight for config in runs] == [100, 100]


def test_pictures_made_in_another_way_are_replaced_only_if_asked(
    folder: Path, main: Callable[..., int], runs: list, capfd: pytest.CaptureFixture[str]
):
    before = modified(folder)
    changed = [*GRIDS[:2], "--steps=1", f"--output={folder}"]
    assert main(*changed) == 1
    error = capfd.readouterr().err.splitlines()[-1]
    assert "--overwrite" in error
    assert all(str(folder / cell_name(*values)) in error for values in VALUES)
    assert not runs and modified(folder) == before
    assert main(*changed, "--overwrite") == 0
    assert len(runs) == 4
    assert len(read_report(folder, "noise", 1)["history"]) == 1


def test_another_photo_under_the_same_name_is_another_recipe(
    folder: Path, main: Callable[..., int], runs: list, content_path: Path, tmp_path: Path
):
    Image.fromarray(pixels(content_path)[::-1]).save(tmp_path / "content.png")
    assert main(*GRIDS, f"--content={tmp_path / 'content.png'}", f"--output={folder}") == 1
    assert not runs


def test_the_same_photo_under_another_name_is_the_same_recipe(
    folder: Path, main: Callable[..., int], runs: list, content_path: Path, tmp_path: Path
):
    shutil.copy(content_path, tmp_path / "copied.png")
    assert main(*GRIDS, f"--content={tmp_path / 'copied.png'}", f"--output={folder}") == 0
    assert not runs


@pytest.mark.parametrize("name", ["sheet.png", "losses.csv"])
def test_sheet_or_table_of_somebody_else_is_left_alone(
    name: str, main: Callable[..., int], tmp_path: Path, content_path: Path
):
    shutil.copy(content_path, tmp_path / name)
    assert main(*GRIDS, f"--output={tmp_path}") == 1
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == content_path.read_bytes()


@pytest.mark.parametrize("name", ["sheet.png", cell_name("noise", 1)])
def test_a_deep_recipe_is_nobody_elses_than_a_strangers(
    name: str, folder: Path, main: Callable[..., int], runs: list,
    capfd: pytest.CaptureFixture[str],
):  # fmt: skip
    images.save(np.zeros((4, 4, 3)), folder / name, recipe="[" * 100_000)
    assert main(*GRIDS, f"--output={folder}") == 1
    assert f"{folder / name}: exists already" in capfd.readouterr().err
    assert not runs


def test_another_machine_is_no_reason_to_make_a_picture_again(
    folder: Path, main: Callable[..., int], runs: list
):
    path = folder / cell_name("noise", 1)
    made = recipe.load(str(path))
    made["machine"]["threads"] += 1
    images.save(pixels(path) / 255, path, recipe=json.dumps(made))
    assert main(*GRIDS, f"--output={folder}") == 0
    assert not runs


def test_one_network_serves_all_cells_that_agree_on_it(
    main: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    built: list[str] = []
    build = backbones.build

    def counted(*arguments: Any, pooling: str, **settings: Any) -> Any:
        built.append(pooling)
        return build(*arguments, pooling=pooling, **settings)

    monkeypatch.setattr(backbones, "build", counted)
    axes = ["--grid=pooling=max,avg", "--grid=seed=1,2"]
    assert main(*axes, "--steps=1", f"--output={tmp_path / 'sweep'}") == 0
    assert sorted(built) == ["avg", "max"]


def test_one_trace_serves_all_weights(
    main: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    traced: list[int] = []
    value = objective.Objective.value

    def counted(*arguments: Any) -> Any:
        traced.append(1)
        return value(*arguments)

    monkeypatch.setattr(objective.Objective, "value", counted)
    axes = ["--grid=style_weight=1,2,3", "--grid=content_weight=1,5"]
    assert main(*axes, "--steps=1", f"--output={tmp_path / 'sweep'}") == 0
    assert len(list((tmp_path / "sweep").glob("*.json"))) == 6
    assert len(traced) == 1


# A sweep that does not reach its end.


def test_cell_that_diverges_leaves_a_gap(main: Callable[..., int], tmp_path: Path):
    folder = tmp_path / "sweep"
    arguments = ["--grid=style_weight=1e300,1", "--steps=1", f"--output={folder}"]
    assert main(*arguments) == 1
    assert sorted(path.name for path in folder.glob("*.png")) == ["sheet.png", "style_weight=1.png"]
    gap, whole = read_table(folder)
    assert (gap["style_weight"], gap["loss"], gap["picture"]) == ("1e+300", "", "")
    assert float(whole["loss"]) > 0


def test_a_sweep_goes_on_past_whatever_fails_in_a_cell(
    main: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str], runs: list,
):  # fmt: skip
    import tensorflow as tf

    failures = {
        1: MemoryError(),
        2: errors.ImageError("init.png: no such file."),
        3: OSError(28, "No space left on device"),
        4: tf.errors.InternalError(None, None, "first line\nsecond line"),
    }
    stylize = transfer.StyleTransfer.stylize

    def failing(self: transfer.StyleTransfer, *arguments: Any, **options: Any) -> Any:
        if self.config.seed in failures:
            raise failures[self.config.seed]
        return stylize(self, *arguments, **options)

    folder = tmp_path / "sweep"
    (folder / "seed=6.json").mkdir(parents=True)  # Where a report cannot be written.
    arguments = ["--grid=seed=1,2,3,4,5,6", "--steps=1", f"--output={folder}"]
    handlers = [signal.getsignal(number) for number in callbacks.SIGNALS]
    with monkeypatch.context() as patched:
        patched.setattr(transfer.StyleTransfer, "stylize", failing)
        assert main(*arguments) == 1
    assert [signal.getsignal(number) for number in callbacks.SIGNALS] == handlers
    told = capfd.readouterr().err
    for words in (
        "seed=1: failed. MemoryError", "seed=2: failed. init.png: no such file.\n",
        "seed=3: failed. OSError: [Errno 28]", "seed=4: failed. InternalError: first line\n",
        "seed=6: failed. ", "6 pictures: 5 failed, 1 made",
    ):  # fmt: skip
        assert words in told
    assert "Traceback" not in told
    assert [bool(row["loss"]) for row in read_table(folder)] == [False] * 4 + [True, False]
    assert images.size(folder / "sheet.png")
    (folder / "seed=6.json").rmdir()
    runs.clear()
    assert main(*arguments) == 0
    assert [config.seed for config in runs] == [1, 2, 3, 4, 6]
    assert all(row["loss"] for row in read_table(folder))


def test_the_sheet_says_why_a_picture_is_missing(content_path: Path, style_path: Path):
    plan = make_plan(content_path, style_path, "--grid=seed=1,2,3")
    entries = [command.Entry(cell, Path(cell.name)) for cell in plan.cells]
    entries[1].outcome, entries[1].reason = "failed", "MemoryError"
    entries[2].outcome, entries[2].reason = "failed", "word " * 1000
    first, second, third = command.contact_sheet(plan, entries).pictures[0]
    assert (first, second) == ("not run", "failed: MemoryError")
    assert third.startswith("failed: word word") and len(third) < 100


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_finished_cells_and_shows_them(
    number: signal.Signals, main: Callable[..., int], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
):  # fmt: skip
    class Press(callbacks.Callback):
        def on_step_end(self, step: callbacks.StepEnd) -> None:
            if step.step == 2 and len(list(folder.glob("seed=*.png"))) == 1:
                os.kill(os.getpid(), number)

    folder = tmp_path / "sweep"
    stylize = transfer.StyleTransfer.stylize
    monkeypatch.setattr(
        transfer.StyleTransfer, "stylize",
        lambda self, photo, styles, watchers, **options: stylize(
            self, photo, styles, [*watchers, Press()], **options
        ),
    )  # fmt: skip
    before = signal.getsignal(number)
    assert main("--grid=seed=1,2,3", "--steps=3", f"--output={folder}") == 128 + number
    assert signal.getsignal(number) == before
    assert sorted(os.listdir(folder)) == ["losses.csv", "seed=1.json", "seed=1.png", "sheet.png"]
    assert [bool(row["loss"]) for row in read_table(folder)] == [True, False, False]
    assert "1 made, 2 not run" in capfd.readouterr().err


def test_folder_is_not_left_behind_where_nothing_was_made(
    main: Callable[..., int], tmp_path: Path, content_path: Path
):
    folder = tmp_path / "sweep"
    assert main(*GRIDS, f"--weights={content_path}", f"--output={folder}") == 1
    assert not folder.exists()


# The sheet.


def fake_sheet(rows: list[str], columns: list[str], height: int, width: int) -> sheet.Sheet:
    """Returns a sheet of red pictures."""
    picture = np.zeros((height, width, 3), np.float32)
    picture[..., 0] = 1
    shown = [[picture for _ in columns] for _ in rows]
    return sheet.Sheet("title", "note", [picture], rows, columns, shown, (height, width))


def ink(drawn: np.ndarray) -> int:
    """Returns how dark the words of a fake sheet are, all pixels together."""
    dark = np.where((drawn == (1, 0, 0)).all(axis=-1), 1, drawn[..., 0])
    return int(np.rint(255 * (1 - dark)).sum())


def found_in(drawn: np.ndarray, picture: np.ndarray) -> int:
    """Returns at how many places of a sheet a picture, uint8, stands pixel by pixel."""
    height, width = picture.shape[:2]
    drawn = np.rint(drawn * 255).astype(np.uint8)
    corners = np.argwhere((drawn == picture[0, 0]).all(axis=-1))
    windows = (drawn[top : top + height, left : left + width] for top, left in corners)
    return sum(np.array_equal(window, picture) for window in windows)


def test_sheet_of_a_sweep_has_all_labels_and_pictures(
    finished: Path, content_path: Path, style_path: Path
):
    plan = make_plan(content_path, style_path, *GRIDS, f"--output={finished}")
    entries = [command.Entry(cell, finished / cell.name, outcome="made") for cell in plan.cells]
    entries[1].outcome = "diverged"
    described = command.contact_sheet(plan, entries)
    assert list(described.rows) == ["init=noise", "init=content"]
    assert list(described.columns) == ["style_weight=1", "style_weight=10"]
    assert described.pictures[0][1] == "diverged"
    assert "content.png in the manner of style.png" in described.title
    for word in ("image_size=64", "steps=2", "levels=1"):
        assert word in described.note
    assert len(described.sources) == 2
    drawn = sheet.draw(described)
    places = [found_in(drawn, pixels(each.path)) for each in entries]
    assert places == [1, 0, 1, 1]
    grey = np.full((*described.size, 3), int("ec", 16), np.uint8)
    grey = grey[: grey.shape[0] // 4]  # Above the words.
    assert found_in(drawn, grey)


def test_pictures_come_out_pixel_by_pixel():
    picture = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    shown = np.float32(picture / 255)
    drawn = sheet.draw(sheet.Sheet("title", "note", [], ["a"], ["b"], [[shown]], (120, 160)))
    assert found_in(drawn, picture) == 1


LONG = "style_layers=" + ",".join(f"block{b}_conv{c}" for b in range(1, 6) for c in (1, 2))


@pytest.mark.parametrize(("height", "width"), [(48, 64), (171, 256), (300, 90), (512, 512)])
def test_no_words_overlap_others_or_leave_the_sheet(height: int, width: int):
    rows = [f"{LONG}\nseed=1", "init=/a/very/long$path$/to/some_picture_of_a_cat.png\nseed=2"]
    columns = [LONG, "style_weight=1", f"x{LONG}"]
    drawn = sheet.draw(fake_sheet(rows, columns, height, width))
    red = (drawn == (1, 0, 0)).all(axis=-1)
    alone = sheet.draw(fake_sheet([""], [""], height, width))
    source = (alone == (1, 0, 0)).all(axis=-1).sum() - height * width
    assert red.sum() == 6 * height * width + source  # Nothing is drawn on a picture.
    for edge in (drawn[:8], drawn[-8:], drawn[:, :8], drawn[:, -8:]):
        assert (edge == 1).all()
    head = ink(alone)
    each = [ink(sheet.draw(fake_sheet([row], [""], height, width))) - head for row in rows]
    each += [
        ink(sheet.draw(fake_sheet([""], [column], height, width))) - head for column in columns
    ]
    assert min(each) > 500
    assert ink(drawn) == head + sum(each)  # Words on words would hide some of them.


def test_a_place_without_a_picture_says_why():
    described = fake_sheet(["a", "b"], ["c", "d"], 48, 64)
    words = [["failed: the file is damaged", "failed"], ["", "not run"]]
    drawn = sheet.draw(dataclasses.replace(described, pictures=words))
    blank = sheet.draw(dataclasses.replace(described, pictures=[["", ""], ["", ""]]))
    assert ink(drawn) > ink(blank) + 2000
    assert (drawn == (1, 0, 0)).all(axis=-1).sum() == (blank == (1, 0, 0)).all(axis=-1).sum()


def test_a_long_label_keeps_its_beginning_and_its_end():
    def drawn(label: str) -> np.ndarray:
        return sheet.draw(fake_sheet([""], [label], 48, 64))

    other_end, other_begin = f"{LONG[:-1]}3", f"z{LONG[1:]}"
    for other in (other_end, other_begin):
        assert not np.array_equal(drawn(LONG), drawn(other))
    assert drawn(LONG).shape[0] < drawn("a\nb\nc\nd").shape[0]


def test_large_sheet_is_bounded_and_keeps_the_aspect_ratio():
    described = fake_sheet([f"a={n}" for n in range(6)], ["b=1", "b=2"], 900, 600)
    drawn = sheet.draw(dataclasses.replace(described, sources=[]))
    assert max(drawn.shape) <= sheet.LONGEST_SIDE
    red = (drawn == (1, 0, 0)).all(axis=-1)
    height, width = red.sum(axis=0).max() / 6, red.sum(axis=1).max() / 2
    assert 0.85 * sheet.LONGEST_SIDE < 6 * height < sheet.LONGEST_SIDE
    assert height / width == pytest.approx(1.5, rel=0.01)


def test_transparent_pictures_are_shown_on_white(tmp_path: Path):
    rgba = np.full((4, 4, 4), 60, np.uint8)
    rgba[:2, :, 3], rgba[2:, :, 3] = 0, 255
    Image.fromarray(rgba).save(tmp_path / "cut.png")
    shown = sheet.shown(tmp_path / "cut.png", 100)
    np.testing.assert_allclose(shown[:2], 1)
    np.testing.assert_allclose(shown[2:], 60 / 255, atol=1e-6)


def test_sheet_is_no_picture_to_replay(finished: Path):
    with pytest.raises(errors.ImageError, match="holds no recipe"):
        recipe.load(str(finished / "sheet.png"))
    assert "init=noise,content" in images.read_recipe(finished / "sheet.png")


# Help.


def test_help_lists_every_flag_without_tensorflow(command_environment: dict[str, str]):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", SCRIPT, "--helpfull"],
        env=command_environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for owner in flags.SWEEP:
        for field in dataclasses.fields(owner):
            assert f"--{field.name}" in done.stdout or f"--[no]{field.name}" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "nst_tf.commands.sweep.command" in imported
    assert not {"tensorflow", "keras", "matplotlib"} & imported


def test_a_setting_without_effect_is_told_once_for_all_cells(
    content_path: Path, style_path: Path, caplog: pytest.LogCaptureFixture
):
    values = flags.define(*flags.SWEEP)
    given = [f"--content={content_path}", f"--style={style_path}", "--rate_decay=0.5", *BASE]
    given.append("--init_noise=0.5")
    flags.parse(values, ["sweep.py", *given, "--grid=seed=1,2,3", "--grid=optimizer=lbfgs,adam"])
    grid.plan(flags.to_dataclass(values, SweepOptions), values)
    (told,) = caplog.messages
    assert told.startswith("rate_decay=0.5 has no effect with optimizer=lbfgs")
