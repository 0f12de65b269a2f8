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
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

_FOLDER = flags.DEFINE_string("folder", None, "what export.py wrote", required=True)
_TURNS = flags.DEFINE_integer("turns", 20, "steps that are timed")
_TF32 = flags.DEFINE_boolean("tf32", False, "let a GPU round the factors of float32 products")
_JSON = flags.DEFINE_string("json", "", "file for the results")

STYLE = [f"block{block}_conv1" for block in range(1, 6)]
CONTENT, RATE = "block4_conv2", 0.02

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
    mean = arrays["mean"].float().view(1, 3, 1, 1)
    names = sorted({name.split("/")[0] for name in arrays if "/" in name})
    kernels = [
        (name, arrays[f"{name}/kernel"].permute(3, 2, 0, 1).contiguous(), arrays[f"{name}/bias"])
        for name in names
    ]
    photo, painting = (arrays[name].permute(0, 3, 1, 2) for name in ("photo", "painting"))

    def features(picture: Any) -> dict[str, Any]:
        found, block = {}, "block1"
        x = 255 * picture.flip(1) - mean
        for name, kernel, bias in kernels:
            if not name.startswith(block):
                x, block = torch.nn.functional.max_pool2d(x, 2), name.split("_")[0]
            x = torch.relu(torch.nn.functional.conv2d(x, kernel, bias, padding=1))
            if name in (*STYLE, CONTENT):
                found[name] = x
        return found

    def gram(activations: Any) -> Any:
        flat = activations.flatten(2)[0].float()
        return flat @ flat.T / flat.shape[1]

    cast = torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16")
    with torch.no_grad(), cast:
        wanted = features(photo)[CONTENT].float()
        styles = {name: gram(features(painting)[name]) for name in STYLE}
    image = photo.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([image], lr=RATE, betas=(0.9, 0.99))

    def loss_of(picture: Any) -> Any:
        with cast:
            found = features(picture)
        loss = ((found[CONTENT].float() - wanted) ** 2).sum() / (wanted**2).sum()
        for name, style in styles.items():
            part = ((gram(found[name]) - style) ** 2).sum() / (style**2).sum()
            loss = loss + 10 / len(STYLE) * part
        return loss

    evaluate = torch.compile(loss_of) if compiled else loss_of

    def step() -> Any:
        optimizer.zero_grad()
        evaluate(image).backward()
        gradient = image.grad.clone()
        optimizer.step()
        with torch.no_grad():
            image.clamp_(0, 1)
        if device == "cuda":
            torch.cuda.synchronize()
        return gradient.permute(0, 2, 3, 1).cpu()

    return step


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
            difference = np.asarray(each()) - true
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
