"""notebooks/style_transfer.ipynb: it runs from top to bottom, and is stored clean."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import subprocess
import sys
import types
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "style_transfer.ipynb"
PARAMETERS = """
REPOSITORY = CONTENT = STYLE = ""
OUTPUT = {output!r}
IMAGE_SIZE = 96
STEPS = (4, 3)
PREVIEW_EVERY = 3
OWN_LOOP_STEPS = 5
"""


def read() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def cell(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    return next(cell for cell in notebook.cells if cell.id == name)


# As it is stored.


def test_it_is_valid_and_holds_no_results():
    stored = json.loads(NOTEBOOK.read_text())
    nbformat.validate(stored)
    assert (stored["nbformat"], stored["nbformat_minor"]) == (4, 5)
    assert stored["metadata"].keys() == {"kernelspec", "language_info"}
    code = [cell for cell in stored["cells"] if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def test_the_test_sets_every_parameter():
    notebook, stored, replaced = read(), {}, {}
    (parameters,) = [
        cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])
    ]
    assert notebook.cells.index(parameters) == 1
    exec(parameters.source, stored)
    exec(PARAMETERS.format(output="a.png"), replaced)
    assert stored.keys() == replaced.keys()


# As it runs.


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a kernel that is this interpreter, with the package to be found and no GPU."""
    folder = tmp_path / "jupyter" / "kernels" / "nst_tf_test"
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    environment = {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
    spec = {"argv": command, "display_name": "test", "language": "python", "env": environment}
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return folder.name


def pictures(cell: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for output in cell.outputs if "image/png" in output.get("data", {})]


def text(cell: nbformat.NotebookNode) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def test_it_runs_from_top_to_bottom(kernel: str, tmp_path: Path):
    notebook, output = read(), tmp_path / "stylised.png"
    cell(notebook, "parameters").source = PARAMETERS.format(output=str(output))
    here = {"metadata": {"path": str(NOTEBOOK.parent)}}
    before = set(NOTEBOOK.parent.iterdir())
    nbclient.NotebookClient(notebook, timeout=300, kernel_name=kernel, resources=here).execute()
    assert set(NOTEBOOK.parent.iterdir()) == before

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    assert "uses the CPU" in text(cell(notebook, "device"))
    assert len(pictures(cell(notebook, "inputs"))) == 2
    assert len(pictures(cell(notebook, "losses"))) == 1
    assert len(pictures(cell(notebook, "own"))) == 1
    assert "The loss fell from" in text(cell(notebook, "own"))
    assert str(output) in text(cell(notebook, "download"))

    with Image.open(output) as picture, Image.open(ROOT / "assets" / "chelsea.png") as photo:
        assert picture.size == (96, 64)
        small = photo.convert("RGB").resize(picture.size, Image.Resampling.BICUBIC)
        assert np.abs(np.float32(picture) - np.float32(small)).mean() > 5
    check_preview(cell(notebook, "stylise"), output)


def check_preview(cell: nbformat.NotebookNode, output: Path) -> None:
    """Checks that the live picture ends as the one that was written."""
    (shown,) = pictures(cell)
    live = Image.open(io.BytesIO(base64.b64decode(shown.data["image/png"])))
    written = Image.open(output)
    assert np.abs(np.int32(live) - np.int32(written)).max() <= 1


# Where the package comes from.


class Install:
    """Runs the cell that installs the package, with all commands written down instead of run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, found: object) -> None:
        self.commands: list[list[str]] = []
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
        monkeypatch.setattr(subprocess, "run", self._note)
        monkeypatch.setattr(sys, "path", list(sys.path))

    def _note(self, command: list[str], check: bool) -> None:
        assert check
        self.commands.append(command)
        if command[0] == "git":
            package = Path(command[-1]) / "nst_tf"
            package.mkdir(parents=True)
            (package / "__init__.py").touch()

    def run(self, repository: str = "") -> None:
        exec(cell(read(), "install").source, {"REPOSITORY": repository})


PRESENT, FOLDER = types.SimpleNamespace(origin="a.py"), types.SimpleNamespace(origin=None)


def test_nothing_is_installed_where_the_package_can_be_imported(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    install = Install(monkeypatch, PRESENT)
    path = list(sys.path)
    install.run("https://example.org/nst_tf.git")
    assert install.commands == []
    assert sys.path == path


@pytest.mark.parametrize("folder", [ROOT, ROOT / "notebooks"], ids=["root", "notebooks"])
def test_a_checkout_is_used_as_it_is(monkeypatch, folder):
    monkeypatch.chdir(folder)
    install = Install(monkeypatch, None)
    install.run("https://example.org/nst_tf.git")
    (command,) = install.commands
    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    assert command[-2:] == ["-r", str(ROOT / "requirements.txt")]
    assert sys.path[0] == str(ROOT)


@pytest.mark.parametrize("found", [None, FOLDER])
def test_the_repository_is_cloned_where_there_is_nothing(monkeypatch, tmp_path, found):
    monkeypatch.chdir(tmp_path)
    install = Install(monkeypatch, found)
    install.run("https://example.org/nst_tf.git")
    clone, requirements = install.commands
    assert clone == ["git", "clone", "--depth=1", "https://example.org/nst_tf.git", "nst_tf"]
    assert requirements[-1] == str(tmp_path / "nst_tf" / "requirements.txt")
    assert sys.path[0] == str(tmp_path / "nst_tf")


def test_without_package_and_repository_it_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    install = Install(monkeypatch, None)
    with pytest.raises(SystemExit, match="set REPOSITORY"):
        install.run()
    assert install.commands == []
