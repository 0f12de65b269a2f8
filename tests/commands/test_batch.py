"""The batch: which jobs it has, that none is done twice, and what it leaves behind."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nst_tf import jobs
from nst_tf.commands.batch import command
from nst_tf.records import recipe
from nst_tf.runtime import files

SCRIPT = Path(__file__).parents[2] / "scripts" / "batch.py"
BASE = (
    "--backbone=vgg16", "--image_size=48", "--levels=1", "--steps=2", "--device=cpu",
    "--style_loss=gram", "--content_layers=block1_conv2", "--style_layers=block1_conv1",
    "--optimizer=adam", "--precision=float32", "--init=noise",
)  # fmt: skip


@pytest.fixture
def folder(content_path: Path, style_path: Path, tmp_path: Path, monkeypatch) -> Path:
    """A working folder with two photos and two paintings."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos/a.png", "photos/deep/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(content_path, tmp_path / name)
    for name in ("art/x.png", "art/y.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(style_path, tmp_path / name)
    return tmp_path


def batch(*arguments: str) -> int:
    return command.main(["batch.py", "--output_dir=out", *BASE, *arguments])


PAIRS = ("--contents=photos/**/*.png", "--styles=art/*.png")


def pixels(path: Path | str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def outputs() -> list[str]:
    return sorted(
        str(path.relative_to("out"))
        for path in Path("out").rglob("*.png")
        if "thumbnails" not in path.parts
    )


def report(name: str = "report.csv") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((Path("out") / name).read_text())))


def changed() -> dict[str, int]:
    return {name: (Path("out") / name).stat().st_mtime_ns for name in outputs()}


# Pairs.


def test_every_pair_is_made_once(folder: Path, capfd):
    assert batch(*PAIRS) == 0
    assert outputs() == ["a_x.png", "a_y.png", "b_x.png", "b_y.png"]
    assert {(row["output"], row["status"]) for row in report()} == {
        (name, "done") for name in outputs()
    }
    before = changed()
    assert batch(*PAIRS) == 0
    assert changed() == before
    assert {row["status"] for row in report()} == {"kept"}
    assert "4 pictures: 0 made, 4 kept." in capfd.readouterr().err
    assert not [*Path("out").glob(".nst*")]


def test_the_pictures_are_those_of_the_library(folder: Path):
    assert batch(*PAIRS, "--grid_x=1") == 2  # No such flag.
    assert batch("--contents=photos/a.png", "--styles=art/x.png", "--seed=3") == 0
    made = jobs.Job(
        jobs.Paths("photos/a.png", ["art/x.png"]),
        config_of("--seed=3"),
        jobs.Outputs("alone.png"),
    )
    assert jobs.run(made).done
    np.testing.assert_array_equal(pixels("alone.png"), pixels("out/a_x.png"))


def config_of(*arguments: str):
    from nst_tf.commands import flags

    values = flags.define(*flags.ALL)
    flags.parse(values, ["", *BASE, *arguments])
    return flags.to_config(values)


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("{index:03}", ["001.png", "002.png"]),
        ("{folder}/{content}.jpg", ["deep/b.jpg", "photos/a.jpg"]),
        ("{content} {seed} {strength}", ["a 0 0.5.png", "b 0 0.5.png"]),
    ],
)
def test_names_follow_the_template(folder: Path, template: str, names: Sequence[str]):
    assert batch(PAIRS[0], "--styles=art/x.png", f"--name={template}") == 0
    assert sorted(row["output"] for row in report()) == sorted(names)
    assert all((Path("out") / name).exists() for name in names)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((PAIRS[0],), "--styles is missing"),
        ((*PAIRS, "--name={nothing}"), "unknown name in the braces of --name 'nothing'"),
        ((*PAIRS, "--name={content"), "--name={content: expected"),
        ((*PAIRS, "--name={content}"), "two jobs have the output a.png"),
        ((*PAIRS, "--name=../{content}_{style}"), "no path within --output_dir"),
        ((*PAIRS, "--shard=3/2"), "--shard=3/2: expected N/M"),
        ((*PAIRS, "--workers=0"), "workers is 0; expected 1 or more"),
        (("--manifest=none.csv",), "none.csv: cannot be read"),
        ((*PAIRS, "--manifest=jobs.csv"), "leave out one of them"),
        (("--contents=nothing/*.png", "--styles=art/*.png"), "none that matches"),
    ],
)
def test_mistakes_are_sentences(folder: Path, arguments: Sequence[str], words: str, capfd):
    assert batch(*arguments) == 2
    assert words in capfd.readouterr().err
    assert not Path("out").exists()


