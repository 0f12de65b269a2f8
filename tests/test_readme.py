"""The README says nothing that is not so."""

from __future__ import annotations

import re
from pathlib import Path

import conftest
import pytest
import test_docs
from PIL import Image

from nst_tf.imaging import images

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SMALL = ("image_size=768", "image_size=48, backbone='vgg16', steps=3")


def test_it_is_short():
    assert len(README.splitlines()) <= 150


def test_it_names_the_flags_that_it_needs():
    assert {"content", "style", "output"} <= test_docs.flags_in(README)


def test_every_command_of_ours_exists():
    scripts = set(re.findall(r"scripts/\w+\.(?:sh|py)", README))
    assert {"scripts/demo.sh", "scripts/test.sh", "scripts/stylize.py"} <= scripts
    assert all((ROOT / script).exists() for script in scripts)


def test_every_python_snippet_compiles():
    assert SNIPPETS
    for snippet in SNIPPETS:
        compile(snippet, "README.md", "exec")


def test_the_library_snippet_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("photo", "a", "b", "painting")):
        Image.fromarray(conftest.smooth_picture(40, 48, seed)).save(f"{name}.jpg")
    (snippet,) = SNIPPETS
    assert SMALL[0] in snippet
    exec(compile(snippet.replace(*SMALL), "README.md", "exec"), {"__name__": "snippet"})
    for name in ("result.png", "painted-a.jpg", "painted-b.jpg"):
        with Image.open(name) as picture:
            assert picture.size == (48, 40)
        assert images.read_recipe(name), name
