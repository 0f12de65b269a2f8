"""What a sweep makes: axes of settings, and a checked cell for every combination."""

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
    """A setting and the values that are tried.

    Attributes:
        name: a field of `StyleTransferConfig`, or `preset`.
        values: of that field's type, all different.
    """

    name: str
    values: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One picture of a sweep.

    Attributes:
        settings: the swept fields and their values here, in the order of the axes.
        config: all settings.
        levels: that the picture will pass through.
    """

    settings: Mapping[str, Any]
    config: configs.StyleTransferConfig
    levels: Sequence[pyramid.Level]

    @property
    def label(self) -> str:
        """The swept values in one line."""
        return label(self.settings, ", ")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.levels[-1].height, self.levels[-1].width

    @property
    def name(self) -> str:
        """The name of the picture file: safe on every system, and no other cell's."""
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
    """A sweep whose every picture has been checked.

    Attributes:
        options: the command's.
        paths: of the pictures.
        axes: what is swept, in the order given.
        given: settings of all cells that were given as flags.
        cells: row by row.
    """

    options: SweepOptions
    paths: sources.Paths
    axes: tuple[Axis, ...]
    given: Mapping[str, Any]
    cells: Sequence[Cell]

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        name = console.result_name(self.options.content, self.options.style)
        return Path(self.options.output or f"{name}_sweep")

    @property
    def max_pixels(self) -> int:
        """The largest input picture that any cell accepts, in pixels."""
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
    """Returns the sweep that is asked for, from the headers of the pictures alone.

    Args:
        options: the command's.
        values: the parsed flags, of which those that are settings go into every cell.

    Raises:
        ConfigError: a flag, a grid or the settings of a cell are not right.
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
    """Returns the axes that `--grid` flags describe.

    Args:
        texts: each `FIELD=VALUES`, values separated by commas, or by semicolons where each is
            a list.

    Raises:
        ConfigError: there is none, or one is not right.
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
    """Returns a cell, its settings checked against each other and against the pictures."""
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
