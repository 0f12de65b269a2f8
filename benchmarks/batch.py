"""How a batch uses its time, what workers gain, and whether anything is lost when it is killed.

    python benchmarks/batch.py --run=steady [--photos=200] [--size=256]
    python benchmarks/batch.py --run=workers [--photos=6] [--size=256]
    python benchmarks/batch.py --run=together
    python benchmarks/batch.py --run=kill [--photos=1000] [--every=20] [--workers=1]

steady: one painting and many photos of one size, in one process. Prints the share of the time that
is spent in steps and in matching places, the seconds of the second and of the last photos, and the
resident memory after each quarter. workers: the seconds of the command with one worker and with
two, in turns. together: the gradient of one, two and four pictures in one pass of the network.
kill: jobs of 64 px and two steps, killed by SIGKILL every so many seconds until all are made, and
compared with an undisturbed run.

The photos are crops of the bundled ones. --settings has further settings, as `name=value` with
semicolons between them.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import common
import numpy as np
import psutil
from absl import app, flags
from PIL import Image

import nst_tf
from nst_tf import jobs

_RUN = flags.DEFINE_enum("run", None, ["steady", "workers", "together", "kill"], "what to measure")
_PHOTOS = flags.DEFINE_integer("photos", 0, "number of photos; 0 for that of the description")
_SIZE = flags.DEFINE_integer("size", 256, "long side of the pictures")
_EVERY = flags.DEFINE_float("every", 20.0, "seconds between two kills")
_WORKERS = flags.DEFINE_integer("workers", 1, "workers of the batch that is killed")
_SETTINGS = flags.DEFINE_string("settings", "", "further settings, for steady and workers")
_OUTPUT = flags.DEFINE_string("output", "", "JSON file for the figures")

_PAINTING = str(common.ROOT / "assets" / "estuary.jpg")
_SCRIPT = str(common.ROOT / "scripts" / "batch.py")
_TURNS = 2


def _photos(folder: Path, count: int, width: int, height: int) -> list[str]:
    """Writes crops of the bundled photos, all of one size, and returns their paths."""
    folder.mkdir()
    pictures = [
        Image.open(common.ROOT / "assets" / name).convert("RGB")
        for name in ("chelsea.png", "coffee.png")
    ]
    random, found = np.random.default_rng(0), []
    for number in range(count):
        picture = pictures[number % 2]
        side = random.uniform(0.5, 1) * min(picture.width / width, picture.height / height)
        size = np.array([width * side, height * side])
        left, top = random.uniform(0, 1, 2) * (np.array(picture.size) - size)
        box = (left, top, left + size[0], top + size[1])
        found.append(str(folder / f"{number:04}.png"))
        picture.resize((width, height), box=box).save(found[-1])
    return found


def _settings() -> dict[str, str]:
    given = [each.partition("=") for each in _SETTINGS.value.split(";") if each]
    return {"backbone": "vgg16", "image_size": str(_SIZE.value)} | {
        name: value for name, _, value in given
    }


class _Clock:
    """Adds up the seconds of calls."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a function whose calls are timed."""

        def call(*arguments: Any, **named: Any) -> Any:
            begin = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - begin

        return call


