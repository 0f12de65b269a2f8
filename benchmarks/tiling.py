"""What tiles cost in time, and what they save in memory.

    python benchmarks/tiling.py [--sizes=1024,2048] [--sides=512,1024] [--limit=3GB]

For each size, as a square, prints the peak memory of two steps with Adam as a whole and within the
limit, each in a process of its own; then the seconds of one evaluation of loss and gradient as a
whole and in tiles, alternated, the median of three.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from absl import app, flags

import nst_tf

_SIZES = flags.DEFINE_list("sizes", ["1024"], "sides of the pictures, in pixels")
_SIDES = flags.DEFINE_list("sides", ["512"], "sides of the tiles")
_LIMIT = flags.DEFINE_string("limit", "3GB", "memory limit of the tiled runs")
_ONE = flags.DEFINE_string("one", "", "SIZE:LIMIT, to measure one run in this process")


def _config(**changes: object) -> nst_tf.StyleTransferConfig:
    return nst_tf.StyleTransferConfig(backbone="vgg16", optimizer="adam", levels=1, **changes)


def _pictures(size: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.random((size, size, 3), np.float32) for _ in range(2)]


def _seconds(size: int, sides: list[int]) -> dict[int, float]:
    """Returns the median seconds of an evaluation by tile side, 0 for the whole."""
    import tensorflow as tf

    from nst_tf import gradients, memory, objective

    config = _config()
    backbone = nst_tf.backbones.build("vgg16", objective.used_layers(config), pooling="avg")
    whole = objective.Objective.from_config(config, backbone)
    tiled = gradients.TiledObjective(whole)
    photo, painting = (tf.constant(picture[np.newaxis]) for picture in _pictures(size))
    everywhere = tf.ones((1, 1, 1, 1))
    style = whole.targets(painting, everywhere, "style")
    targets = {**whole.targets(photo, everywhere, "content"), **style}
    evaluate = tf.function(lambda image: gradients.value_and_gradient(whole, image, targets))
    runs = {0: lambda: evaluate(painting)}
    for side in sides:
        cut = memory.cut(backbone, size, size, side)
        found = tiled.targets(photo, everywhere, cut, "content")
        shared = gradients.TiledTargets({**found.shared, **style}, cut, found.maps)
        runs[side] = lambda shared=shared: tiled.value_and_gradient(painting, shared)
    times: dict[int, list[float]] = {side: [] for side in runs}
    for turn in range(4):
        for side, run in runs.items():
            begin = time.perf_counter()
            run().gradient.numpy()
            if turn:  # The first compiles.
                times[side].append(time.perf_counter() - begin)
    return {side: statistics.median(each) for side, each in times.items()}


def _measure_one(size: int, limit: str) -> None:
    from nst_tf import report

    config = _config(image_size=size, steps=2, memory_limit=limit)
    nst_tf.stylize(*_pictures(size), config)
    print(report.peak_memory_bytes("CPU"))


def _peak(size: int, limit: str) -> float:
    command = [sys.executable, __file__, f"--one={size}:{limit}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / 1e9


def main(argv: list[str]) -> None:
    del argv
    if _ONE.value:
        size, limit = _ONE.value.split(":")
        _measure_one(int(size), limit)
        return
    sizes = [int(size) for size in _SIZES.value]
    for size in sizes:  # Before this process grows: its peak would count for its children.
        whole, tiled = _peak(size, "1TB"), _peak(size, _LIMIT.value)
        print(f"{size}x{size}: peak {whole:.2f} GB whole, {tiled:.2f} GB within {_LIMIT.value}")
    for size in sizes:
        times = _seconds(size, [int(side) for side in _SIDES.value])
        for side, seconds in times.items():
            name, ratio = f"tiles of {side}" if side else "whole", seconds / times[0]
            print(f"{size}x{size}, {name}: {seconds:.2f} s an evaluation, {ratio:.2f} of the whole")


if __name__ == "__main__":
    app.run(main)
