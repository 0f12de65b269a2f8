"""What limits a process is found wherever a system notes it."""

from __future__ import annotations

import math
from pathlib import Path

import psutil
import pytest

from nst_tf.runtime import limits
from nst_tf.tiling import memory

V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
MOUNT_V2 = "31 23 0:28 {root} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
MOUNT_V1 = "36 32 0:31 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
OTHERS = (
    "22 1 8:1 / / rw,relatime shared:1 master:2 - ext4 /dev/sda1 rw",
    "35 32 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu",
)


def system(root: Path, groups: str, *mounts: str) -> None:
    """Lays out what a system tells a process of its control groups."""
    process = root / "proc/self"
    process.mkdir(parents=True)
    (process / "cgroup").write_text(groups)
    (process / "mountinfo").write_text("".join(f"{line}\n" for line in (*OTHERS, *mounts)))


def group(folder: Path, names: tuple[str, ...], most: object, used: int, cached: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, (most, used), strict=False):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{names[2]} {cached}\n")


def test_a_group_of_version_2_and_all_that_it_is_in_are_heeded(tmp_path):
    system(tmp_path, "0::/user.slice/job/step\n", MOUNT_V2.format(root="/"))
    top = tmp_path / "sys/fs/cgroup"
    group(top / "user.slice", V2, 9_000, 1_000)
    group(top / "user.slice/job", V2, 7_000, 3_000, cached=500)
    group(top / "user.slice/job/step", V2, "max", 2_000)
    group(top / "user.slice/other", V2, 10, 0)
    assert limits.free(0, tmp_path) == 7_000 - 3_000 + 500
    assert limits.free(4_000, tmp_path) == 7_000 - 4_000
    group(top / "user.slice", V2, 9_000, 8_000)
    assert limits.free(0, tmp_path) == 1_000
    group(top / "user.slice/job/step", V2, 2_500, 2_600)
    assert limits.free(0, tmp_path) == 0


@pytest.mark.parametrize(
    ("path", "root"),
    [("/", "/"), ("/docker/1f3a", "/docker/1f3a"), ("/", "/../1f3a"), ("/docker/1f3a", "/kube/2")],
)
def test_within_a_container_its_own_group_is_at_the_top(tmp_path, path, root):
    for version, line, mount, place in (
        (V2, "0::{}", MOUNT_V2, "sys/fs/cgroup"),
        (V1, "4:cpu,memory:{}", MOUNT_V1, "sys/fs/cgroup/memory"),
    ):
        folder = tmp_path / place.replace("/", "-")
        system(folder, f"1:name=systemd:/\n{line.format(path)}\n", mount.format(root=root))
        group(folder / place, version, 5_000, 1_000)
        assert limits.free(0, folder) == 4_000


def test_a_group_of_version_1_and_all_that_it_is_in_are_heeded(tmp_path):
    groups = "8:pids:/\n4:memory:/slurm/job\n1:cpu:/slurm\n0::/\n"
    unified = MOUNT_V2.format(root="/").replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    system(tmp_path, groups, MOUNT_V1.format(root="/"), unified)
    top = tmp_path / "sys/fs/cgroup/memory"
    unlimited = (1 << 63) - 4096
    group(top, V1, unlimited, 10_000)
    group(top / "slurm", V1, 6_000, 4_000, cached=1_000)
    group(top / "slurm/job", V1, unlimited, 4_000)
    assert limits.free(0, tmp_path) == 3_000
    group(top / "slurm/job", V1, 5_000, 4_000)
    assert limits.free(0, tmp_path) == 1_000


@pytest.mark.parametrize("groups", [None, "", "0::/job\n"])
def test_where_nothing_is_noted_nothing_is_limited(tmp_path, groups):
    if groups is not None:
        system(tmp_path, groups, MOUNT_V2.format(root="/"))
    assert limits.free(0, tmp_path) == math.inf


@pytest.mark.parametrize("room", [1_000_000_000, 3_000_000_000])
def test_the_limit_of_the_address_space_is_heeded(tmp_path, room):
    resource = pytest.importorskip("resource", reason="no such limit on this system")
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = psutil.Process().memory_info()
    resource.setrlimit(resource.RLIMIT_AS, (size.vms + room, before[1]))
    try:
        left, counted_on = limits.free(0, tmp_path), memory.available()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert left == pytest.approx(room, rel=0.05)
    assert counted_on <= 0.8 * (size.rss + 1.05 * room)
    assert limits.free(0, tmp_path) == math.inf
