"""Runs an exported step under JAX's runtime, and the same work in PyTorch.

    python benchmarks/gpu/run.py --folder=FOLDER [--turns=20] [--json=FILE]

Needs JAX, and PyTorch for its contenders (left out where it is not installed), but no TensorFlow.
Printed are the median milliseconds of a step, its rate, the device memory at its peak where the
runtime tells, and how far the first gradient is from the one that TensorFlow computed where the
step was exported. Contenders take turns. On a GPU, float32 products may be TF32:
--tf32=true allows them to both.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import work  # Which loads TensorFlow only where it is asked to.

_FOLDER = flags.DEFINE_string("folder", None, "what export.py wrote", required=True)
_TURNS = flags.DEFINE_integer("turns", 20, "steps that are timed")
_TF32 = flags.DEFINE_boolean("tf32", False, "let a GPU round the factors of float32 products")
_JSON = flags.DEFINE_string("json", "", "file for the results")

Step = Callable[[], Any]
"""Takes a step, waits for it, and returns the gradient, on the device."""


def exported(folder: Path, moved: int) -> tuple[Step, Callable[[], float]]:
    """Returns the exported step, and what tells the device memory at its peak, in GB."""
    import jax
    from jaxlib import xla_client

    device = jax.devices()[0]
    text = (folder / "step.mlir").read_text()
    executable = device.client.compile_and_load(text, [device], xla_client.CompileOptions())
    with np.load(folder / "arguments.npz") as saved:
        held = [jax.device_put(saved[name], device) for name in saved.files]

    def step() -> Any:
        results = executable.execute_sharded(held).disassemble_into_single_device_arrays()
        flat = [each[0] for each in results]
        held[:moved] = flat[:moved]
        flat[-1].block_until_ready()
        return flat[-1]

    def peak() -> float:
        return (device.memory_stats() or {}).get("peak_bytes_in_use", 0) / 1e9

    return step, peak


def torch_step(folder: Path, precision: str, compiled: bool) -> Step:
    """Returns the step in PyTorch, on a GPU where there is one."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = _TF32.value
    with np.load(folder / "network.npz") as saved:
        arrays = {name: torch.tensor(saved[name]).to(device) for name in saved.files}
    names = sorted({name.split("/")[0] for name in arrays if "/" in name})
    convolutions = [(name, arrays[f"{name}/kernel"], arrays[f"{name}/bias"]) for name in names]
    features = work.torch_features(convolutions, arrays["mean"].float())
    photo, painting = (
        arrays[name].permute(0, 3, 1, 2).contiguous() for name in ("photo", "painting")
    )

    def cast(picture: Any) -> dict[str, Any]:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            found = features(picture)
        return {name: activations.float() for name, activations in found.items()}

    loss_of = work.torch_loss(cast, photo, painting)
    image = photo.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([image], lr=work.RATE, betas=(0.9, 0.99))
    evaluate = torch.compile(loss_of) if compiled else loss_of

    def step() -> Any:
        optimizer.zero_grad()
        evaluate(image).backward()
        optimizer.step()
        with torch.no_grad():
            image.clamp_(0, 1)
        if device == "cuda":
            torch.cuda.synchronize()
        return image.grad.permute(0, 2, 3, 1)

    return step


def _on_the_host(gradient: Any) -> np.ndarray:
    return np.asarray(gradient.cpu() if hasattr(gradient, "cpu") else gradient)


def main(argv: list[str]) -> None:
    del argv
    os.environ["NVIDIA_TF32_OVERRIDE"] = "1" if _TF32.value else "0"  # Read when CUDA loads.
    folder = Path(_FOLDER.value)
    about = json.loads((folder / "about.json").read_text())
    with np.load(folder / "expected.npz") as saved:
        true = saved[saved.files[-1]]
    step, peak = exported(folder, about["moved"])
    contenders = {"nst_tf": step}
    try:
        for name, compiled in (("torch", False), ("torch compiled", True)):
            contenders[name] = torch_step(folder, about["precision"], compiled)
    except ImportError:
        print("PyTorch is not installed; its contenders are left out.")
    found: dict[str, Any] = {"about": about}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for name, each in list(contenders.items()):
        try:
            difference = _on_the_host(each()) - true
        except Exception as error:  # torch.compile needs a C++ compiler or Triton.
            print(f"{name} does not run here: {error}".splitlines()[0])
            del contenders[name], seconds[name]
            continue
        apart = np.linalg.norm(difference) / np.linalg.norm(true)
        found[name] = {"gradient_apart": float(apart)}
    for _ in range(_TURNS.value):
        for name, each in contenders.items():
            begin = time.perf_counter()
            each()
            seconds[name].append(time.perf_counter() - begin)
    for name, measured in seconds.items():
        median = statistics.median(measured)
        rate = about["operations"] / median / 1e12
        found[name] |= {"seconds": median, "teraflops": rate}
        print(
            f"{name:15} {about['size']} px {about['precision']}: {1000 * median:.2f} ms a step, "
            f"{rate:.2f} TFLOP/s, gradient {found[name]['gradient_apart']:.1e} from TensorFlow's"
        )
    found["nst_tf"]["peak_gigabytes"] = peak()
    print(f"nst_tf: peak of device memory {peak():.2f} GB (0 where the runtime does not tell)")
    if _JSON.value:
        Path(_JSON.value).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
