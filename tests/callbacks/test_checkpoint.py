"""Runs that are killed, stopped or short of disk, and go on as if nothing had happened."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import itertools
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent import futures
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest
import tensorflow as tf

import nst_tf
from nst_tf import backbones, callbacks, errors
from nst_tf.commands import console
from nst_tf.imaging import images
from nst_tf.records import snapshot as snapshots
from nst_tf.runtime import files
from nst_tf.tiling import tiles

SETTINGS = nst_tf.StyleTransferConfig(
    backbone="vgg16",
    weights=str(Path(backbones.__file__).with_name("vgg16_imagenet.h5")),
    image_size=48,
    levels=2,
    steps=(3, 4),
    content_layers=("block2_conv1",),
    style_layers=("block1_conv1",),
    style_loss="gram",
    style_weight=10.0,
    content_weight=1.0,
    color="style",
    init_noise=0.5,
    level_factor=2**0.5,
    init="noise",
    device="cpu",
)
CASES = {
    "adam": {"optimizer": "adam", "tile_size": "0"},
    "lbfgs": {"optimizer": "lbfgs", "tile_size": "0"},
    "adam in tiles": {"optimizer": "adam", "tile_size": "24"},
    "lbfgs in tiles": {"optimizer": "lbfgs", "tile_size": "24"},
    "smoothed": {"optimizer": "lbfgs", "lbfgs_octaves": 3, "tile_size": "0"},
    "bands": {"optimizer": "adam", "laplacian_bands": 4, "tile_size": "0"},
    "bands in tiles": {"optimizer": "rmsprop", "laplacian_bands": 4, "tile_size": "24"},
}


def pixels(seed: int, height: int = 40, width: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


PHOTO, PAINTING = pixels(0), pixels(1, 56, 44)


@pytest.fixture(scope="module")
def transfer() -> nst_tf.StyleTransfer:
    return nst_tf.StyleTransfer(SETTINGS)


@pytest.fixture(scope="module")
def build(transfer: nst_tf.StyleTransfer) -> Callable[..., nst_tf.StyleTransfer]:
    """Returns a function to a transfer with other settings and the same network."""
    return lambda **changes: nst_tf.StyleTransfer(SETTINGS.replace(**changes), transfer.backbone)


class Keep(callbacks.Callback):
    """Keeps a snapshot of every step, and writes down what it is told."""

    def __init__(self) -> None:
        self.snapshots: list[snapshots.Snapshot] = []
        self.copies: list[dict[str, np.ndarray]] = []
        self.calls: list[str] = []

    def on_begin(self, run: callbacks.Run) -> None:
        self.calls.append("begin")

    def on_level_begin(self, level: int) -> None:
        self.calls.append(f"level {level}")

    def on_step_end(self, step: callbacks.StepEnd) -> None:
        self.calls.append(f"step {step.level}.{step.step}")
        kept = step.snapshot()
        self.snapshots.append(kept)
        self.copies.append({name: np.array(value) for name, value in kept.tensors.items()})

    def on_end(self, image: tf.Tensor) -> None:
        self.calls.append("end")


class Stop(callbacks.Callback):
    """Ends a run after a number of steps."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_begin(self, run: callbacks.Run) -> None:
        self.run = run

    def on_step_end(self, step: callbacks.StepEnd) -> None:
        self.after -= 1
        self.run.stopping = self.after == 0


def run(transfer: nst_tf.StyleTransfer, *watchers: Any, **options: Any) -> np.ndarray:
    return transfer.stylize(PHOTO, PAINTING, watchers, **options).numpy()


def losses(history: callbacks.History) -> list[tuple[Any, ...]]:
    return [tuple(entry[name] for name in ("level", "step", "loss", "terms"))
            for entry in history.entries]  # fmt: skip


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Going on.


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_a_run_goes_on_from_every_step_bit_for_bit(build, tmp_path, changes):
    transfer, keep, history = build(**changes), Keep(), callbacks.History()
    expected = run(transfer, keep, history)
    steps = [call for call in keep.calls if call.startswith("step")]
    assert len(steps) == len(keep.snapshots) == 7
    assert all(plan.tiled == (changes["tile_size"] == "24") for plan in keep.snapshots[0].plans)
    for taken, (kept, copies) in enumerate(zip(keep.snapshots, keep.copies, strict=True), 1):
        for name, value in kept.tensors.items():
            np.testing.assert_array_equal(value, copies[name], "it did not stay as it was")
        path = tmp_path / f"checkpoint-{taken:06d}"
        snapshots.write(kept, path)
        again, whole = Keep(), callbacks.History()
        found = run(transfer, again, whole, start=snapshots.read(path))
        np.testing.assert_array_equal(found, expected)
        left = keep.calls[keep.calls.index(steps[taken - 1]) + 1 :]
        entered = ["level 0"] if taken < 3 else ["level 1"] if 3 < taken < 7 else []
        assert again.calls == ["begin", *entered, *left]
        assert losses(whole) == losses(history)
        seconds = [entry["seconds"] for entry in whole.entries]
        assert seconds == sorted(seconds)


