"""What runs take in memory against what they are expected to take, and the coefficients for it.

    python benchmarks/memory.py [--only=TEXT] [--write=FILE] [--read=FILE] [--fit]

Prints, for every case, the peak of resident memory of a process of its own, the expected bytes
and their ratio. With --fit it prints the coefficients of `nst_tf.tiling.memory` as well
that come nearest, and the least safety factor with which no case exceeds what is expected. With
--read it takes the peaks that an earlier run wrote.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
from absl import app, flags

import nst_tf
from nst_tf.runtime import backend

_ONLY = flags.DEFINE_string("only", "", "run the cases whose names hold this text")
_WRITE = flags.DEFINE_string("write", "", "JSON file for the peaks")
_READ = flags.DEFINE_string("read", "", "JSON file of peaks, which are then not measured")
_FIT = flags.DEFINE_bool("fit", False, "fit the coefficients")
_ONE = flags.DEFINE_string("one", "", "case to measure in this process")

_STEPS = 30  # Of a level, of which two are taken: L-BFGS keeps more, the more a level has.


@dataclasses.dataclass(frozen=True)
class Case:
    """A run of two steps.

    Attributes:
        settings: of the run, beside the network.
        photo: its side in pixels, or 0 for that of the picture.
        painting: likewise.
        preset: the recipe that the settings change, or "" for the defaults.
    """

    settings: dict[str, Any]
    photo: int = 0
    painting: int = 0
    preset: str = "gram"

    @functools.cached_property
    def config(self) -> nst_tf.StyleTransferConfig:
        """The settings."""
        settings = {"backbone": "vgg16", "levels": 1, "steps": _STEPS, "optimizer": "adam"}
        settings |= self.settings
        if self.preset:
            return nst_tf.StyleTransferConfig.preset(self.preset, **settings)
        return nst_tf.StyleTransferConfig(**settings)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of photo and painting."""
        sides = (side or self.config.image_size for side in (self.photo, self.painting))
        return [(side, side) for side in sides]


def _case(size: int, *, photo: int = 0, painting: int = 0, **settings: Any) -> Case:
    return Case({"image_size": size, "precision": "float32", **settings}, photo, painting)


def _matched(size: int, *, preset: str = "", **settings: Any) -> Case:
    optimizer = "adam" if preset else "lbfgs"
    return Case({"image_size": size, "optimizer": optimizer, **settings}, preset=preset)


CASES = {
    "256": _case(256),
    "512": _case(512),
    "768": _case(768),
    "1024": _case(1024),
    "512 lbfgs": _case(512, optimizer="lbfgs"),
    "1024 lbfgs": _case(1024, optimizer="lbfgs"),
    "768 octaves": _case(768, optimizer="lbfgs", lbfgs_octaves=4),
    "768 w2": _case(768, style_loss="w2"),
    "768 moments": _case(768, style_loss="moments"),
    "768 swd": _case(768, style_loss="swd"),
    "768 histogram": _case(768, style_loss="gram+histogram"),
    "512 remd": _case(512, style_loss="remd"),
    "768 reflect": _case(768, padding="reflect"),
    "768 circular": _case(768, padding="circular"),
    "768 content": _case(768, content_layers="block1_conv1"),
    "768 levels": _case(768, levels=5, steps=(4,) * 5, optimizer="lbfgs"),
    "768 large painting": _case(384, style_scale=3, painting=1152),
    "256 large photo": _case(256, photo=6000),
    "256 match": _case(256, photo=4000, painting=3000, color="match"),
    "1024 tiles of 256": _case(1024, tile_size=256),
    "1024 tiles of 512": _case(1024, tile_size=512),
    "1024 tiles of 512 lbfgs": _case(1024, tile_size=512, optimizer="lbfgs"),
    "1024 tiles of 512 swd": _case(1024, tile_size=512, style_loss="swd"),
    "1024 tiles of 512 w2": _case(1024, tile_size=512, style_loss="w2"),
    "1024 tiles of 512 reflect": _case(1024, tile_size=512, padding="reflect"),
    "1024 2GB": _case(1024, memory_limit="2GB"),
    "1536 2.5GB levels": _case(
        1536, memory_limit="2.5GB", levels=5, steps=(2,) * 5, optimizer="lbfgs"
    ),
    "2048 3GB": _case(2048, memory_limit="3GB"),
    "4096 3GB": _case(4096, memory_limit="3GB"),
    "256 neighbours": _matched(256),
    "512 neighbours": _matched(512),
    "512 neighbours own colours": _matched(512, color="style"),
    "512 neighbours levels": _matched(512, levels=4, steps=(2,) * 4),
    "768 neighbours": _matched(768),
    "768 neighbours float32": _matched(768, precision="float32"),
    "1024 neighbours": _matched(1024),
    "1024 neighbours of 512": _matched(1024, tile_size=512),
    "1536 neighbours 3.4GB levels": _matched(1536, memory_limit="3.4GB", levels=5, steps=(2,) * 5),
    "2048 neighbours 3GB": _matched(2048, memory_limit="3GB", steps=15),
    "512 nnst": _matched(512, preset="nnst"),
    "512 strotss": _matched(512, preset="strotss"),
}
"""Some that are worked on as a whole, and some in tiles."""