def test_pictures_of_the_batch_are_no_photos(folder: Path, capfd):
    arguments = "--contents=**/*.png", "--styles=art/x.png", "--name={folder}_{content}"
    assert batch(*arguments) == 0
    first = outputs()
    assert batch(*arguments) == 0
    assert outputs() == first
    assert "are in out, and are left out" in capfd.readouterr().err


def test_another_picture_is_not_replaced(folder: Path):
    one = ("--contents=photos/a.png", "--styles=art/x.png")
    assert batch(*one) == 0
    before = changed()
    assert batch(*one, "--seed=1") == command.SOME_FAILED
    assert changed() == before
    assert "exists already" in report()[0]["reason"]
    assert batch(*one, "--seed=1", "--overwrite") == 0
    assert changed() != before


# Tables.


def test_a_table_has_settings_for_each_job(folder: Path):
    Path("lists").mkdir()
    Path("lists/jobs.csv").write_text(
        "content,style,output,seed,style_weight\n"
        "../photos/a.png,../art/x.png,one,7,\n"
        '../photos/a.png,"../art/x.png,../art/y.png",two.jpg,,3\n'
    )
    assert batch("--manifest=lists/jobs.csv", "--seed=1") == 0
    rows = {row["output"]: row for row in report()}
    assert (rows["one.png"]["seed"], rows["one.png"]["style_weight"]) == ("7", "")
    assert (rows["two.jpg"]["seed"], rows["two.jpg"]["style_weight"]) == ("1", "3")
    assert recipe.load("out/one.png")["config"]["seed"] == 7
    assert len(recipe.load("out/two.jpg")["inputs"]) == 3


def test_a_picture_to_go_on_from_starts_from_the_folder_of_the_table(folder: Path):
    Path("lists").mkdir()
    shutil.copy("photos/a.png", "lists/begun.png")
    Path("lists/jobs.csv").write_text(
        "content,style,init\n../photos/a.png,../art/x.png,begun.png\n"
    )
    assert batch("--manifest=lists/jobs.csv") == 0
    assert recipe.load("out/a_x.png")["inputs"]["init"]["name"] == "begun.png"


def test_lines_of_json_from_standard_input(folder: Path, monkeypatch):
    lines = [
        {"content": "photos/a.png", "style": ["art/x.png"], "output": "one", "steps": [1]},
        {"content": "photos/a.png", "style": "art/y.png", "preset": "gram", "steps": 1},
    ]
    given = io.TextIOWrapper(io.BytesIO("\n".join(map(json.dumps, lines)).encode()))
    monkeypatch.setattr(sys, "stdin", given)
    assert batch("--manifest=-") == 0
    assert [row["steps"] for row in report()] == ["1", "1"]
    assert outputs() == ["a_y.png", "one.png"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("content,style,stlye_weight,zap\n", "jobs.csv: unknown columns stlye_weight, zap"),
        ("content,style\n,art/x.png\n", "jobs.csv, line 2: content is missing"),
        ("content,style\nphotos/a.png\n", "line 2: the row has another number of cells"),
        (
            "content,style,seed\nphotos/a.png,art/x.png,blue\n",
            "line 2: seed=blue: expected a whole number",
        ),
        ("content,style\n", "jobs.csv: there are no jobs in it"),
        ("content,style,strength\nphotos/a.png,art/x.png,7\n", "line 2: strength is 7"),
        ("content,style\nphotos,art/x.png\n", "is missing"),
    ],
)
def test_mistakes_in_a_table_name_their_place(folder: Path, text: str, words: str, capfd):
    Path("jobs.csv").write_text(text)
    if text.endswith("photos,art/x.png\n"):  # A folder of several.
        shutil.copy("photos/a.png", "photos/c.png")
        words = "line 2: content names 2 files; expected one"
    assert batch("--manifest=jobs.csv") == 2
    assert words in capfd.readouterr().err


def test_unknown_columns_of_json_are_named(folder: Path, capfd):
    Path("jobs.jsonl").write_text('{"content": "a", "style": "b", "styel_weight": 1}\n')
    assert batch("--manifest=jobs.jsonl") == 2
    assert "jobs.jsonl, line 1: unknown column styel_weight" in capfd.readouterr().err


# Failures, shards, and ends in the midst.