def test_the_tiles_of_a_level_are_those_that_it_was_begun_with(build, tmp_path):
    """Where memory ran out in the midst of a level, going on takes the smaller tiles."""
    changes, memory = {"image_size": 128, "levels": 1, "steps": (4,)}, []

    def short_of_memory(transfer: nst_tf.StyleTransfer) -> nst_tf.StyleTransfer:
        whole = transfer._take

        def take(*arguments: Any) -> Any:
            memory.append(arguments)
            if len(memory) == 3:
                raise tf.errors.ResourceExhaustedError(None, None, "no memory")
            return whole(*arguments)

        transfer._take = take
        return transfer

    keep = Keep()
    expected = run(short_of_memory(build(**changes)), keep)
    whole, same, smaller, last = (kept.plans for kept in keep.snapshots)
    assert whole == same != smaller == last
    again = Keep()
    found = run(build(**changes), again, start=keep.snapshots[2])
    assert again.snapshots[0].plans == last
    np.testing.assert_array_equal(found, expected)


def test_names_and_kinds_of_a_state_are_nobodys_business(tmp_path):
    state = {
        "moves/0": tf.constant([1.0, 2.0]), "moves/10": tf.constant(3.0), "a.b": tf.zeros((0, 2)),
        "a.Sb": tf.constant([7], tf.int64), "a/b": tf.constant(True), "": tf.constant(5.0),
    }  # fmt: skip
    kept = snapshots.Snapshot(
        1, 2, {"image": tf.ones((1, 2, 3, 3)), **state},
        [tiles.TilePlan(("x",), (1, 2)), tiles.WHOLE],
        [{"level": 1, "step": 2, "loss": 0.1, "terms": {}, "seconds": 0.5}],
        {"config": {"backbone": "vgg16"}, "inputs": {}, "backbone": {}, "versions": {}},
    )  # fmt: skip
    snapshots.write(kept, tmp_path / "checkpoint-000001")
    found = snapshots.read(tmp_path / "checkpoint-000001")
    assert found.tensors.keys() == kept.tensors.keys()
    for name, value in kept.tensors.items():
        assert found.tensors[name].dtype == value.dtype
        np.testing.assert_array_equal(found.tensors[name], value)
    for name in ("level", "step", "plans", "history", "provenance"):
        assert getattr(found, name) == getattr(kept, name)


# Killed.


KILLED = ("lbfgs", "adam in tiles", "bands in tiles")
WHILE_WRITING = (True, False, True)  # Of the kills of a run.
ASKING = threading.Lock()  # Starting a process also asks how the other ones ended.


