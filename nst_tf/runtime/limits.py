"""What containers, batch systems and shells leave of a machine's memory to this process."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

_FILES = {
    "cgroup2": ("memory.max", "memory.current", "inactive_file"),
    "cgroup": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""Of both versions of control groups: limit, use, and the part of the use that is given back."""


def free(used: int, root: Path = Path("/")) -> float:
    """Returns the bytes that this process may still take, infinite where nothing limits it.

    Args:
        used: bytes that it has taken. Some of them, as of shared libraries, may be on the account
            of another group; they count here too.
        root: of the file system in which `proc` and `sys` lie.
    """
    left = [_left_in(group, used, *_FILES[kind]) for kind, group in _groups(root)]
    return min([*left, _left_to_address()])


def _left_in(group: Path, used: int, limit: str, use: str, given_back: str) -> float:
    """Returns what a control group leaves to its processes."""
    try:
        most = int((group / limit).read_text())
        taken = int((group / use).read_text())
        entries = (line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(0, most - max(used, taken - int(dict(entries).get(given_back, 0))))
    except (OSError, ValueError):  # There is no such limit: `max`, or no such file.
        return math.inf


def _groups(root: Path) -> Iterator[tuple[str, Path]]:
    """Yields the control groups that this process is in, each with its file system's type."""
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
    """Returns a group and those it is in, as far as they are mounted, relative to that place."""
    inside = path.relative_to(mounted) if path.is_relative_to(mounted) else PurePosixPath()
    return [inside, *inside.parents]


def _left_to_address() -> float:
    """Returns the bytes that the limit of `ulimit -v` leaves, infinite where there is none."""
    try:
        import resource
    except ImportError:  # Windows.
        return math.inf
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY:
        return math.inf
    return max(0, most - psutil.Process().memory_info().vms)
