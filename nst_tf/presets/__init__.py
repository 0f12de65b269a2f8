"""Published recipes, each a whole configuration. One recipe a file; see `get`.

A file of this folder holds a docstring and `SETTINGS`. The first line of the docstring is the
summary in `table`. `SETTINGS` holds fields of `StyleTransferConfig`. Other fields come from
`COMMON`, and then from the defaults of the class.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from typing import Any

from nst_tf import errors

COMMON: dict[str, Any] = {
    "backbone": "vgg19",
    "pooling": "max",
    "content_layers": ("block4_conv2",),
    "content_weight": 1.0,
    "content_decay": 1.0,
    "style_weight": 10.0,
    "style_loss": "gram",
    "color": "style",
    "level_factor": 2**0.5,
    "coarsest": 181,
    "style_layers": (
        "block1_conv1",
        "block2_conv1",
        "block3_conv1",
        "block4_conv1",
        "block5_conv1",
    ),
    "levels": 1,
    "init_noise": 0.0,
    "adam_beta_2": 0.999,
    "adam_epsilon": 0.0,
    "final_rate": 1.0,
    "average": 0.0,
}
"""Settings of nearly all published recipes, where the defaults of this package differ."""


@dataclasses.dataclass(frozen=True)
class Preset:
    """A published recipe.

    Attributes:
        name: name of the recipe.
        description: its source, its command and the result to expect; the first line is a
            summary.
        settings: values of fields of `StyleTransferConfig`, by their names.
    """

    name: str
    description: str
    settings: dict[str, Any]

    @property
    def summary(self) -> str:
        """The first line of the description."""
        return self.description.partition("\n")[0]


def names() -> list[str]:
    """Returns the names of all presets, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name: str) -> Preset:
    """Returns the preset of that name.

    Raises:
        ConfigError: there is no preset of that name.
    """
    module = importlib.import_module(f"{__name__}.{errors.known('preset', name, names())}")
    settings = {**COMMON, **module.SETTINGS}
    if "content_style_ratio" in settings:
        del settings["content_weight"]
    return Preset(name, module.__doc__ or "", settings)


def table() -> str:
    """Returns a table of all presets as text."""
    rows = [("preset", "network", "optimiser", "steps", "what it is")]
    for preset in map(get, names()):
        settings = preset.settings
        total = sum(settings["steps"]) + settings.get("final_steps", 0)
        steps = str(total) if settings["steps"] else "by size"
        row = (preset.name, settings["backbone"], settings["optimizer"], steps, preset.summary)
        rows.append(row)
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    return "\n".join(
        "  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=False)] + [row[-1]])
        for row in rows
    )