class Tell(callbacks.Callback):
    """Sends what happens to another process."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def on_step_end(self, step: callbacks.StepEnd) -> None:
        self._pipe.send((step.level, step.step))


def go_on(folder: Path, changes: dict[str, Any], pipe: Connection) -> None:
    """Works on a picture, from the newest checkpoint on, and saves it."""
    transfer = nst_tf.StyleTransfer(SETTINGS.replace(**changes))
    checkpoint = callbacks.Checkpoint(folder / "kept", seconds=0)
    found = run(transfer, Tell(pipe), checkpoint, start=checkpoint.load())
    np.save(folder / "picture.npy", found)


@dataclasses.dataclass
class Attempt:
    """What one process did before it ended.

    Attributes:
        first: level and step that it began with.
        saved: steps that the checkpoint it began from had, 0 without one.
        torn: whether it was killed while it wrote a checkpoint.
    """

    first: tuple[int, int]
    saved: int
    torn: bool


def torn(folder: Path) -> bool:
    """Returns whether there is a checkpoint that is not whole."""
    return bool(files.leftovers(folder / "kept", snapshots.PREFIX))


def attempt(
    context: Any, folder: Path, changes: dict[str, Any], patience: float, writing: bool = False
) -> Attempt:
    """Starts or goes on with a run, and kills it after some steps, the last one not done.

    With `writing`, the kill waits for the next checkpoint to be begun.
    """
    stored = snapshots.stored(folder / "kept")
    saved = int(stored[-1].name[-6:]) if stored else 0
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=go_on, args=(folder, changes, sender))
    with ASKING:
        process.start()
    sender.close()
    steps = []
    with contextlib.suppress(EOFError):
        while len(steps) < patience:
            assert receiver.poll(60)
            steps.append(receiver.recv())
    if patience < np.inf:
        ending = time.monotonic() + (60 if writing else 0.03 * (patience % 1))
        while time.monotonic() < ending and not (writing and torn(folder)):
            time.sleep(1e-4)
        process.kill()
    with ASKING:
        process.join()
    assert process.exitcode == (-signal.SIGKILL if patience < np.inf else 0)
    return Attempt(steps[0], saved, torn(folder))


def work(context: Any, folder: Path, changes: dict[str, Any], seed: int) -> list[Attempt]:
    """Has a run killed again and again, and then finished."""
    folder.mkdir()
    attempts = []
    random = np.random.default_rng(seed)
    for writing in WHILE_WRITING:
        attempts.append(attempt(context, folder, changes, random.uniform(1, 4), writing))
        assert not (folder / "picture.npy").exists(), "killed too late"
    attempts.append(attempt(context, folder, changes, np.inf))
    return attempts


def test_a_run_that_is_killed_again_and_again_makes_the_same_picture(tmp_path):
    context = forked.context()
    levels = {"0": {"steps": (3, 27)}, "24": {"levels": 1, "steps": (30,)}}
    cases = {name: {**CASES[name], **levels[CASES[name]["tile_size"]]} for name in KILLED}
    with futures.ThreadPoolExecutor(2) as threads:
        jobs = {
            name: threads.submit(work, context, tmp_path / name, changes, seed)
            for seed, (name, changes) in enumerate(cases.items())
        }
        attempts = [each for job in jobs.values() for each in job.result()]
    for name, changes in cases.items():
        found = np.load(tmp_path / name / "picture.npy")
        expected = run(nst_tf.StyleTransfer(SETTINGS.replace(**changes)))
        np.testing.assert_array_equal(found, expected, err_msg=name)
        assert not files.leftovers(tmp_path / name / "kept", snapshots.PREFIX)
    for each in attempts:
        taken = each.saved + 1
        assert each.first in [(0, taken), (1, taken - 3)]
    assert sum(each.torn for each in attempts) >= 3, "hardly a kill hit the writing"
    assert sum(each.saved > 0 for each in attempts) >= 6, "hardly a run went on"
    assert {each.first[0] for each in attempts} == {0, 1}


# Checkpoints and their folder.


def saved(transfer: nst_tf.StyleTransfer, folder: Path, after: int = 5) -> callbacks.Checkpoint:
    """Returns the callback of a run that was stopped, having saved every step."""
    checkpoint = callbacks.Checkpoint(folder, seconds=0)
    run(transfer, checkpoint, Stop(after))
    return checkpoint


def test_the_last_two_are_kept(transfer, tmp_path):
    checkpoint = saved(transfer, tmp_path / "kept")
    assert names(tmp_path / "kept") == ["checkpoint-000004", "checkpoint-000005"]
    assert checkpoint.saved == tmp_path / "kept" / "checkpoint-000005"
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], check=True,
                   cwd=checkpoint.saved, capture_output=True)  # fmt: skip
    restored = callbacks.Checkpoint(tmp_path / "kept", seconds=0)
    run(transfer, restored, Stop(1), start=restored.load())
    assert names(tmp_path / "kept") == ["checkpoint-000005", "checkpoint-000006"]


def test_ends_of_levels_and_the_step_of_a_stop_are_saved(transfer, tmp_path):
    run(transfer, callbacks.Checkpoint(tmp_path / "a", seconds=1e9))
    assert names(tmp_path / "a") == ["checkpoint-000003", "checkpoint-000007"]
    run(transfer, callbacks.Checkpoint(tmp_path / "b", seconds=1e9), Stop(2))
    assert names(tmp_path / "b") == ["checkpoint-000002"]


def test_the_time_between_two_decides(transfer, tmp_path, monkeypatch):
    checkpoint, clock, found = callbacks.Checkpoint(tmp_path / "kept", seconds=2), [0.0], []
    monkeypatch.setattr(callbacks.checkpoint.time, "monotonic", lambda: clock[0])

    class Tick(callbacks.Callback):
        def on_step_end(self, step: callbacks.StepEnd) -> None:
            found.append(checkpoint.saved and int(checkpoint.saved.name[-6:]))
            clock[0] += 1

    run(transfer, checkpoint, Tick())
    assert found == [None, None, 3, 3, 5, 5, 7]


def test_a_fresh_run_leaves_what_is_there_alone(transfer, tmp_path):
    saved(transfer, tmp_path / "kept")
    before = {path: path.read_bytes() for path in (tmp_path / "kept").glob("*/*")}
    with pytest.raises(errors.ConfigError, match=r"kept: holds checkpoints.*--resume"):
        run(transfer, callbacks.Checkpoint(tmp_path / "kept"))
    assert {path: path.read_bytes() for path in (tmp_path / "kept").glob("*/*")} == before
    run(transfer, callbacks.Checkpoint(tmp_path / "kept", overwrite=True), Stop(1))
    assert names(tmp_path / "kept") == ["checkpoint-000001"]


def test_leftovers_are_cleaned_away_and_other_files_are_not(transfer, tmp_path):
    folder = tmp_path / "kept"
    for name in (".checkpoint-000003.new", ".checkpoint-000002.old", "mine", "checkpoint-mine"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").touch()
    checkpoint = callbacks.Checkpoint(folder)
    assert checkpoint.load() is None
    run(transfer, checkpoint)
    assert names(folder) == [
        "checkpoint-000003", "checkpoint-000007", "checkpoint-mine", "mine"
    ]  # fmt: skip
    checkpoint.remove()
    assert names(folder) == ["checkpoint-mine", "mine"]
    assert checkpoint.saved is None


def test_an_empty_folder_is_removed_with_the_checkpoints(transfer, tmp_path):
    checkpoint = saved(transfer, tmp_path / "kept")
    checkpoint.remove()
    assert names(tmp_path) == []


# Damage.


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


DATA = "tensors.bin"


def renew(path: Path) -> None:
    """Gives a checkpoint the hashes of what is in it."""
    names = ("run.json", DATA)
    sums = "".join(f"{files.file_hash(path / name)}  {name}\n" for name in names)
    (path / "SHA256SUMS").write_text(sums)


def linked(name: str) -> Callable[[Path], object]:
    """Returns a function that moves a file elsewhere and leaves a link."""

    def change(path: Path) -> None:
        (path / name).rename(path.parent / "elsewhere")
        (path / name).symlink_to(path.parent / "elsewhere")

    return change


def pipe(name: str) -> Callable[[Path], object]:
    """Returns a function that puts what never ends in the place of a file."""
    return lambda path: ((path / name).unlink(), os.mkfifo(path / name))


NAMES, HUGE = ("run.json", DATA, "SHA256SUMS"), 1 << 40
DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated tensors": lambda path: cut(path / DATA),
    "a flipped bit": lambda path: flip(path / DATA),
    "a flipped bit of the record": lambda path: flip(path / "run.json"),
    "no tensors": lambda path: (path / DATA).unlink(),
    "no record": lambda path: (path / "run.json").unlink(),
    "a garbled record": lambda path: (path / "run.json").write_bytes(b"\xff{"),
    "no sums": lambda path: (path / "SHA256SUMS").unlink(),
    "empty sums": lambda path: (path / "SHA256SUMS").write_text(""),
    "garbled sums": lambda path: (path / "SHA256SUMS").write_bytes(b"\xff\n\n"),
    "truncated sums": lambda path: cut(path / "SHA256SUMS"),
    "a flipped bit of the sums": lambda path: flip(path / "SHA256SUMS"),
    "nothing": lambda path: [file.unlink() for file in path.iterdir()],
    "a file": lambda path: (files.remove_folder(path), path.touch()),
    "a link to nothing": lambda path: (files.remove_folder(path), path.symlink_to("nothing")),
    **{f"a link for {name}": linked(name) for name in NAMES},
    **{f"a pipe for {name}": pipe(name) for name in NAMES},
    "a terabyte of a record": lambda path: os.truncate(path / "run.json", HUGE),
    "a terabyte of tensors": lambda path: os.truncate(path / DATA, HUGE),
    "a terabyte of sums": lambda path: os.truncate(path / "SHA256SUMS", HUGE),
}


@pytest.fixture(scope="module")
def stopped(transfer, tmp_path_factory) -> Path:
    """A folder with two sound checkpoints."""
    folder = tmp_path_factory.mktemp("stopped") / "kept"
    saved(transfer, folder)
    return folder


@pytest.fixture
def copied(stopped: Path, tmp_path: Path) -> Path:
    subprocess.run(["cp", "-r", stopped, tmp_path / "kept"], check=True)
    return tmp_path / "kept"


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_passed_over(copied, caplog, damage):
    damage(copied / "checkpoint-000005")
    assert callbacks.Checkpoint(copied).load().step == 1
    assert "checkpoint-000005: damaged" in caplog.text
    assert "checkpoint-000004" not in caplog.text


def test_foreign_files_in_a_checkpoint_do_not_matter(copied, caplog):
    (copied / "checkpoint-000005" / "@eaDir").mkdir()
    (copied / "checkpoint-000005" / ".DS_Store").touch()
    assert callbacks.Checkpoint(copied).load().step == 2
    assert not caplog.records


def record(**changes: Any) -> Callable[[Path], object]:
    """Returns a function that changes what a checkpoint says of itself; None removes it."""

    def change(path: Path) -> None:
        about = json.loads((path / "run.json").read_text())
        about = {name: value for name, value in {**about, **changes}.items() if value is not None}
        (path / "run.json").write_text(json.dumps(about))

    return change


def entry(**changes: Any) -> Callable[[Path], object]:
    """Returns a function that changes what a checkpoint says of its last step."""

    def change(path: Path) -> None:
        *before, last = json.loads((path / "run.json").read_text())["history"]
        record(history=[*before, {**last, **changes}])(path)

    return change


def tensor(name: str, *kind: Any) -> Callable[[Path], object]:
    """Returns a function that changes shape and type of a tensor."""

    def change(path: Path) -> None:
        shapes = json.loads((path / "run.json").read_text())["tensors"]
        record(tensors={**shapes, name: list(kind)})(path)

    return change


def not_a_number(name: str) -> Callable[[Path], object]:
    """Returns a function that puts NaN in the place of the first value of a tensor."""

    def change(path: Path) -> None:
        place = 0
        for other, (shape, kind) in json.loads((path / "run.json").read_text())["tensors"].items():
            if other == name:
                break
            place += int(np.prod(shape)) * np.dtype(kind).itemsize
        with open(path / DATA, "r+b") as file:
            file.seek(place)
            file.write(np.float32(np.nan).tobytes())

    return change


def made_without(section: str) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        provenance = json.loads((path / "run.json").read_text())["provenance"]
        del provenance[section]
        record(provenance=provenance)(path)

    return change


def text(content: str) -> Callable[[Path], object]:
    return lambda path: (path / "run.json").write_text(content)


IMAGE = [1, 40, 48, 3]
FORGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no object": (text("[]"), "all of it in run.json"),
    "an empty object": (text("{}"), "all of it in run.json"),
    "not JSON": (text("{"), "run.json cannot be read"),
    "deep": (text("[" * 100_000), "run.json cannot be read"),
    "a number of many digits": (text('{"level": ' + "9" * 5000 + "}"), "run.json cannot be read"),
    **{f"no {name}": (record(**{name: None}), "all of it in run.json")
       for name in ("level", "step", "tensors", "plans", "history", "provenance")},
    **{f"made without {name}": (made_without(name), "provenance in run.json")
       for name in ("config", "inputs", "backbone", "versions")},
    **{f"{name} {value!r}": (record(**{name: value}), f"{name} in run.json")
       for name, value in itertools.product(("level", "step"), (-1, 10**400, 1.5, True, "x", []))},
    **{f"{name} {value!r}": (record(**{name: value}), f"{name} in run.json")
       for name, value in itertools.product(("plans", "history", "tensors", "provenance"),
                                            (1, "x", [1], [[]], {"x": 1}, [{"x": 1}]))},
    "another level": (record(level=0), "history in run.json"),
    "a later step": (record(step=3), "history in run.json"),
    "no step": (record(history=[]), "history in run.json"),
    "a loss that is text": (entry(loss="x"), "loss in run.json"),
    "a term that is text": (entry(terms={"x": "y"}), "terms in run.json"),
    "other terms": (entry(terms={"x": 1.0}), "history in run.json"),
    "a time that is none": (entry(seconds=float("nan")), "seconds in run.json"),
    "a time of many digits": (entry(seconds=10**400), "seconds in run.json"),
    "fewer plans than levels": (record(plans=[[[], [0], True, 0]]), "level or step in run.json"),
    "plans of other types": (record(plans=[[["x"], [0], True, 0]] * 2), "plans in run.json"),
    "negative tiles": (record(plans=[[[], [-1], True, 0]] * 2), "plans in run.json"),
    "no image": (record(tensors={"x": [[1], "float32"]}), "tensors in run.json"),
    "an image of another shape": (tensor("image", [1, 40, 48, 4], "float32"), "image in run.json"),
    "an image of another type": (tensor("image", IMAGE, "int32"), "image in run.json"),
    "an image of another size": (tensor("image", [1, 2, 2, 3], "float32"), "tensors in run.json"),
    "a tensor of another size": (tensor("state/direction", [1, 2, 2, 3], "float32"), "tensors"),
    "a band of another size": (tensor("state/moves/1", [1, 2, 2, 3], "float32"), "tensors"),
    "a tensor of no size": (tensor("state/failures", [-1], "float32"), "tensors in run.json"),
    "a huge tensor": (tensor("state/failures", [1 << 30], "float32"), f"{DATA} is too short"),
    "a tensor beyond all size": (tensor("state/failures", [1 << 30] * 8, "float32"), "tensors"),
    "objects": (tensor("state/failures", [], "O"), "tensors in run.json"),
    "an image with NaN": (not_a_number("image"), "not all numbers"),
    "a state with NaN": (not_a_number("state/failures"), "not all numbers"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_checkpoint_is_passed_over(copied, caplog, kind):
    forge, words = FORGED[kind]
    newest = copied / "checkpoint-000005"
    forge(newest)
    renew(newest)
    assert callbacks.Checkpoint(copied).load().step == 1
    [message] = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"{newest}: damaged (") and words in message
    assert len(message) < len(str(newest)) + 120 and message.isprintable()


def test_a_run_goes_on_from_the_one_before(transfer, copied):
    flip(copied / "checkpoint-000005" / DATA)
    checkpoint = callbacks.Checkpoint(copied, seconds=0)
    start = checkpoint.load()
    run(transfer, checkpoint, Stop(1), start=start)
    assert names(copied) == ["checkpoint-000004", "checkpoint-000005"]
    assert callbacks.Checkpoint(copied).load().step == 2, "the damaged one was not replaced"
    found = run(transfer, start=start)
    np.testing.assert_array_equal(found, run(transfer))


def test_none_that_is_sound_is_an_error(copied):
    flip(copied / "checkpoint-000005" / DATA)
    cut(copied / "checkpoint-000004" / DATA)
    with pytest.raises(errors.CheckpointError, match=r"every checkpoint in it is damaged.*Remove"):
        callbacks.Checkpoint(copied).load()


def test_another_format_is_refused(copied):
    for path in snapshots.stored(copied):
        about = json.loads((path / "run.json").read_text())
        (path / "run.json").write_text(json.dumps({**about, "format": 99}))
        renew(path)
    with pytest.raises(errors.CheckpointError, match="format 99"):
        callbacks.Checkpoint(copied).load()


# Other inputs, settings, weights or software.


def test_other_settings_are_refused_one_by_one(build, stopped):
    start = callbacks.Checkpoint(stopped).load()
    other = build(style_weight=12.0, steps=(3, 5))
    with pytest.raises(errors.ConfigError) as caught:
        run(other, start=start)
    for words in ("style_weight: 10.0 in the checkpoint, 12.0 now", "steps: [3, 4] in", "[3, 5]"):
        assert words in str(caught.value)
    assert "content" not in str(caught.value)


def test_other_pictures_are_refused(transfer, stopped):
    start = callbacks.Checkpoint(stopped).load()
    with pytest.raises(errors.ConfigError, match=r"content picture: \w{12}\.\.\. in the check"):
        transfer.stylize(pixels(7), PAINTING, start=start)
    with pytest.raises(errors.ConfigError, match="style picture: "):
        transfer.stylize(PHOTO, pixels(7), start=start)
    with pytest.raises(errors.ConfigError, match=r"style picture: .* nothing now"):
        transfer.stylize(PHOTO, [PAINTING, PAINTING], start=start)


def test_another_initial_picture_is_refused(build, tmp_path):
    images.save(pixels(3) / 255, tmp_path / "init.png")
    other, keep = build(init=str(tmp_path / "init.png")), Keep()
    run(other, keep, Stop(1))
    run(other, Stop(1), start=keep.snapshots[0])
    images.save(pixels(4) / 255, tmp_path / "init.png")
    with pytest.raises(errors.ConfigError, match="initial picture: "):
        run(other, start=keep.snapshots[0])


def test_other_weights_are_refused(transfer, stopped):
    start = callbacks.Checkpoint(stopped).load()
    network = {**start.provenance["backbone"], "its weights": "0" * 64}
    start = dataclasses.replace(start, provenance={**start.provenance, "backbone": network})
    with pytest.raises(errors.ConfigError, match=r"its weights: 000000000000\.\.\. in the check"):
        run(transfer, start=start)


def test_other_software_is_told_and_no_more(transfer, stopped, caplog):
    start = callbacks.Checkpoint(stopped).load()
    software = {**start.provenance["versions"], "tensorflow": "2.0.0"}
    start = dataclasses.replace(start, provenance={**start.provenance, "versions": software})
    found = run(transfer, start=start)
    assert f"tensorflow: 2.0.0 in the checkpoint, {tf.__version__} now" in caplog.text
    np.testing.assert_array_equal(found, run(transfer))


def test_a_snapshot_that_does_not_fit_is_refused(transfer, stopped):
    start = callbacks.Checkpoint(stopped).load()
    for changes in (
        {"level": 2},
        {"step": 9},
        {"tensors": {"image": start.tensors["image"]}},
        {"plans": [tiles.WHOLE]},
        {"plans": [tiles.TilePlan(("block9_conv9",), (16, 16))] * 2},
        {"level": 0},
        {"level": -1},
        {"step": 0},
        {"tensors": {**start.tensors, "state/failures": tf.constant([0.0])}},
        {"tensors": {**start.tensors, "state/failures": tf.constant(0)}},
        {"tensors": {**start.tensors, "image": tf.zeros((1, 2, 2, 3))}},
    ):
        with pytest.raises(errors.ConfigError, match="does not fit"):
            run(transfer, start=dataclasses.replace(start, **changes))


# Disks.


def test_a_full_disk_is_told_once_and_stops_nothing(transfer, tiny_disk, caplog):
    checkpoint = callbacks.Checkpoint(tiny_disk / "kept", seconds=0)
    (tiny_disk / "rubbish").write_bytes(b"0" * 50_000)

    class Clean(callbacks.Callback):
        def on_step_end(self, step: callbacks.StepEnd) -> None:
            if (step.level, step.step) == (0, 2):
                assert names(tiny_disk / "kept") == []
                os.truncate(tiny_disk / "rubbish", 0)
                subprocess.run(["mount", "-o", "remount,size=4m", tiny_disk], check=True)

    found = run(transfer, checkpoint, Clean())
    np.testing.assert_array_equal(found, run(transfer))
    assert [record.getMessage() for record in caplog.records] == [
        f"{tiny_disk}/kept/checkpoint-000001: the checkpoint cannot be written (No space left on "
        "device). The work goes on, and the next one is tried."
    ]
    assert names(tiny_disk / "kept") == ["checkpoint-000006", "checkpoint-000007"]


@pytest.mark.parametrize("name", ["rename", "fsync"])
def test_a_disk_that_fails_late_leaves_the_checkpoints_before(
    transfer, copied, caplog, monkeypatch, name
):
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    checkpoint = callbacks.Checkpoint(copied, seconds=0)
    start = checkpoint.load()
    with monkeypatch.context() as patch:
        patch.setattr(files.os, name, fail)
        run(transfer, checkpoint, start=start)
    assert names(copied) == ["checkpoint-000004", "checkpoint-000005"]
    assert callbacks.Checkpoint(copied).load().step == 2
    assert caplog.text.count("No space left") == 1


@pytest.mark.parametrize(
    "failure",
    [
        MemoryError(),
        ValueError("x"),
        OSError(errno.EIO, "I/O"),
        tf.errors.ResourceExhaustedError(None, None, "x"),
    ],
)
def test_a_snapshot_that_cannot_be_had_stops_nothing(transfer, tmp_path, caplog, failure):
    class Failing(callbacks.Checkpoint):
        def on_step_end(self, step: callbacks.StepEnd) -> None:
            def fail() -> snapshots.Snapshot:
                raise failure

            fails = step.level == 0
            super().on_step_end(dataclasses.replace(step, snapshot=fail) if fails else step)

    found = run(transfer, Failing(tmp_path / "kept", seconds=0))
    np.testing.assert_array_equal(found, run(transfer))
    assert len(caplog.records) == 1
    assert "checkpoint-000001: the checkpoint cannot be written (" in caplog.text
    assert names(tmp_path / "kept") == ["checkpoint-000006", "checkpoint-000007"]


def test_a_folder_whose_name_is_no_text_will_do(transfer, tmp_path, caplog):
    folder = tmp_path / os.fsdecode(b"kept \xff\n")
    saved(transfer, folder)
    checkpoint = callbacks.Checkpoint(folder, seconds=0)
    found = run(transfer, checkpoint, start=checkpoint.load())
    np.testing.assert_array_equal(found, run(transfer))
    assert not caplog.records
    checkpoint.remove()
    assert names(tmp_path) == []


def test_two_runs_in_one_folder_are_refused(transfer, tmp_path):
    folder, told = tmp_path / "kept", []

    class Other(callbacks.Callback):
        def on_step_end(self, step: callbacks.StepEnd) -> None:
            other = callbacks.Checkpoint(folder, overwrite=True)
            with pytest.raises(errors.ConfigError, match=r"kept: another run .* is at work"):
                run(transfer, other)
            other.remove()
            told.append(names(folder))

    found = run(transfer, callbacks.Checkpoint(folder, seconds=0), Other(), Stop(2))
    np.testing.assert_array_equal(found, run(transfer, Stop(2)))
    assert told == [["checkpoint-000001"], ["checkpoint-000001", "checkpoint-000002"]]
    checkpoint = callbacks.Checkpoint(folder)
    run(transfer, checkpoint, start=checkpoint.load())
    checkpoint.remove()
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made_stops_nothing(transfer, tmp_path, caplog):
    (tmp_path / "file").touch()
    run(transfer, callbacks.Checkpoint(tmp_path / "file" / "kept", seconds=0))
    assert caplog.text.count("Not a directory") == 1


def test_a_preview_is_tried_again(transfer, tmp_path, caplog):
    folder = tmp_path / "later"

    class Make(callbacks.Callback):
        def on_step_end(self, step: callbacks.StepEnd) -> None:
            if step.level == 1:
                folder.mkdir(exist_ok=True)

    run(transfer, callbacks.Preview(folder / "preview.png", 1), Make())
    assert caplog.text.count("No preview for now") == 1
    assert names(folder) == ["preview.png"]


# Progress.


def test_progress_counts_on(transfer, stopped):
    stream = io.StringIO()
    run(transfer, callbacks.Progress(stream, seconds=0), start=callbacks.Checkpoint(stopped).load())
    lines = stream.getvalue().splitlines()
    assert [re.search(r"step \d/\d", line)[0] for line in lines] == ["step 3/4", "step 4/4"]
    assert lines[-1].endswith("0:00 left")


def test_a_bar_counts_on(transfer, stopped):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    run(transfer, callbacks.Progress(screen), start=callbacks.Checkpoint(stopped).load())
    assert re.findall(r" (\d)/4 ", screen.getvalue())[0] == "2"
    assert re.findall(r" (\d)/4 ", screen.getvalue())[-1] == "4"


def test_the_time_left_is_told_by_the_steps_of_this_run(transfer, monkeypatch):
    """A step takes as long as its pixels and 128x128 more; each level, its first step longer."""
    now, level = [100.0], nst_tf.imaging.pyramid.Level
    levels = [level(128, 128, 8), level(128, 256, 8)]
    monkeypatch.setattr(callbacks.progress.time, "perf_counter", lambda: now[0])
    stream = io.StringIO()
    progress = callbacks.Progress(stream, seconds=0)
    progress.on_begin(callbacks.Run(SETTINGS, transfer.backbone, levels, "", level=0, step=6))
    progress.on_level_begin(0)
    for step, seconds in ((7, 30), (8, 2)):
        now[0] += seconds
        progress.on_step_end(
            callbacks.StepEnd(0, step, tf.constant(1.0), {}, lambda: None, lambda: None)
        )
    first, second = stream.getvalue().splitlines()
    assert first.endswith("0.03 steps/s")
    assert second.endswith("0.06 steps/s  0:52 left")  # 8 steps of 3 s, and 28 s for the first.


# Signals.


@pytest.mark.parametrize("number", callbacks.SIGNALS)
def test_a_second_signal_does_not_wait(transfer, tmp_path, number):
    if number == signal.SIGINT:  # Which a shell has its background jobs ignore.
        signal.signal(number, signal.default_int_handler)
    before, told = signal.getsignal(number), []

    class Press(callbacks.Callback):
        def on_step_end(self, step: callbacks.StepEnd) -> None:
            os.kill(os.getpid(), number)
            told.append("first")
            os.kill(os.getpid(), number)
            told.append("second")

    def command(_: object) -> int:
        run(transfer, callbacks.Interrupt(), Press())
        return 0

    assert console.run(["program"], [], command) == 128 + number
    assert told == ["first"]
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", callbacks.SIGNALS)
def test_a_signal_in_the_midst_of_writing_lets_the_checkpoint_be_finished(
    transfer, tmp_path, number, monkeypatch
):
    rename, interrupt = os.rename, callbacks.Interrupt()

    def late(old: Path, new: Path) -> None:
        if not interrupt.pressed:
            os.kill(os.getpid(), number)
        rename(old, new)

    checkpoint = callbacks.Checkpoint(tmp_path / "kept", seconds=0)
    monkeypatch.setattr(files.os, "rename", late)
    run(transfer, interrupt, checkpoint)
    assert interrupt.signal == number
    assert names(tmp_path / "kept") == ["checkpoint-000001"]
    assert checkpoint.load().step == 1
