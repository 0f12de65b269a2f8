"""The wheel: what is in it, and that it works without the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def test_wheel_holds_weights_modules_and_command(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "nst_tf").rglob("*.py")}
    assert modules | {"nst_tf/backbones/vgg16_imagenet.h5", "nst_tf/web/viewer.html"} <= names
    entry_points = next(name for name in names if name.endswith("entry_points.txt"))
    assert (
        "nst-stylize = nst_tf.commands.stylize:main"
        in zipfile.ZipFile(wheel).read(entry_points).decode()
    )


def test_installed_command_is_the_same_program(wheel: Path, tmp_path: Path):
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*command, target, wheel], check=True)
    installed = subprocess.run(
        [sys.executable, target / "bin" / "nst-stylize", "--help"],
        env={"PYTHONPATH": str(target)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    script = subprocess.run(
        [sys.executable, ROOT / "scripts" / "stylize.py", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert installed.stdout.replace("nst-stylize", "stylize.py") == script.stdout


def test_the_extra_for_the_page_is_what_its_requirements_say():
    first, second = (ROOT / "requirements-web.txt").read_text().splitlines()
    assert first == "-r requirements.txt"
    assert f'\nweb = ["{second}"]\n' in (ROOT / "pyproject.toml").read_text()