def _steady(folder: Path) -> dict[str, Any]:
    from nst_tf import objective
    from nst_tf.engine import steps

    in_steps, matching = _Clock(), _Clock()
    compile_step = steps.compile_step
    steps.compile_step = lambda *given, **named: in_steps.timed(compile_step(*given, **named))
    objective.Objective.join = matching.timed(objective.Objective.join)
    count = _PHOTOS.value or 200
    photos = _photos(folder / "photos", count, _SIZE.value, _SIZE.value * 2 // 3)
    config = nst_tf.StyleTransferConfig(**_settings())
    given = [
        jobs.Job(
            jobs.Paths(photo, [_PAINTING]), config, jobs.Outputs(str(folder / f"{number}.png"))
        )
        for number, photo in enumerate(photos)
    ]
    seconds, memory, process = list[float](), list[float](), psutil.Process()
    begin = after_first = time.perf_counter()
    for outcome in nst_tf.stylize_many(given):
        assert outcome.done, outcome.reason
        begin = time.perf_counter()
        seconds.append(outcome.seconds)
        memory.append(process.memory_info().rss / 1e9)
        if len(seconds) == 1:  # It compiles.
            after_first, in_steps.seconds, matching.seconds = begin, 0.0, 0.0
    total = begin - after_first
    part = max(1, count // 10)
    return {
        "photos": count,
        "seconds of the first": seconds[0],
        "seconds of photos 2 on, median": statistics.median(seconds[1 : 1 + part]),
        "seconds of the last, median": statistics.median(seconds[-part:]),
        "share of steps": in_steps.seconds / total,
        "share of matching": matching.seconds / total,
        "memory in GB by quarter": [memory[count * at // 4 - 1] for at in (1, 2, 3, 4)],
    }


def _command(photos: str, output: Path, settings: dict[str, str], workers: int) -> list[str]:
    given = [f"--{name}={value}" for name, value in settings.items()]
    files = [f"--contents={photos}", f"--styles={_PAINTING}", f"--output_dir={output}"]
    return [sys.executable, _SCRIPT, *files, *given, f"--workers={workers}"]


def _workers(folder: Path) -> dict[str, Any]:
    _photos(folder / "photos", _PHOTOS.value or 6, _SIZE.value, _SIZE.value * 2 // 3)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(_TURNS):
        for workers, found in seconds.items():
            output = folder / f"{turn}-{workers}"
            begin = time.perf_counter()
            command = _command(str(folder / "photos"), output, _settings(), workers)
            subprocess.run(command, check=True, capture_output=True)
            found.append(time.perf_counter() - begin)
    return {f"seconds with {count}": found for count, found in seconds.items()}


def _together(folder: Path) -> dict[str, Any]:
    import tensorflow as tf

    from nst_tf import backbones
    from nst_tf.losses import neighbours

    del folder
    found: dict[str, Any] = {}
    for precision in ("bfloat16", "float32"):
        network = backbones.build("vgg16", neighbours.LAYERS, precision=precision)

        @tf.function
        def gradient(image: tf.Tensor, network: Any = network) -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(image)
                loss = sum(tf.reduce_mean(each**2) for each in network(image).values())
            return tape.gradient(loss, image)

        for size in (64, 128, 256, 512):
            images = {
                count: tf.constant(np.random.default_rng(0).random((count, size, size, 3), "f"))
                for count in (1, 2, 4)
            }
            runs = {count: (lambda x=image: gradient(x).numpy()) for count, image in images.items()}
            taken = common.seconds_in_turns(runs, 7)
            found[f"{precision}, {size} px"] = {
                count: statistics.median(each) / count for count, each in taken.items()
            }
    return found


def _kill(folder: Path) -> dict[str, Any]:
    count = _PHOTOS.value or 1000
    _photos(folder / "photos", count, 96, 64)
    settings = {
        "backbone": "vgg16", "image_size": "64", "levels": "1", "steps": "2", "style_loss": "gram",
    }  # fmt: skip
    kills, begin = 0, time.perf_counter()
    command = _command(str(folder / "photos"), folder / "killed", settings, _WORKERS.value)
    while True:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            status = process.wait(_EVERY.value)
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    seconds = time.perf_counter() - begin
    command = _command(str(folder / "photos"), folder / "whole", settings, 1)
    subprocess.run(command, check=True, capture_output=True)
    names = [sorted(path.name for path in _pictures(folder / each)) for each in ("killed", "whole")]
    same = sum(
        np.array_equal(*(Image.open(folder / each / name) for each in ("killed", "whole")))
        for name in names[1]
    )
    left = [name for name in os.listdir(folder / "killed") if name.startswith(".")]
    return {
        "exit status": status,
        "kills": kills,
        "seconds": seconds,
        "pictures": len(names[0]),
        "the same names": names[0] == names[1],
        "equal to the undisturbed run": same,
        "left over": left,
    }


def _pictures(folder: Path) -> Iterator[Path]:
    yield from folder.glob("*.png")


def main(_: list[str]) -> None:
    runs = {"steady": _steady, "workers": _workers, "together": _together, "kill": _kill}
    with tempfile.TemporaryDirectory() as folder:
        found = runs[_RUN.value](Path(folder))
    for name, value in found.items():
        print(f"{name}: {value}")
    common.write(_OUTPUT.value, found)


if __name__ == "__main__":
    flags.mark_flag_as_required("run")
    app.run(main)