class _TwoSteps(nst_tf.callbacks.Callback):
    """Ends a run of one level after its second step."""

    def on_begin(self, run: nst_tf.callbacks.Run) -> None:
        self._run = run

    def on_step_end(self, step: nst_tf.callbacks.StepEnd) -> None:
        self._run.stopping = len(self._run.levels) == 1 and step.step == 2


def _measure_here(case: Case) -> None:
    """Prints the plans and the peak of a run in this process."""
    backend.prefer_onednn()  # As the commands do.
    from nst_tf.engine import transfer
    from nst_tf.imaging import pyramid, sources

    random = np.random.default_rng(0)
    photo, painting = (
        nst_tf.imaging.load(random.integers(0, 256, (*size, 3), np.uint8)) for size in case.sizes
    )
    engine = nst_tf.StyleTransfer(case.config)
    levels = pyramid.plan(case.config, case.sizes[0], case.sizes[1:])
    pictures = sources.Pictures(photo, [painting])
    plans = transfer.planned(case.config, engine.backbone, levels, pictures)
    engine.stylize(photo, painting, [_TwoSteps()], plans=plans)
    print(json.dumps({"plans": plans, "peak": common.peak_memory()}))


def _measure(name: str) -> dict[str, Any] | None:
    command = [sys.executable, __file__, f"--one={name}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{name}: {done.stderr.splitlines()[-1]}", flush=True)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def _expected(case: Case, plans: Sequence[Sequence[Any]]) -> float:
    """Returns what a run is expected to take, in GB."""
    from nst_tf.imaging import pyramid
    from nst_tf.tiling import memory, tiles

    levels = pyramid.plan(case.config, case.sizes[0], case.sizes[1:])
    given = memory.Given(case.sizes[0], case.sizes[1:], sum(3 * h * w for h, w in case.sizes))
    shown = [tiles.TilePlan(tuple(cuts), tuple(sides), *others) for cuts, sides, *others in plans]
    config = case.config
    costs = _costs((*config.content_layers, *config.style_layers, *config.matched_layers))
    each = zip(levels, shown, strict=True)
    return max(memory.expected(case.config, costs, *one, given) for one in each) / 1e9


@functools.cache
def _costs(layers: tuple[str, ...]) -> list[nst_tf.backbones.LayerCost]:
    return nst_tf.backbones.build("vgg16", {*layers}).costs()


def _compare(found: dict[str, Any]) -> None:
    for name, one in found.items():
        expected = _expected(CASES[name], one["plans"])
        print(
            f"{name:28} peak {one['peak']:.2f} GB, expected {expected:.2f} GB, "
            f"{expected / one['peak']:.2f} of it"
        )


def _fit(found: dict[str, Any]) -> None:
    """Prints the coefficients of least squares of relative errors, and their safety factor."""
    import scipy.optimize

    from nst_tf.tiling import memory

    start = np.array(memory.MEASURED[:-1])

    def ratios(factors: np.ndarray, safety: float = 1.0) -> np.ndarray:
        memory.MEASURED = memory.Coefficients(*(start * factors), safety)
        return np.array(
            [_expected(CASES[name], one["plans"]) / one["peak"] for name, one in found.items()]
        )

    def errors(factors: np.ndarray) -> np.ndarray:
        found = ratios(factors) - 1
        found = np.where(found < 0, 3 * found, found)  # What is too low moves all the others.
        return np.append(found, 0.01 * (factors - 1))  # What no case asks for stays.

    fitted = scipy.optimize.least_squares(errors, np.ones_like(start), bounds=(0.1, 10))
    safety = 1.0
    while min(ratios(fitted.x, safety)) < 1:
        safety += 0.01
    print(memory.MEASURED)
    _compare(found)


def main(argv: list[str]) -> None:
    del argv
    if _ONE.value:
        _measure_here(CASES[_ONE.value])
        return
    found = json.loads(Path(_READ.value).read_text())["results"] if _READ.value else {}
    for name in [] if _READ.value else CASES:
        if _ONLY.value in name:
            one = _measure(name)
            found |= {name: one} if one else {}
            common.write(_WRITE.value, found)
    _compare(found)
    if _FIT.value:
        _fit(found)


if __name__ == "__main__":
    app.run(main)
