"""What docs/design.md says of the code: imports point downwards only, fields are documented."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from nst_tf import config
from nst_tf.commands import options

PACKAGE = Path(__file__).parents[1] / "nst_tf"

LEVELS = [
    {"errors"},
    {"runtime", "presets"},
    {"config"},
    {"imaging", "kernels"},
    {"backbones", "losses", "optimizers"},
    {"objective"},
    {"tiling"},
    {"records"},
    {"callbacks"},
    {"engine"},
    {"jobs"},
    {"film"},
    {"web"},
    {"commands"},
    {"__main__"},
]
"""Modules and subpackages from the lowest level up, as in docs/design.md."""


def level(name: str) -> int:
    return next(index for index, names in enumerate(LEVELS) if name in names)


def imports(path: Path) -> set[str]:
    """Returns the modules and subpackages of the package that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "nst_tf":
            parts = (node.module or "").split(".")
            found |= {parts[1]} if parts[1:] else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.split(".")[1] for alias in node.names if alias.name.startswith("nst_tf.")
            }
    return found


def owner(path: Path) -> str:
    """Returns the module or subpackage that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def files() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if owner(path) != "__init__"]


def test_every_module_has_a_level():
    assert {owner(path) for path in files()} == set().union(*LEVELS)


def test_imports_point_downwards():
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in files()
        for name in imports(path) - {owner(path)}
        if level(name) >= level(owner(path))
    ]
    assert not wrong


def test_tensorflow_functions_live_in_two_modules():
    """What one of them is for, the other would keep for ever."""
    users = {path.stem for path in files() if "tf.function(" in path.read_text().replace("`", "")}
    assert users == {"autodiff", "graphs"}


def test_custom_gradients_are_made_in_one_module():
    users = {path.stem for path in files() if "@tf.custom_gradient" in path.read_text()}
    users |= {path.stem for path in files() if "= tf.custom_gradient(" in path.read_text()}
    assert users == {"autodiff"}


def test_scripts_are_short():
    for script in (PACKAGE.parent / "scripts").glob("*.py"):
        assert len(script.read_text().splitlines()) < 60, script


def records(path: Path) -> list[ast.ClassDef]:
    """Returns the public dataclasses and named tuples of a file that write out their docstring."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            bases = [ast.unparse(base) for base in node.bases]
            kept = any("dataclass" in name for name in decorators) or "NamedTuple" in bases
            if kept and "documented" not in decorators:
                found.append(node)
    return found


def documented(docstring: str) -> set[str]:
    """Returns the names that stand under `Attributes:` in a docstring."""
    section = re.search(
        r"^Attributes:\n((?:    .*\n|\n)*)", inspect.cleandoc(docstring) + "\n", re.M
    )
    return set(re.findall(r"^    (\w+)(?: \(.+?\))?:", section[1], re.M)) if section else set()


def test_every_public_field_is_documented():
    missing = []
    for path in files():
        for record in records(path):
            fields = {
                node.target.id
                for node in record.body
                if isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and not node.target.id.startswith("_")
            }
            names = fields - documented(ast.get_docstring(record) or "")
            missing += [f"{path.stem}.{record.name}.{name}" for name in sorted(names)]
    assert not missing


@pytest.mark.parametrize(
    "owner", [config.StyleTransferConfig, options.FileOptions, options.SweepOptions]
)
def test_settings_are_documented_by_their_help(owner: type):
    docstring = inspect.getdoc(owner)
    fields = dataclasses.fields(owner)
    assert documented(docstring) == {field.name for field in fields}
    words = " ".join(docstring.split())
    for field in fields:
        entry = (
            f"{field.name} ({field.type}): {field.metadata['help']}. Default: {field.default!r}."
        )
        assert " ".join(entry.split()) in words
