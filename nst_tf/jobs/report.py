"""The report of a finished run, in JSON, and its loss curves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nst_tf import callbacks
from nst_tf.jobs.outcome import Outcome
from nst_tf.runtime import files


def _in_json(value: Any) -> Any:
    """Returns a value with None for infinities and NaNs, which JSON lacks."""
    if isinstance(value, Mapping):
        return {name: _in_json(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write(outcome: Outcome, path: str, overwrite: bool = False) -> None:
    """Writes the report of a run as JSON.

    Args:
        outcome: outcome of the run.
        path: path of the report.
        overwrite: replace an existing file.

    Raises:
        OSError: the file cannot be written.
    """
    recipe = outcome.recipe
    record = {
        **{name: recipe[name] for name in ("config", "versions", "machine")},
        "device": outcome.device,
        "backbone": recipe["backbone"],
        "levels": [
            {"height": level.height, "width": level.width, "steps": level.steps}
            for level in outcome.levels
        ],
        "history": [_in_json(entry) for entry in outcome.history],
        "rollbacks": outcome.rollbacks,
        "seconds": round(outcome.earlier_seconds + outcome.seconds, 3),
        "peak_memory_bytes": outcome.peak_memory,
    }
    with files.atomic_file(path, overwrite) as file:
        file.write((json.dumps(record, indent=1) + "\n").encode())


def plot(outcome: Outcome, path: str, overwrite: bool = False) -> None:
    """Draws the loss and its terms over all steps of a run.

    Args:
        outcome: outcome of the run.
        path: path of the plot; its suffix, one of `PLOT_SUFFIXES`, chooses the format.
        overwrite: replace an existing file.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure  # Slow to import, and rarely needed.

    history = outcome.history
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    steps = range(1, len(history) + 1)
    groups = [callbacks.group_terms(entry["terms"]) for entry in history]
    axes.plot(steps, [entry["loss"] for entry in history], "k", label="loss")
    for name in groups[0] if groups else ():
        axes.plot(steps, [group[name] for group in groups], label=name, alpha=0.8)
    for index, entry in enumerate(history):
        if entry["step"] == 1 and index:
            axes.axvline(index + 0.5, color="0.8", linewidth=1)
    axes.set(yscale="log", xlabel="step, all levels", ylabel="weighted loss")
    axes.legend()
    with files.atomic_file(path, overwrite) as file:
        figure.savefig(file, format=Path(path).suffix[1:].lower(), dpi=120)
