"""The README says nothing that is not so."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from nst_tf.commands import flags

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_flag_that_is_named_exists():
    fields = {
        field.name for owner in (*flags.ALL, *flags.SWEEP) for field in dataclasses.fields(owner)
    }
    elsewhere = {"depth"}  # Of git.
    named = set(re.findall(r"--([a-z_]+)", README)) - elsewhere
    assert named <= fields | {"help", "helpfull", "flagfile", "list_presets"}
    assert {"content", "style", "output"} <= named


def test_every_file_that_is_linked_exists():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert all((ROOT / link).exists() for link in links)


def test_every_command_of_ours_exists():
    scripts = set(re.findall(r"scripts/\w+\.(?:sh|py)", README))
    assert {"scripts/demo.sh", "scripts/test.sh", "scripts/stylize.py"} <= scripts
    assert all((ROOT / script).exists() for script in scripts)


def test_every_python_snippet_compiles():
    snippets = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert snippets
    for snippet in snippets:
        compile(snippet, "README.md", "exec")
