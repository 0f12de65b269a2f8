"""What tiles cost in time, and what they save in memory.

    python benchmarks/tiling.py [--sizes=1024,2048,4096] [--limit=3GB] [--optimizer=adam]
    python benchmarks/tiling.py --overhead=2048 [--sides=512,1024]
    python benchmarks/tiling.py --overhead=2048 --whole=1024 --plan=block3_pool:896,0 --plan=...

The first prints, for squares of each size, a run as a whole (up to --whole) and a run within the
limit, each in a process of its own: what was estimated, the peak of resident memory, and the
seconds of the second step, a megapixel too. The second prints the seconds of one evaluation of
loss and gradient, as a whole (up to --whole) and in tiles, alternated, the median of --turns. With
--limit=1TB tiles have all the room they want. The third does so for given plans: the names of
the cuts, joined by +, and the sides of the tiles.
"""

from __future__ import annotations

import functools
import json
import statistics
import subprocess
import sys
from typing import Any

import common
import numpy as np
from absl import app, flags

import nst_tf
from nst_tf.runtime import backend

_SIZES = flags.DEFINE_list("sizes", ["1024", "2048", "4096"], "sides of the pictures, in pixels")
_WHOLE = flags.DEFINE_integer("whole", 2048, "largest side of a run without tiles")
_LIMIT = flags.DEFINE_string("limit", "3GB", "memory limit of the tiled runs")
_OPTIMIZER = flags.DEFINE_string("optimizer", "adam", "optimiser of the runs")
_OVERHEAD = flags.DEFINE_integer("overhead", 0, "side of a picture to compare tiles on, by time")
_SIDES = flags.DEFINE_list("sides", ["512", "1024"], "sides of the tiles to compare")
_PLANS = flags.DEFINE_multi_string("plan", [], "CUT+CUT:SIDE,SIDE,SIDE to compare, not --sides")
_TURNS = flags.DEFINE_integer("turns", 3, "evaluations of each kind")
_ONE = flags.DEFINE_string("one", "", "SIZE:LIMIT, to measure one run in this process")

_STEPS = 10  # Of the level, which an optimiser may keep more for the more it has.


def _config(**changes: Any) -> nst_tf.StyleTransferConfig:
    return nst_tf.StyleTransferConfig(
        backbone="vgg16", style_loss="gram", tv_weight=0.0, color="style", levels=1, **changes
    )


def _pictures(size: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (size, size, 3), np.uint8) for _ in range(2)]


class _TwoSteps(nst_tf.callbacks.History):
    """Ends the run after its second step."""

    def on_step_end(self, step: nst_tf.callbacks.StepEnd) -> None:
        super().on_step_end(step)
        self.run.stopping = step.step == 2


def _measure_one(size: int, limit: str) -> None:
    """Prints what a run that ends after two steps was expected to take, and what it took."""
    backend.prefer_onednn()  # As the commands do.
    from nst_tf.records import environment
    from nst_tf.tiling import memory

    limits = {"tile_size": "0"} if limit == "none" else {"memory_limit": limit}
    config = _config(image_size=size, steps=_STEPS, optimizer=_OPTIMIZER.value, **limits)
    history = _TwoSteps()
    transfer = nst_tf.StyleTransfer(config)
    transfer.stylize(*_pictures(size), [history])
    costs, levels = transfer.backbone.costs(), history.run.levels
    (plan,) = memory.plans(config, costs, levels, False)
    first, second = (entry["seconds"] for entry in history.entries)
    found = {
        "plan": _told(plan),
        "expected": memory.expected(config, costs, levels[0], plan) / 1e9,
        "peak": environment.peak_memory_bytes("CPU") / 1e9,
        "seconds": second - first,
    }
    print(json.dumps(found))


def _told(plan: nst_tf.tiling.tiles.TilePlan) -> str:
    return f"{' and '.join(plan.cuts) or 'no cut'} {plan.sides}"


def _read(text: str) -> nst_tf.tiling.tiles.TilePlan:
    cuts, _, sides = text.rpartition(":")
    return nst_tf.tiling.tiles.TilePlan(
        tuple(filter(None, cuts.split("+"))), tuple(map(int, sides.split(",")))
    )


