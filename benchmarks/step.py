"""Seconds of one step of the same work, by this package and by what people use otherwise.

    python -m pip install -r benchmarks/requirements.txt
    python benchmarks/step.py [--sizes=256,512,1024] [--backbones=vgg16] [--turns=5] [--json=FILE]

The work: a square picture; Gram losses at block1_conv1 to block5_conv1, the content loss at
block4_conv2; the gradient; a step of Adam; clipping. The contenders have the same weights, of the
package, and run in processes of their own that take turns.

- `nst_tf`: the compiled step.
- `keras eager`: a Keras model under a plain `GradientTape`, as tutorials have it.
- `keras function`: the same in a `tf.function`.
- `torch`: the same in PyTorch, with autograd.

Printed are the median seconds of a step, its rate (multiplications and additions of all
convolutions, forth and back), the peak of resident memory, the share of that time that `nst_tf`
takes, and how far the gradient is from PyTorch's in float64: by the kernels that TensorFlow uses by
itself, or by oneDNN's with TF_ENABLE_ONEDNN_OPTS=1 in the environment.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from typing import Any

import common
import numpy as np
import work
from absl import app, flags

_SIZES = flags.DEFINE_list("sizes", ["256", "512", "1024"], "sides of the pictures, in pixels")
_BACKBONES = flags.DEFINE_list("backbones", ["vgg16", "vgg19"], "networks")
_CONTENDERS = flags.DEFINE_list(
    "contenders", ["nst_tf", "keras eager", "keras function", "torch"], "whom to compare"
)
_TURNS = flags.DEFINE_integer("turns", 5, "steps that are timed")
_JSON = flags.DEFINE_string("json", "", "file for the results")
_WORKER = flags.DEFINE_string("worker", "", "CONTENDER:BACKBONE:SIZE, to take turns as one")


def gradients_apart(name: str, size: int = 128) -> dict[str, float]:
    """Returns how far each gradient is from PyTorch's in float64, norm over norm."""
    true = work.CONTENDERS["float64"](name, size).gradient()
    found = {}
    for contender in _CONTENDERS.value:
        difference = work.CONTENDERS[contender](name, size).gradient() - true
        found[contender] = float(np.linalg.norm(difference) / np.linalg.norm(true))
        print(f"{name}: the gradient of {contender} is {found[contender]:.1e} from float64's")
    return found


def _turns(contender: str, name: str, size: int) -> Iterator[dict[str, Any]]:
    if contender == "nst_tf":
        from nst_tf.runtime import backend

        backend.prefer_onednn()  # As the commands do.
    step = work.CONTENDERS[contender](name, size).step
    step()  # Traces and compiles.
    while True:
        begin = time.perf_counter()
        step()
        yield {"seconds": time.perf_counter() - begin, "gigabytes": common.peak_memory()}


def compare(name: str, size: int) -> dict[str, Any]:
    """Prints and returns the figures of all contenders for one network and size."""
    workers = {
        contender: common.Worker([__file__, f"--worker={contender}:{name}:{size}"])
        for contender in _CONTENDERS.value
    }
    measured = common.figures(workers, _TURNS.value)
    operations = 2 * work.products(name, size)
    base = measured["nst_tf"]["seconds"]["median"]
    results = {}
    for contender, each in measured.items():
        seconds, memory = each["seconds"], each["gigabytes"]
        rate = operations / seconds["median"] / 1e9
        share = base / seconds["median"]
        results[contender] = {
            "seconds": seconds, "gflops": rate, "gigabytes": memory, "nst_tf_over_it": share,
        }  # fmt: skip
        print(
            f"{name:6} {size:5} {contender:15} {seconds['median']:7.2f} s "
            f"({seconds['least']:.2f} to {seconds['greatest']:.2f}) {rate:6.0f} GFLOP/s "
            f"{memory:5.2f} GB   nst_tf takes {share:.2f} of it",
            flush=True,
        )
    return results


def main(argv: list[str]) -> None:
    del argv
    if _WORKER.value:
        contender, name, size = _WORKER.value.split(":")
        common.serve(_turns(contender, name, int(size)))
        return
    found: dict[str, Any] = {}
    for name in _BACKBONES.value:
        for size in map(int, _SIZES.value):
            found[f"{name} {size}"] = compare(name, size)
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed, so gradients are not compared with its in float64.")
    else:
        for name in _BACKBONES.value:
            found[f"{name} gradients"] = gradients_apart(name)
    common.write(_JSON.value, found)


if __name__ == "__main__":
    app.run(main)
