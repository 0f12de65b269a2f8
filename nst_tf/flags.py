"""Config dataclasses to absl flags, and a command line back to config dataclasses."""

from __future__ import annotations

import dataclasses
import difflib
import fractions
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from nst_tf import config, errors

ALL = (config.FileOptions, config.StyleTransferConfig)
"""The dataclasses whose fields are the flags of the command."""

SWEEP = (config.SweepOptions, config.StyleTransferConfig)
"""The dataclasses whose fields are the flags of the sweep."""

USAGE = """Repaints a photo in the manner of a painting.

  {program} --content=photo.jpg --style=painting.jpg [--output=result.png]
"""
"""The beginning of the command's help text."""

_PLURALS = {int: "whole numbers", float: "numbers", str: "names"}


class _Parser(flags.ArgumentParser):
    """Parses one value, or `a,b,c` to a tuple, and says what it expected when it cannot."""

    def __init__(self, kind: type, many: bool) -> None:
        super().__init__()
        self._kind, self._many = kind, many

    def parse(self, argument: Any) -> Any:
        if not isinstance(argument, str):
            return argument
        try:
            if not self._many:
                return self._one(argument)
            return tuple(self._one(part.strip()) for part in argument.split(",") if part.strip())
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"expected {self.flag_type()}") from None

    def _one(self, text: str) -> Any:
        if self._kind is float and "/" in text:
            return float(fractions.Fraction(text))
        return self._kind(text)

    def flag_type(self) -> str:
        if self._many:
            return f"{_PLURALS[self._kind]} separated by commas"
        return config.KINDS[self._kind]


class _TupleSerializer(flags.ArgumentSerializer):
    def serialize(self, value: Any) -> str:
        return ",".join(map(str, value))


def define(*dataclass_types: type) -> flags.FlagValues:
    """Returns flags for every field of the given config dataclasses."""
    values = flags.FlagValues()
    for owner in dataclass_types:
        kinds = config.hints(owner)
        for field in dataclasses.fields(owner):
            _define_flag(values, field, kinds[field.name])
    flags.DEFINE_string("flagfile", None, "read flags from this file", values)
    flags.DEFINE_bool("help", False, "show this help", values, short_name="h")
    flags.DEFINE_bool("list_presets", False, "list the published recipes", values)
    flags.DEFINE_bool("version", False, "show the version", values)
    return values


def _define_flag(values: flags.FlagValues, field: dataclasses.Field[Any], kind: Any) -> None:
    arguments = {
        "name": field.name,
        "default": field.default,
        "help": field.metadata["help"],
        "flag_values": values,
    }
    if kind is bool:
        flags.DEFINE_bool(**arguments)
        return
    if field.metadata["repeated"]:
        flags.DEFINE_multi_string(**arguments)
        return
    many = kind not in (int, float, str)
    item = typing.get_args(kind)[0] if many else kind
    serializer = _TupleSerializer() if many else flags.ArgumentSerializer()
    flags.DEFINE(_Parser(item, many), serializer=serializer, **arguments)


def parse(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Parses a command line, its first entry being the program's name.

    Raises:
        ConfigError: a flag is unknown or its value unreadable, or there are loose arguments.
    """
    try:
        rest = values(list(argv))
    except flags.UnrecognizedFlagError as error:
        near = difflib.get_close_matches(error.flagname, list(values), n=1)
        hint = f" Did you mean --{near[0]}?" if near else ""
        raise errors.ConfigError(
            f"unknown flag --{error.flagname}.{hint} --help lists all flags."
        ) from None
    except UnicodeDecodeError as error:
        raise errors.ConfigError(f"the flagfile is no text ({error.reason}).") from error
    except flags.Error as error:
        message = str(error).removeprefix("ERROR:: ").removeprefix("flag ").rstrip(".")
        raise errors.ConfigError(f"{message}. --help lists all flags.") from error
    if rest[1:]:
        raise errors.ConfigError(
            f"unexpected argument {rest[1]!r}; settings are written as --name=value. "
            "--help lists them."
        )


def parse_value(owner: type, name: str, text: str) -> Any:
    """Returns the value of one field of a dataclass, read as its flag reads it.

    Raises:
        ConfigError: the text is not readable as such a value.
    """
    values = flags.FlagValues()
    field = next(field for field in dataclasses.fields(owner) if field.name == name)
    _define_flag(values, field, config.hints(owner)[name])
    parse(values, ["", f"--{name}={text}"])
    return values[name].value


def to_dataclass(values: flags.FlagValues, owner: type, **defaults: Any) -> Any:
    """Returns the `owner` that parsed flags describe.

    Args:
        values: flags from `define`, parsed.
        owner: the dataclass to build.
        **defaults: stand in for the defaults of the class where a flag was not given.
    """
    return owner(**{**defaults, **given(values, owner)})


def to_config(
    values: flags.FlagValues,
    preset: str = "",
    settings: Mapping[str, Any] = types.MappingProxyType({}),
    **changes: Any,
) -> config.StyleTransferConfig:
    """Returns the settings of a stylisation that parsed flags describe.

    Args:
        values: flags from `define`, parsed.
        preset: a published recipe to begin with, or an empty text.
        settings: to begin with where there is no preset.
        **changes: settings that come on top, as the flags do.

    Raises:
        ConfigError: a setting is not valid.
    """
    changes = {**given(values, config.StyleTransferConfig), **changes}
    if preset:
        return config.StyleTransferConfig.preset(preset, **changes)
    return config.StyleTransferConfig.from_dict(config.merge(settings, changes))


def given(values: flags.FlagValues, owner: type) -> dict[str, Any]:
    """Returns the values of the fields of `owner` whose flags were given."""
    return {
        field.name: values[field.name].value
        for field in dataclasses.fields(owner)
        if values[field.name].present
    }


def help_text(program: str, *dataclass_types: type, usage: str = USAGE) -> str:
    """Returns the help of all fields, by group, with their defaults, after `usage`."""
    groups: dict[str, list[str]] = {}
    for owner in dataclass_types:
        for field in dataclasses.fields(owner):
            groups.setdefault(field.metadata["group"], []).append(_help_lines(field))
    groups["Command line"] = [
        "  --flagfile=FILE\n      read flags from this file, one a line",
        "  --list_presets\n      show a table of the published recipes, and stop",
        "  --help, --version\n      show this text, or the version, and stop",
    ]
    body = "\n\n".join(f"{name}:\n" + "\n".join(lines) for name, lines in groups.items())
    return f"{usage.format(program=program)}\n{body}"


def _help_lines(field: dataclasses.Field[Any]) -> str:
    default, text = field.default, field.metadata["help"]
    if isinstance(default, bool):
        return f"  --[no]{field.name}\n      {text} (default: {'yes' if default else 'no'})"
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return f"  --{field.name}=...\n      {text}" + (f" (default: {shown})" if shown else "")
