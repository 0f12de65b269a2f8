"""The grid of a sweep: axes of settings, and a checked cell for every combination."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nst_tf import config as configs
from nst_tf import errors
from nst_tf.commands import console, flags
from nst_tf.commands import options as command_options
from nst_tf.commands.options import SweepOptions
from nst_tf.imaging import images, inputs, pyramid, sources

_SETTINGS = dataclasses.fields(configs.StyleTransferConfig)
_LISTS = {field.name for field in _SETTINGS if isinstance(field.default, tuple)}
_LONGEST_NAME = 120  # Characters of a picture's file name, without its suffix.


@dataclasses.dataclass(frozen=True)
class Axis:
    """A swept setting and its values.

    Attributes:
        name: a field of `StyleTransferConfig`, or `preset`.
        values: values to try, of that field's type, all different.
    """

    name: str
    values: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One picture of a sweep.

    Attributes:
        settings: the swept fields and their values in this cell, in the order of the axes.
        config: all settings.
        levels: levels of the pyramid, coarse to fine.
    """

    settings: Mapping[str, Any]
    config: configs.StyleTransferConfig
    levels: Sequence[pyramid.Level]

    @property
    def label(self) -> str:
        """The swept settings and values in one line."""
        return label(self.settings, ", ")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture, in pixels."""
        return self.levels[-1].height, self.levels[-1].width

    @property
    def name(self) -> str:
        """The name of the picture file: valid on every system, and different in every cell."""
        text = ",".join(
            f"{name}={configs.written(value, '+')}" for name, value in self.settings.items()
        )
        safe = re.sub(r"[^a-z0-9_.,=+-]+", "-", text.lower())
        if safe != text or len(safe) > _LONGEST_NAME:
            mark = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:10]
            safe = f"{safe[: _LONGEST_NAME - len(mark) - 1]}-{mark}"
        return f"{safe}.png"


@dataclasses.dataclass(frozen=True)
class SweepPlan:
    """A sweep with all its cells checked.

    Attributes:
        options: options of the command.
        paths: paths of the input pictures.
        axes: swept settings, in the order given.
        given: settings given as flags, the same in all cells.
        cells: all cells, row by row.
    """

    options: SweepOptions
    paths: sources.Paths
    axes: tuple[Axis, ...]
    given: Mapping[str, Any]
    cells: Sequence[Cell]

    @property
    def folder(self) -> Path:
        """The folder of all outputs."""
        name = console.result_name(self.options.content, self.options.style)
        return Path(self.options.output or f"{name}_sweep")

    @property
    def max_pixels(self) -> int:
        """The size of the largest input picture that any cell accepts, in pixels."""
        return max(cell.config.max_pixels for cell in self.cells)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The swept values of each row."""
        return _combinations(self.axes[:1] + self.axes[2:] if len(self.axes) > 1 else ())

    @property
    def columns(self) -> list[dict[str, Any]]:
        """The swept values of each column."""
        return _combinations(self.axes[:2][-1:])


def plan(options: SweepOptions, values: Any) -> SweepPlan:
    """Returns the checked plan of a sweep, from the headers of the pictures alone.

    Args:
        options: options of the command.
        values: parsed flags; those that are settings apply to every cell.

    Raises:
        ConfigError: a flag, a grid or the settings of a cell are not valid.
        ImageError: a picture cannot be used.
    """
    axes = read_grids(options.grid)
    for axis in axes:
        if values[axis.name].present:
            raise errors.ConfigError(
                f"{axis.name} is swept by --grid and given as --{axis.name} too; leave one out."
            )
    empty = SweepPlan(options, command_options.paths(options), axes, {}, ())
    cells = [
        _cell(values, empty, {axis.name: {**row, **column}[axis.name] for axis in axes})
        for row in empty.rows
        for column in empty.columns
    ]
    given = flags.given(values, configs.StyleTransferConfig)
    configs.warn_idle(*((cell.config, {**given, **cell.settings}) for cell in cells))
    if options.preset:
        given = {"preset": options.preset, **given}
    return dataclasses.replace(empty, given=given, cells=cells)


def read_grids(texts: Sequence[str]) -> tuple[Axis, ...]:
    """Returns the axes of the `--grid` flags.

    Args:
        texts: texts of the form `FIELD=VALUES`, with values separated by commas, or by semicolons
            if each value is a list.

    Raises:
        ConfigError: there is no text, or one is not valid.
    """
    if not texts:
        raise errors.ConfigError(
            "--grid is missing; expected --grid=FIELD=VALUE,VALUE,... such as "
            "--grid=style_weight=1,10,100."
        )
    axes = tuple(_read_grid(text) for text in texts)
    names = [axis.name for axis in axes]
    for name in names:
        if names.count(name) > 1:
            raise errors.ConfigError(
                f"{name} is swept by two --grid flags; list all its values in one."
            )
    return axes


def _read_grid(text: str) -> Axis:
    name, equals, listed = (part.strip() for part in text.partition("="))
    owners = {
        **{field.name: configs.StyleTransferConfig for field in _SETTINGS},
        "preset": SweepOptions,
    }
    if not (equals and listed):
        raise errors.ConfigError(
            f"--grid={text} lists no values; expected FIELD=VALUE,VALUE,... such as "
            "style_weight=1,10,100."
        )
    owner = owners[errors.known("setting of --grid", name, owners)]
    separator = ";" if name in _LISTS else ","
    try:
        values = tuple(
            flags.parse_value(owner, name, value.strip()) for value in listed.split(separator)
        )
    except errors.ConfigError as error:
        raise errors.ConfigError(f"--grid={text}: {error}") from None
    for value in values:
        if values.count(value) > 1:
            raise errors.ConfigError(
                f"--grid={text} lists {configs.written(value)} twice; list each value once."
            )
    return Axis(name, values)


def _combinations(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    names = [axis.name for axis in axes]
    return [
        dict(zip(names, values, strict=True))
        for values in itertools.product(*(axis.values for axis in axes))
    ]


def _cell(values: Any, sweep: SweepPlan, settings: dict[str, Any]) -> Cell:
    """Returns a cell, with its settings checked against each other and the pictures."""
    options, paths = sweep.options, sweep.paths
    try:
        changes = {name: value for name, value in settings.items() if name != "preset"}
        config = flags.to_config(values, settings.get("preset", options.preset), **changes)
        content = images.size(options.content, config.max_pixels)
        styles = [images.size(path, config.max_pixels) for path in paths.styles]
        inputs.check(config, len(styles), bool(paths.content_mask), len(paths.style_masks))
        return Cell(settings, config, pyramid.plan(config, content, styles))
    except errors.ConfigError as error:
        raise errors.ConfigError(f"{label(settings, ', ')}: {error}") from None


def label(settings: Mapping[str, Any], separator: str) -> str:
    """Returns settings as `field=value`, with `separator` between them."""
    return separator.join(f"{name}={configs.written(value)}" for name, value in settings.items())
