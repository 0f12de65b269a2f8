"""Pictures and surroundings that several test files share."""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# How long an example takes says how busy the machine is, and nothing of the code.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    """Has no later collection of garbage look through all that modules hold, again and again."""
    gc.collect()
    gc.freeze()


def smooth_picture(height: int, width: int, seed: int) -> np.ndarray:
    """Returns a uint8 RGB picture of soft shapes under a fine texture, the same every time."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = []
    for _ in range(3):
        slope = random.uniform(-1, 1, 2)
        centre = random.uniform(0.2, 0.8, 2) * (height, width)
        ramp = slope[0] * y / height + slope[1] * x / width
        blob = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (0.05 * height * width))
        planes.append(0.5 + 0.2 * ramp + 0.3 * blob)
    texture = random.normal(0, 0.05, (height, width, 1))
    return np.rint((np.stack(planes, axis=-1) + texture).clip(0, 1) * 255).astype(np.uint8)


@pytest.fixture(scope="session")
def content_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo of 96x72 pixels."""
    path = tmp_path_factory.mktemp("pictures") / "content.png"
    Image.fromarray(smooth_picture(72, 96, seed=1)).save(path)
    return path


@pytest.fixture(scope="session")
def style_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A painting of 64x80 pixels."""
    path = tmp_path_factory.mktemp("pictures") / "style.png"
    Image.fromarray(smooth_picture(80, 64, seed=2)).save(path)
    return path


@pytest.fixture(scope="session")
def command_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of a child process: no GPU, no chatter, and a Keras cache of its own."""
    return {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "KERAS_HOME": str(tmp_path_factory.mktemp("keras")),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root can mount a disk, and not everywhere")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
