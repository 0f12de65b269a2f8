"""What the benchmarks share: the machine, contenders that take turns, and the record."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

_Name = TypeVar("_Name", bound=Hashable)


def machine() -> dict[str, Any]:
    """Returns what a figure depends on: processor, cores, versions, the rate of a product."""
    versions = {}
    for name in ("tensorflow", "keras", "numpy", "torch"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "TF_ENABLE_ONEDNN_OPTS": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "not set"),
        "python": platform.python_version(),
        "versions": versions,
        "matrix_product_gflops": round(_matrix_product_rate(), 1),
    }


def _processor() -> str:
    """Returns the name of the processor and its instructions that matter."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # Not Linux.
        return platform.processor()
    parts = (line.partition(":")[::2] for line in lines)
    about = {name.strip(): value.strip() for name, value in parts}
    wanted = ("avx2", "avx512f", "avx512_vnni", "amx_tile")
    known = about.get("flags", "").split()
    return f"{about.get('model name')} ({' '.join(name for name in wanted if name in known)})"


def _matrix_product_rate(side: int = 2048) -> float:
    """Returns the rate of NumPy's float32 matrix product, the best of five, in GFLOP/s."""
    factor = np.random.default_rng(0).random((side, side), np.float32)
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        factor @ factor
        seconds.append(time.perf_counter() - begin)
    return 2 * side**3 / min(seconds) / 1e9


@dataclasses.dataclass
class Worker:
    """A contender in a process of its own, which takes a turn whenever it is told to.

    Args:
        command: arguments of the Python interpreter. The process calls `serve`.
        environment: what is set for it.
    """

    command: Sequence[str]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *self.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **self.environment},
        )

    def turn(self) -> dict[str, Any]:
        """Has the worker take a turn; returns what it measured, after its first, its start."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("turn\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self.command)} ended without an answer")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def serve(turns: Iterator[dict[str, Any]]) -> None:
    """Answers the turns of a `Worker`, on standard output."""
    for _ in sys.stdin:
        print(json.dumps(next(turns)), flush=True)


def alternate(workers: Mapping[str, Worker], turns: int) -> dict[str, list[dict[str, Any]]]:
    """Returns what each worker measured, by its name, all of them taking turns.

    The first turn of each, in which it compiles and warms up, is left out.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for number in range(turns + 1):
        for name, worker in workers.items():
            measured = worker.turn()
            if number:
                found[name].append(measured)
    for worker in workers.values():
        worker.close()
    return found


def figures(workers: Mapping[str, Worker], turns: int) -> dict[str, dict[str, Any]]:
    """Returns the last turn of each worker, with the spread of the `seconds` of all its turns.

    Args:
        workers: the workers by their names; each turn has `seconds`.
        turns: number of turns that count.
    """
    return {
        name: {**found[-1], "seconds": spread([each["seconds"] for each in found])}
        for name, found in alternate(workers, turns).items()
    }


def seconds_in_turns(
    runs: Mapping[_Name, Callable[[], object]], turns: int
) -> dict[_Name, list[float]]:
    """Returns the seconds of functions, by their names, which take turns in this process.

    The first turn of each, in which it compiles, is left out.
    """
    found: dict[_Name, list[float]] = {name: [] for name in runs}
    for number in range(turns + 1):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            if number:
                found[name].append(time.perf_counter() - begin)
    return found


def peak_memory() -> float:
    """Returns the peak of resident memory of this process, in GB."""
    text = Path("/proc/self/status").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e9


def spread(values: Sequence[float]) -> dict[str, float]:
    """Returns the median of some figures, the least and the greatest."""
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values)}


def write(path: str, results: Any) -> None:
    """Writes results and the machine as JSON, if there is a path."""
    if path:
        about = {"machine": machine(), "results": results}
        Path(path).write_text(json.dumps(about, indent=1) + "\n")