def _run(size: int, limit: str) -> None:
    arguments = [f"--one={size}:{limit}", f"--optimizer={_OPTIMIZER.value}"]
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{size}x{size} {limit}: {done.stderr.splitlines()[-1]}")
        return
    found = json.loads(done.stdout.splitlines()[-1])
    seconds = found["seconds"]
    print(
        f"{size}x{size} {'whole' if limit == 'none' else limit} ({found['plan']}): expected "
        f"{found['expected']:.2f} GB, peak {found['peak']:.2f} GB; {seconds:.1f} s a step, "
        f"{seconds / size**2 * 1e6:.2f} s a megapixel",
        flush=True,
    )


def _compare(size: int, sides: list[int]) -> None:
    """Prints the median seconds of an evaluation as a whole and in tiles."""
    import tensorflow as tf

    from nst_tf import objective
    from nst_tf.engine import steps
    from nst_tf.imaging import pyramid
    from nst_tf.kernels import convolution
    from nst_tf.tiling import memory, tiled_objective
    from nst_tf.tiling.tiles import WHOLE, TilePlan

    config = _config()
    backbone = nst_tf.backbones.build("vgg16", objective.used_layers(config), pooling="avg")
    whole = objective.Objective.from_config(config, backbone)
    photo, painting = (
        tf.constant(nst_tf.imaging.load(picture).rgb[np.newaxis]) for picture in _pictures(size)
    )
    everywhere = tf.ones((1, 1, 1, 1))
    sample = painting[:, :1024, :1024]  # As a whole it takes as much memory as the picture.
    style = whole.targets(sample, everywhere, "style")
    level, plans = pyramid.Level(size, size, 1), list(map(_read, _PLANS.value))
    for side in sides if not plans else ():
        limits = (_LIMIT.value, "1TB")
        settings = [config.replace(tile_size=side, memory_limit=limit) for limit in limits]
        plans.append(TilePlan((), (side,)))
        plans += [memory.plans(each, backbone.costs(), [level], False)[0] for each in settings]
    at_once = tf.function(functools.partial(steps.value_and_gradient, whole), autograph=False)
    runs = {}
    if size <= _WHOLE.value:
        content = whole.targets(photo, everywhere, "content")
        runs[WHOLE] = functools.partial(at_once, painting, {**content, **style})
    for plan in dict.fromkeys(each for each in plans if each.tiled):
        tiled = tiled_objective.TiledObjective(whole, plan.cuts)
        cut = tiled.cut(size, size, plan.sides)
        found = tiled.targets(photo, everywhere, cut, "content")
        targets = tiled_objective.TiledTargets({**found.shared, **style}, cut, found.maps)
        runs[plan] = functools.partial(tiled.value_and_gradient, painting, targets)
    with convolution.minimal_filtering():  # What is compiled at first.
        times = common.seconds_in_turns(runs, _TURNS.value)
    first = next(iter(times))
    base = statistics.median(times[first])
    ideal = memory._work(backbone.costs(), level, WHOLE)
    for plan, each in times.items():
        seconds = statistics.median(each)
        counted = memory._work(backbone.costs(), level, plan) / ideal
        print(
            f"{size}x{size} {_told(plan)}: {seconds:.2f} s an evaluation, "
            f"{seconds / base:.2f} of {'the whole' if first == WHOLE else 'the first'} "
            f"(multiplications, of the whole's: {counted:.2f})",
            flush=True,
        )


def main(argv: list[str]) -> None:
    del argv
    if _ONE.value:
        size, limit = _ONE.value.split(":")
        _measure_one(int(size), limit)
    elif _OVERHEAD.value:
        _compare(_OVERHEAD.value, [int(side) for side in _SIDES.value])
    else:
        for size in map(int, _SIZES.value):
            if size <= _WHOLE.value:
                _run(size, "none")
            _run(size, _LIMIT.value)


if __name__ == "__main__":
    app.run(main)
