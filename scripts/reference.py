"""Writes docs/reference/settings.md from the fields of the settings."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nst_tf import config
from nst_tf.commands import flags, options

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "settings.md"
INTRODUCTION = """# Settings

Every setting of the commands. `--name=value` gives one; those of the picture are also the arguments
of `nst_tf.StyleTransferConfig`. `scripts/reference.py` writes this page.
"""
SECTIONS = {
    "Files of `nst-stylize`": options.FileOptions,
    "The picture": config.StyleTransferConfig,
    "`nst-batch`": options.BatchOptions,
    "`nst-film`": options.FilmOptions,
    "`nst-app`": options.AppOptions,
    "Files of `nst-sweep`": options.SweepOptions,
}
ESCAPES = str.maketrans({"|": r"\|", "*": r"\*", "<": "&lt;", ">": "&gt;"})


def page() -> str:
    """Returns the page, in Markdown."""
    return "\n".join([INTRODUCTION, *(_section(*item) for item in SECTIONS.items())])


def _section(title: str, owner: type) -> str:
    """Returns a table for each group of the fields of a dataclass."""
    parsed, groups = flags.define(owner), dict[str, list[str]]()
    for field in dataclasses.fields(owner):
        about = field.metadata
        plain = "text" if about["repeated"] else parsed[field.name].parser.flag_type()
        kind = ("a path" if about["path"] else plain) + "; repeatable" * about["repeated"]
        groups.setdefault(about["group"], []).append(_row(field, kind))
    head = "| flag | type | default | what it does |\n|---|---|---|---|\n"
    tables = (f"\n### {group}\n\n{head}" + "".join(rows) for group, rows in groups.items())
    return f"## {title}\n" + "".join(tables)


def _row(field: dataclasses.Field[Any], kind: str) -> str:
    values = ", ".join(f"`{choice}`" for choice in field.metadata["choices"])
    default = "empty" if field.default in ("", ()) else f"`{config.written(field.default)}`"
    about = field.metadata["help"].translate(ESCAPES)
    return f"| `--{field.name}` | {values or kind} | {default} | {about} |\n"


if __name__ == "__main__":
    PAGE.write_text(page())
