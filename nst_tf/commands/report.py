"""The report of a finished run in JSON, and its loss curves."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nst_tf import callbacks
from nst_tf.records import environment
from nst_tf.runtime import files


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
            **environment.surroundings(self.run.device),
            "device": self.run.device,
            "backbone": environment.network(self.run.backbone),
            "levels": [
                {"height": level.height, "width": level.width, "steps": level.steps}
                for level in self.run.levels
            ],
            "history": [_in_json(entry) for entry in self.history],
            "returns": self.run.returns,
            "seconds": round(self.seconds, 3),
            "peak_memory_bytes": environment.peak_memory_bytes(self.run.device),
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
