"""Turns config dataclasses into absl flags, and a command line back into config dataclasses."""

from __future__ import annotations

import codecs
import dataclasses
import difflib
import glob
import itertools
import os
import re
import shlex
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from nst_tf import config, errors
from nst_tf.commands.options import (
    AppOptions,
    BatchOptions,
    FileOptions,
    FilmOptions,
    SweepOptions,
)

ALL = (FileOptions, config.StyleTransferConfig)
"""The dataclasses whose fields are the flags of the command."""

SWEEP = (SweepOptions, config.StyleTransferConfig)
"""The dataclasses whose fields are the flags of the sweep."""

BATCH = (BatchOptions, config.StyleTransferConfig)
"""The dataclasses whose fields are the flags of the batch."""

FILM = (FilmOptions, config.StyleTransferConfig)
"""The dataclasses whose fields are the flags of the film."""

APP = (AppOptions,)
"""The dataclass whose fields are the flags of the page."""

USAGE = """Repaints a photo in the manner of a painting.

  {program} --content=photo.jpg --style=painting.jpg [--output=result.png]
"""
"""The beginning of the command's help text."""

_PLURALS = {int: "whole numbers", float: "numbers", str: "names"}
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
NEIGHBOURS = {
    "alpha": "content_weight",
    "beta": "style_weight",
    "c": "content",
    "content_image": "content",
    "content_img": "content",
    "content_path": "content",
    "epochs": "steps",
    "force": "overwrite",
    "gpu": "device",
    "image": "content",
    "img_size": "image_size",
    "init_image": "init",
    "input": "content",
    "iter": "steps",
    "iterations": "steps",
    "lr": "learning_rate",
    "mask": "content_mask",
    "max_iter": "steps",
    "max_iterations": "steps",
    "max_size": "image_size",
    "model": "backbone",
    "n_iter": "steps",
    "network": "backbone",
    "num_iterations": "steps",
    "num_steps": "steps",
    "o": "output",
    "original_colors": "color",
    "out": "output",
    "output_dir": "output",
    "output_image": "output",
    "output_img": "output",
    "output_path": "output",
    "preserve_colors": "color",
    "resume_from": "resume",
    "s": "style",
    "save_iter": "preview_every",
    "size": "image_size",
    "style_blend_weights": "style_blend",
    "style_image": "style",
    "style_images": "style",
    "style_img": "style",
    "style_mask_image": "style_mask",
    "style_path": "style",
    "tv": "tv_weight",
}
"""Flag names of other programs and the flags here that they correspond to, for hints."""


_LONGEST_NAME = 60  # Characters; no flag's name has half as many.


class _Parser(flags.ArgumentParser):
    """Parses the text of a flag; an error names the expected form.

    Lists and repeatable flags become tuples.

    Attributes:
        one_input: whether the flag names a single file to read.
    """

    def __init__(self, field: dataclasses.Field[Any], kind: Any) -> None:
        super().__init__()
        self._field, self._many = field, kind not in config.KINDS
        self._kind = typing.get_args(kind)[0] if self._many else kind
        self.one_input = field.metadata["path"] == "read" and not field.metadata["repeated"]

    def parse(self, argument: Any) -> Any:
        if not isinstance(argument, str):
            return argument
        if self._field.metadata["path"]:
            found = _meant(argument, self._field)
            return found if self._many else found[0]
        if self._field.metadata["repeated"]:
            return (argument,)
        try:
            if self._many:
                return tuple(config.read(self._kind, part) for part in config.split(argument))
            return config.read(self._kind, argument)
        except (ValueError, ArithmeticError):
            raise ValueError(f"expected {self.flag_type()}") from None

    def flag_type(self) -> str:
        if self._many:
            return f"{_PLURALS[self._kind]} separated by commas"
        return config.KINDS[self._kind]


class _Serializer(flags.ArgumentSerializer):
    def serialize(self, value: Any) -> str:
        return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _meant(text: str, field: dataclasses.Field[Any]) -> tuple[str, ...]:
    """Returns the paths that a text stands for: with `~`, as a pattern, or as a list with commas.

    If a file of exactly this name exists, it is meant.

    Raises:
        ValueError: the text is no path, matches nothing, or matches several files where one is
            expected.
    """
    path = os.path.expanduser(text)
    if os.path.exists(path):
        return (path,)
    if _ADDRESS.match(path):
        advice = "; download it first" if field.metadata["path"] == "read" else ""
        raise ValueError(f"expected a file on this machine, not an address{advice}")
    if field.metadata["path"] == "write" or "\0" in path:
        return (path,)
    if glob.has_magic(path):
        found = _matching(path) or [
            each for part in config.split(text) for each in _matching(os.path.expanduser(part))
        ]
        if not found:
            raise ValueError("there is no such file, and none that matches it as a pattern")
    else:
        found = [os.path.expanduser(part) for part in config.split(text)]
        if not any(map(os.path.exists, found)):
            return (path,)
    if len(found) > 1 and not field.metadata["repeated"]:
        raise ValueError(f"expected one file; these are {len(found)}, {found[0]} being the first")
    return tuple(found)


