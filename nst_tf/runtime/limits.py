"""Limits of this process: memory, as containers, batch systems and shells set it, and cores."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

_FILES = {
    "cgroup2": ("memory.max", "memory.current", "inactive_file"),
    "cgroup": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""Files of both versions of control groups: limit, usage, and the reclaimable part of the usage."""


_sharing = 1  # Processes that share the free memory.


def cores() -> int:
    """Returns the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # Windows and macOS have none.
        return os.cpu_count() or 1


def share_memory(processes: int) -> None:
    """Tells this process how many share the free memory with it, itself included."""
    global _sharing
    _sharing = processes


def sharing() -> int:
    """Returns the number of processes that share the free memory, this one included."""
    return _sharing


def free(used: int, root: Path = Path("/")) -> float:
    """Returns the bytes that this process may still take, infinite without a limit.

    Args:
        used: bytes that the process has taken. Some of them, such as shared libraries, may be
            charged to another group; they count here too.
        root: folder that contains `proc` and `sys`.
    """
    left = [_left_in(group, used, *_FILES[kind]) for kind, group in _groups(root)]
    return min([*left, _left_to_address()])


def _left_in(group: Path, used: int, limit: str, use: str, given_back: str) -> float:
    """Returns the bytes that a control group leaves to its processes."""
    try:
        most = int((group / limit).read_text())
        taken = int((group / use).read_text())
        entries = (line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(0, most - max(used, taken - int(dict(entries).get(given_back, 0))))
    except (OSError, ValueError):  # There is no such limit: `max`, or no such file.
        return math.inf


def _groups(root: Path) -> Iterator[tuple[str, Path]]:
    """Yields the control groups of this process, each with its file system's type."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:  # Another system.
        return
    own = {}
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if not controllers:
            own["cgroup2"] = path
        elif "memory" in controllers.split(","):
            own["cgroup"] = path
    for mount in mounts:
        # ID, parent, device, root, place, options, any number of tags, -, type, source, options.
        at, _, about = (part.split() for part in mount.partition(" - "))
        kind, options = about[0], about[-1].split(",")
        if kind in own and (kind == "cgroup2" or "memory" in options):
            for group in _upwards(PurePosixPath(own[kind]), PurePosixPath(at[3])):
                yield kind, root / at[4].lstrip("/") / group


def _upwards(path: PurePosixPath, mounted: PurePosixPath) -> list[PurePosixPath]:
    """Returns a group and its parents, as far as they are mounted, relative to the mount."""
    inside = path.relative_to(mounted) if path.is_relative_to(mounted) else PurePosixPath()
    return [inside, *inside.parents]


def _left_to_address() -> float:
    """Returns the bytes left by the limit of `ulimit -v`, infinite without a limit."""
    try:
        import resource
    except ImportError:  # Windows.
        return math.inf
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY:
        return math.inf
    return max(0, most - psutil.Process().memory_info().vms)