def test_a_failure_is_told_and_the_others_are_made(folder: Path, capfd):
    Path("photos/<script>alert(1)<").mkdir()
    Path("photos/<script>alert(1)</script>.png").write_bytes(b"no picture")
    assert batch(*PAIRS, "--name={index}") == command.SOME_FAILED
    said = capfd.readouterr()
    assert "6 pictures: 4 made, 2 failed." in said.err
    assert said.out.strip() == "out/index.html"
    assert [row["status"] for row in report()].count("failed") == 2
    page = Path("out/index.html").read_text()
    assert "alert(1)&lt;/script&gt;" in page and "<script>alert" not in page
    links = Links()
    links.feed(page)
    assert len(links.found) == 4 * 3  # Before, after, and the whole picture.
    assert all((Path("out") / link).exists() for link in links.found)


class Links(html.parser.HTMLParser):
    """Collects the files that a page shows or links to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href") and value]


def test_status_is_lines_of_json(folder: Path):
    assert batch(*PAIRS, "--status=now.jsonl") == 0
    lines = [json.loads(line) for line in Path("now.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines if line["event"] != "progress"] == [
        "begin", "job", "job", "job", "job", "end",
    ]  # fmt: skip
    assert {line["output"] for line in lines if line["event"] == "job"} == set(outputs())
    assert lines[-2]["jobs_done"] == 4 and lines[-2]["seconds_left"] == 0


def test_shards_make_every_picture_once(folder: Path):
    for number in (1, 2, 3):
        assert batch(*PAIRS, f"--shard={number}/3") == 0
    rows = [row for number in (1, 2, 3) for row in report(f"report-{number}-of-3.csv")]
    assert [row["status"] for row in rows] == ["done"] * 4
    assert sorted(row["output"] for row in rows) == outputs() == [
        "a_x.png", "a_y.png", "b_x.png", "b_y.png",
    ]  # fmt: skip
    assert batch(*PAIRS) == 0
    assert {row["status"] for row in report()} == {"kept"}


def test_two_batches_do_not_work_on_one_folder(folder: Path, capfd):
    pytest.importorskip("fcntl")
    Path("out/.nst_batch").mkdir(parents=True)
    with files.locked(Path("out/.nst_batch/all.lock")) as free:
        assert free
        assert batch(*PAIRS) == 2
    assert "another batch is at work here" in capfd.readouterr().err
    assert batch(*PAIRS) == 0


def test_what_a_killed_batch_left_half_written_is_removed(folder: Path):
    Path("out/deep").mkdir(parents=True)
    left = Path("out/deep") / files.TEMPORARY.replace("*", "0" * 16)
    left.write_bytes(b"half")
    assert batch("--contents=photos/a.png", "--styles=art/x.png") == 0
    assert not left.exists()


@pytest.fixture
def begin(folder: Path, command_environment) -> Callable[..., subprocess.Popen[str]]:
    """Starts the batch in a process of its own: jobs of 4 s and of less."""

    def start(*arguments: str) -> subprocess.Popen[str]:
        given = [str(SCRIPT), "--output_dir=out", *BASE, *PAIRS, *arguments]
        return subprocess.Popen(
            [sys.executable, *given], env=command_environment, stderr=subprocess.PIPE, text=True
        )

    return start


LONG = ("--steps=60", "--image_size=96", "--checkpoint_seconds=0.1")
CHECKPOINT = ".nst_batch/checkpoints/*/checkpoint-*"


def wait_for(pattern: str, process: subprocess.Popen[str]) -> None:
    ends = time.monotonic() + 120
    while not [*Path("out").glob(pattern)]:
        assert process.poll() is None and time.monotonic() < ends
        time.sleep(0.02)


def test_killed_workers_and_batch_go_on_to_the_same_pictures(folder: Path, begin):
    process = begin(*LONG, "--workers=2")
    for pattern in ("*.png", CHECKPOINT):  # That of another picture is in the making.
        wait_for(pattern, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [*Path("out").glob(CHECKPOINT)]
    before = changed()
    process = begin(*LONG, "--workers=2")
    process.communicate()
    assert process.returncode == 0
    assert before and before.items() <= changed().items()
    assert len(outputs()) == 4 and not [*Path("out").glob(".nst*")]
    os.rename("out", "killed")
    assert batch(*PAIRS, *LONG) == 0
    for name in outputs():
        np.testing.assert_array_equal(pixels(f"out/{name}"), pixels(f"killed/{name}"))


def test_a_stopped_batch_goes_on(folder: Path, begin):
    process = begin(*LONG)
    wait_for(CHECKPOINT, process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate()[1]
    assert process.returncode == 143, said
    assert "The same command goes on." in said
    assert [*Path("out").glob(CHECKPOINT)]
    assert batch(*PAIRS, *LONG) == 0 and len(outputs()) == 4
