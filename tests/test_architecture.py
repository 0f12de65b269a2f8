"""The layout that docs/design.md describes: imports point downwards only."""

from __future__ import annotations

import ast
from pathlib import Path

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
