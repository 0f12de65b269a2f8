"""The page of all settings says what the settings are."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

from nst_tf.commands import flags

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "settings.md"
SCRIPT = ROOT / "scripts" / "reference.py"


def test_page_is_what_the_script_writes():
    command = f"import runpy; print(runpy.run_path({str(SCRIPT)!r})['page'](), end='')"
    made = subprocess.run([sys.executable, "-c", command], capture_output=True, check=True).stdout
    assert made.decode() == PAGE.read_text(), "python scripts/reference.py writes it anew"


def test_script_needs_no_tensorflow():
    command = f"import runpy, sys; runpy.run_path({str(SCRIPT)!r}); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", command], capture_output=True, check=True).stdout
    assert not {"tensorflow", "keras"} & set(loaded.decode().split())


def test_page_has_a_row_for_every_flag():
    rows = re.findall(r"^\| `--(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    owners = dict.fromkeys((*flags.ALL, *flags.SWEEP, *flags.BATCH, *flags.FILM, *flags.APP))
    expected = [field.name for owner in owners for field in dataclasses.fields(owner)]
    assert sorted(rows) == sorted(expected)


def test_every_row_has_four_cells():
    """A bar in a help text would begin a fifth."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `--")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows)


def test_defaults_are_those_of_the_command():
    """Two that are written in another way than Python writes them, and one that is empty."""
    text = PAGE.read_text()
    assert "| `--style_weight` | a number | `1` |" in text
    assert "| `--clip_pixels` | true or false | `true` |" in text
    assert "| `--output` | a path | empty |" in text
