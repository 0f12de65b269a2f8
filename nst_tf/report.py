"""What is left of a run beside the picture: a record in JSON, and the loss curves."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import tensorflow as tf

import nst_tf
from nst_tf import backbones, backend, callbacks, files


def versions() -> dict[str, str]:
    """Returns the versions of everything that shapes a picture."""
    found = {"nst_tf": nst_tf.__version__, "python": platform.python_version()}
    for package in ("tensorflow", "keras", "numpy", "numba", "pillow"):
        with contextlib.suppress(metadata.PackageNotFoundError):  # Numba can be missing.
            found[package] = metadata.version(package)
    return found


def machine(device: str | None) -> dict[str, Any]:
    """Returns what of the machine has a say in the last bits of a picture.

    Args:
        device: TensorFlow's name of what the picture is made on, or None where it chooses.
    """
    return {
        "device": _device_name(device),
        "processor": backend.processor(),
        "vector instructions": backend.vector_instructions() or "unknown",
        "threads": _threads(),
        "oneDNN": "on" if backbones.reorders() else "off",
        "minimal filtering": "on" if backbones.filters_minimally("float32") else "off",
    }


def surroundings(device: str | None) -> dict[str, dict[str, Any]]:
    """Returns what has a say in the last bits of a picture: `versions` and `machine`."""
    return {"versions": versions(), "machine": machine(device)}


def _device_name(device: str | None) -> str:
    """Returns `CPU`, or what the maker of a GPU calls it."""
    gpus = tf.config.get_visible_devices("GPU")
    if not gpus or "CPU" in (device or "").upper():
        return "CPU"
    number = int((device or "GPU:0").rsplit(":", 1)[1])
    return tf.config.experimental.get_device_details(gpus[number]).get("device_name", "GPU")


def _threads() -> int:
    """Returns how many threads TensorFlow shares an operation out to."""
    asked = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
    return (
        tf.config.threading.get_intra_op_parallelism_threads()
        or (int(asked) if asked.isdecimal() else 0)
        or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0)
        or os.cpu_count()
        or 1
    )


def backbone(model: backbones.Backbone) -> dict[str, str]:
    """Returns name, weight source and weight hash of a network."""
    file = model.weight_file
    return {
        "name": model.architecture.name,
        "weights": file.source if file else "random",
        "sha256": file.sha256 if file else "",
    }


def peak_memory_bytes(device: str) -> int:
    """Returns the most memory used so far: of the GPU, or of this process on the CPU."""
    if "GPU" in device.upper():
        name = device.rsplit("device:", 1)[-1]
        return int(tf.config.experimental.get_memory_info(name)["peak"])
    try:
        import resource
    except ImportError:  # Windows has no such module.
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _in_json(value: Any) -> Any:
    """Returns a value without the infinities and NaNs that JSON does not have."""
    if isinstance(value, Mapping):
        return {name: _in_json(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclasses.dataclass(frozen=True)
class Record:
    """A finished run.

    Attributes:
        run: what was run.
        history: entries of `callbacks.History`.
        seconds: that the stylisation took.
    """

    run: callbacks.Run
    history: Sequence[Mapping[str, Any]]
    seconds: float

    def write(self, path: str, overwrite: bool = True) -> None:
        """Writes the record as JSON.

        Args:
            path: the file.
            overwrite: replace one that is there.

        Raises:
            OSError: the file cannot be written.
        """
        record = {
            "config": self.run.config.to_dict(),
            **surroundings(self.run.device),
            "device": self.run.device,
            "backbone": backbone(self.run.backbone),
            "levels": [
                {"height": level.height, "width": level.width, "steps": level.steps}
                for level in self.run.levels
            ],
            "history": [_in_json(entry) for entry in self.history],
            "returns": self.run.returns,
            "seconds": round(self.seconds, 3),
            "peak_memory_bytes": peak_memory_bytes(self.run.device),
        }
        with files.atomic_file(path, overwrite) as file:
            file.write((json.dumps(record, indent=1) + "\n").encode())

    def plot(self, path: str, overwrite: bool = True) -> None:
        """Draws loss and terms over all steps.

        Args:
            path: the file; its suffix chooses the format.
            overwrite: replace one that is there.

        Raises:
            OSError: the file cannot be written.
        """
        from matplotlib.figure import Figure  # Slow to import, and seldom asked for.

        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        steps = range(1, len(self.history) + 1)
        groups = [callbacks.group_terms(entry["terms"]) for entry in self.history]
        axes.plot(steps, [entry["loss"] for entry in self.history], "k", label="loss")
        for name in groups[0] if groups else ():
            axes.plot(steps, [group[name] for group in groups], label=name, alpha=0.8)
        for index, entry in enumerate(self.history):
            if entry["step"] == 1 and index:
                axes.axvline(index + 0.5, color="0.8", linewidth=1)
        axes.set(yscale="log", xlabel="step, all levels", ylabel="weighted loss")
        axes.legend()
        with files.atomic_file(path, overwrite) as file:
            figure.savefig(file, format=Path(path).suffix[1:].lower(), dpi=120)