def _matching(pattern: str) -> list[str]:
    """Returns the files that match a pattern, in which `**` stands for any folders."""
    return [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))


def define(*dataclass_types: type) -> flags.FlagValues:
    """Returns flags for all fields of the given config dataclasses."""
    values = flags.FlagValues()
    for owner in dataclass_types:
        for field in dataclasses.fields(owner):
            _define_flag(values, field, config.kinds(owner)[field.name])
    flags.DEFINE_string("flagfile", None, "read flags from this file", values)
    flags.DEFINE_bool("help", False, "show the first page of the help", values, short_name="h")
    flags.DEFINE_bool("helpfull", False, "show the help of all flags", values)
    flags.DEFINE_bool("list_presets", False, "list the published recipes", values)
    flags.DEFINE_bool("version", False, "show the version", values)
    return values


def _define_flag(values: flags.FlagValues, field: dataclasses.Field[Any], kind: Any) -> None:
    about = _Parser(field, kind), _Serializer(), field.name, field.default, field.metadata["help"]
    if field.metadata["repeated"]:
        flags.DEFINE_flag(flags.MultiFlag(*about), values)
    else:
        flags.DEFINE_flag(flags.Flag(*about, boolean=kind is bool), values)


def parse(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Parses a command line, whose first entry is the program's name.

    The command line takes precedence over a flagfile, and a flagfile over the flagfiles that it
    names in turn.

    Raises:
        ConfigError: a flag is unknown, its value is unreadable, or an input is given twice; a
            flagfile cannot be read; or there are arguments without a flag.
    """
    for arguments in _sources(list(argv[1:])):
        _parse_source(values, arguments)


def _sources(arguments: list[str], within: tuple[str, ...] = ()) -> list[list[str]]:
    """Returns the arguments of all named flagfiles, and then the remaining arguments.

    Args:
        arguments: arguments of the command line, or lines of a flagfile.
        within: the flagfiles being read, from the outermost to the innermost.
    """
    sources, own = [], []
    rest = iter(arguments)
    for argument in rest:
        name, equals, path = argument.partition("=")
        if argument == "--":
            own += [argument, *rest]
        elif name not in ("--flagfile", "-flagfile"):
            own.append(argument)
        else:
            path = os.path.expanduser(path if equals else next(rest, ""))
            lines, place = _lines(path), os.path.realpath(path)
            if place in within:
                raise errors.ConfigError(f"the flagfile {path!r} reads itself; take that line out.")
            sources += _sources(lines, (*within, place))
    return [*sources, own]


def _lines(path: str) -> list[str]:
    """Returns the flags in a file, one per line, without comments."""
    if not path:
        raise errors.ConfigError("--flagfile names no file; expected --flagfile=FILE.")
    try:
        with open(path, "rb") as file:
            data = file.read()
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise errors.ConfigError(
            f"the flagfile {path!r} is no text ({error.reason}); expected one flag a line."
        ) from error
    except (OSError, ValueError) as error:
        raise errors.ConfigError(
            f"the flagfile {path!r} cannot be read ({errors.reason(error)})."
        ) from error
    lines = [line.strip() for line in text.split("\n")]
    return [line for line in lines if line and not line.startswith(("#", "//"))]


def _parse_source(values: flags.FlagValues, arguments: list[str]) -> None:
    """Parses the arguments of one source.

    If a flag is given twice, the last value counts, because wrappers of commands rely on that. A
    second input is refused, because the first would be silently ignored.
    """
    before = {name: values[name].present for name in values}
    for argument in arguments:
        name = argument.lstrip("-").partition("=")[0]
        if argument.startswith("-") and len(name) > _LONGEST_NAME:  # Slow in absl.
            hint = _hint(name[:_LONGEST_NAME], values)
            raise errors.ConfigError(
                f"unknown flag --{name[:_LONGEST_NAME]}...{hint} --helpfull lists all flags."
            )
    try:
        rest = values(["", *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        raise errors.ConfigError(
            f"unknown flag --{error.flagname}.{_hint(error.flagname, values)} --helpfull lists all "
            "flags."
        ) from None
    except (flags.Error, ValueError) as error:
        message = str(error).removeprefix("flag ").rstrip(".")
        raise errors.ConfigError(f"{message}. --helpfull lists all flags.") from error
    if rest:
        raise _loose(rest, values)
    for name, count in before.items():
        times = values[name].present - count
        if times > 1 and getattr(values[name].parser, "one_input", False):
            raise errors.ConfigError(
                f"--{name} is given {times} times, and takes one file; leave out all but one."
            )


def _hint(name: str, values: flags.FlagValues) -> str:
    """Returns a space and a sentence that suggests a flag for an unknown one, or an empty text."""
    name, _, value = name.partition(" ")
    plain = re.sub(r"\W+", "_", name).strip("_").lower()
    found = plain if plain in values else NEIGHBOURS.get(plain)
    if found not in values:
        found = next(iter(difflib.get_close_matches(plain, list(values), n=1)), None)
    return f" Did you mean --{found}{f'={value}' if value else ''}?" if found else ""


def _loose(rest: Sequence[str], values: flags.FlagValues) -> errors.ConfigError:
    """Returns the error for arguments without a flag."""
    name = rest[0].partition("=")[0].strip("-\u2010\u2011\u2012\u2013\u2014\u2212")
    if name != rest[0] and name in values:
        hint = f"write --{rest[0][rest[0].index(name) :]}"
    elif "content" not in values or values["content"].present or values["style"].present:
        hint = "put quotes around a value with spaces or *"
    else:
        both = zip(("--content", "--style"), rest, strict=False)
        hint = f"write {' '.join(f'{flag}={shlex.quote(path)}' for flag, path in both)}"
    return errors.ConfigError(
        f"unexpected argument {rest[0]!r}; settings are written as --name=value: {hint}. --help "
        "lists them."
    )


def parse_value(owner: type, name: str, text: str) -> Any:
    """Returns the value of one field of a dataclass, parsed as its flag is.

    Raises:
        ConfigError: the text is not a value of the field.
    """
    values = flags.FlagValues()
    field = next(field for field in dataclasses.fields(owner) if field.name == name)
    _define_flag(values, field, config.kinds(owner)[name])
    parse(values, ["", f"--{name}={text}"])
    return values[name].value


def to_dataclass(values: flags.FlagValues, owner: type, **defaults: Any) -> Any:
    """Returns an instance of `owner` with the values of parsed flags.

    Args:
        values: parsed flags from `define`.
        owner: the dataclass to build.
        **defaults: defaults that replace those of the class for flags that were not given.
    """
    return owner(**{**defaults, **given(values, owner)})


def to_config(
    values: flags.FlagValues,
    preset: str = "",
    settings: Mapping[str, Any] = types.MappingProxyType({}),
    **changes: Any,
) -> config.StyleTransferConfig:
    """Returns the settings of parsed flags, without warnings.

    Args:
        values: parsed flags from `define`.
        preset: name of a published recipe to start from, or an empty string.
        settings: settings to start from without a preset.
        **changes: settings that override these, as the flags do.

    Raises:
        ConfigError: a setting is not valid.
    """
    changes = {**given(values, config.StyleTransferConfig), **changes}
    if preset:
        settings = config.published(preset, changes)
    return config.StyleTransferConfig.from_dict(config.merge(settings, changes))


def given(values: flags.FlagValues, owner: type) -> dict[str, Any]:
    """Returns the values of those fields of `owner` whose flags were given."""
    found = {
        field.name: values[field.name].value
        for field in dataclasses.fields(owner)
        if values[field.name].present
    }
    return {
        name: tuple(itertools.chain(*value)) if isinstance(value, list) else value
        for name, value in found.items()
    }


def help_text(program: str, *dataclass_types: type, usage: str = USAGE, full: bool = True) -> str:
    """Returns the help text: `usage`, then all flags by group, with their defaults.

    Args:
        program: name of the program.
        *dataclass_types: dataclasses whose fields are the flags.
        usage: beginning of the text, with `{program}` in it.
        full: whether to show all flags, or only the first page.
    """
    fields = [field for owner in dataclass_types for field in dataclasses.fields(owner)]
    groups: dict[str, list[str]] = {}
    for field in sorted(fields, key=lambda each: each.metadata["group"] == config.PUBLISHED):
        if full or field.metadata["first"]:
            groups.setdefault(field.metadata["group"], []).append(_help_lines(field))
    groups["Command line"] = [
        f"  --helpfull\n      show all {len(fields)} settings; --help shows the ones to begin with",
        "  --list_presets\n      show a table of the published recipes, and stop",
        "  --flagfile=FILE\n      read flags from this file, one a line; flags beside it win",
        "  --version\n      show the version, and stop",
    ]
    body = "\n\n".join(f"{name}:\n" + "\n".join(lines) for name, lines in groups.items())
    return f"{usage.format(program=program)}\n{body}"


def _help_lines(field: dataclasses.Field[Any]) -> str:
    default, text = field.default, field.metadata["help"]
    if isinstance(default, bool):
        return f"  --[no]{field.name}\n      {text} (default: {'yes' if default else 'no'})"
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return f"  --{field.name}=...\n      {text}" + (f" (default: {shown})" if shown else "")
