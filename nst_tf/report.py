"""What is left of a run beside the picture: a record in JSON, and the loss curves."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import tensorflow as tf

import nst_tf
from nst_tf import backbones, callbacks, files


def versions() -> dict[str, str]:
    """Returns the versions of everything that shapes a picture."""
    packages = ("tensorflow", "keras", "numpy", "pillow")
    return {
        "nst_tf": nst_tf.__version__,
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in packages},
    }


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
            "versions": versions(),
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
