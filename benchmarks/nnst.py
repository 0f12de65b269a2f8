"""Seconds of NNST, by this package and by the published formulas in PyTorch.

    python -m pip install -r benchmarks/requirements.txt
    python benchmarks/nnst.py --size=512x384 [--steps=3] [--final_fault] [--check] [--json=FILE]

The work is NNST-Opt of Kolkin et al. (2022), "Neural Neighbor Style Transfer", with the program's
defaults: VGG16, four quarter turns of the style, 200 steps of Adam on a Laplacian pyramid at 64,
128, 256 and 512 pixels of the longer side, then 200 steps of a last pass that matches anew at each
step. The contenders have the same weights, and take turns in processes of their own:

- `nst_tf`: the preset `nnst` in float32, the compiled step.
- `torch`: the formulas in PyTorch, with autograd.

Content and style are the bundled cat and estuary, both at the given size. Each scale begins at the
content: a step takes as long from any picture.

Printed are, for each scale and the last pass, the median seconds of a step, the seconds of the
targets (activations of content and style, and the search; in the last pass of the style alone), and
the peak of resident memory; then the seconds of the whole run that follow. With `--final_fault`
both repeat the fault of the program in the last pass (docs/reference/presets.md). `--check` prints
how far loss and gradient of the two are apart at 64 pixels.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import common
import nnst_work as work
from absl import app, flags

_SIZE = flags.DEFINE_string("size", "512x384", "WIDTHxHEIGHT of the picture")
_STEPS = flags.DEFINE_integer("steps", 3, "steps that are timed at each scale")
_CONTENDERS = flags.DEFINE_list("contenders", ["nst_tf", "torch"], "whom to compare")
_FINAL_FAULT = flags.DEFINE_bool("final_fault", False, "repeat the fault of the last pass")
_CHECK = flags.DEFINE_bool("check", False, "compare loss and gradient instead of seconds")
_JSON = flags.DEFINE_string("json", "", "file for the results")
_WORKER = flags.DEFINE_string("worker", "", "CONTENDER:SCALE, to take turns as one")


def _turns(contender: str, name: str) -> Iterator[dict[str, Any]]:
    height, width = work.scales(_SIZE.value)[name]
    scale = work.CONTENDERS[contender](height, width, name == work.FINAL, _FINAL_FAULT.value)
    while True:
        begin = time.perf_counter()
        scale.step()
        yield {
            "seconds": time.perf_counter() - begin,
            "target_seconds": scale.target_seconds,
            "gigabytes": common.peak_memory(),
        }


def compare(name: str) -> dict[str, dict[str, Any]]:
    """Prints and returns the figures of all contenders for one scale, or the last pass."""
    settings = [f"--size={_SIZE.value}", f"--final_fault={str(_FINAL_FAULT.value).lower()}"]
    workers = {
        contender: common.Worker([__file__, f"--worker={contender}:{name}", *settings])
        for contender in _CONTENDERS.value
    }
    found = common.figures(workers, _STEPS.value)
    for contender, each in found.items():
        seconds = each["seconds"]
        print(
            f"{name:6} {contender:7} {seconds['median']:8.3f} s a step ({seconds['least']:.3f} to "
            f"{seconds['greatest']:.3f}), targets {each['target_seconds']:6.1f} s, "
            f"{each['gigabytes']:5.2f} GB",
            flush=True,
        )
    return found


def main(argv: list[str]) -> None:
    del argv
    if _WORKER.value:
        common.serve(_turns(*_WORKER.value.split(":")))
        return
    if _CHECK.value:
        differences = {name: work.apart(name == work.FINAL) for name in ("64", work.FINAL)}
        for name, each in differences.items():
            print(f"{name:6} loss {each['loss']:.1e} and gradient {each['gradient']:.1e} apart")
        common.write(_JSON.value, differences)
        return
    found = {name: compare(name) for name in work.scales(_SIZE.value)}
    for contender in _CONTENDERS.value:
        seconds = work.seconds_of_run({name: each[contender] for name, each in found.items()})
        print(f"{contender}: {seconds:.0f} s for {len(found)} x {work.RUN_STEPS} steps")
    common.write(_JSON.value, found)


if __name__ == "__main__":
    app.run(main)
