"""Fields of a settings dataclass: help text, valid values, and parsing of a value.

Each field automatically becomes a command-line flag and a line of `--help`. Needs no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import fractions
import functools
import inspect
import logging
import math
import numbers
import os
import textwrap
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

from nst_tf import errors
from nst_tf.config import objects

logger = logging.getLogger("nst_tf")


class Need(NamedTuple):
    """A condition on another setting without which a setting has no effect.

    Attributes:
        field: name of the other setting.
        words: the condition, in words for the user.
        met: predicate of all settings that tells whether the condition holds.
    """

    field: str
    words: str
    met: Callable[[Any], bool]


class Rule(NamedTuple):
    """A condition on a value.

    Attributes:
        words: the condition, in words for the user, after "expected".
        holds: predicate of the value in its declared type.
    """

    words: str
    holds: Callable[[Any], bool]


def at_least(least: float, words: str) -> Rule:
    return Rule(words, lambda value: least <= value < math.inf)


def one_of(field: str, *values: Any) -> Need:
    words = f"{field}={' or '.join(map(written, values))}"
    return Need(field, words, lambda settings: getattr(settings, field) in values)


def above_0(field: str) -> Need:
    return Need(field, f"{field} above 0", lambda settings: getattr(settings, field) > 0)


def some(field: str) -> Need:
    return Need(field, f"{field} to be given", lambda settings: bool(getattr(settings, field)))


def setting(
    default: Any,
    group: str,
    help: str,
    choices: tuple[str, ...] = (),
    *,
    first: bool = False,
    repeated: bool = False,
    path: Literal["", "read", "write"] = "",
    amount: bool = False,
    needs: tuple[Need, ...] = (),
    rule: Rule | None = None,
    reader: Callable[[str, Any], Any] | None = None,
) -> Any:
    """Returns a dataclass field that carries its help text, help group and valid values.

    Args:
        default: default of the field.
        group: heading of its section in the help.
        help: help text.
        choices: the valid values; empty if any value is valid.
        first: whether it is on the first page of the help.
        repeated: whether its flag may be given several times; the field is then a tuple of their
            texts.
        path: whether the value names a file to read or to write; an empty string if neither.
        amount: whether the field is text that may also be given as a whole number.
        needs: conditions without which the setting has no effect and a warning is logged.
        rule: condition on the value, or None.
        reader: function from the field's name and a given value other than text to the value to
            keep, or None.
    """
    metadata = {
        "group": group,
        "help": help,
        "choices": choices,
        "first": first,
        "repeated": repeated,
        "path": path,
        "amount": amount,
        "needs": needs,
        "rule": rule,
        "reader": reader,
    }
    return dataclasses.field(default=default, metadata=metadata)


_Owner = TypeVar("_Owner")


def documented(owner: type[_Owner]) -> type[_Owner]:
    """Adds type, help text and default of every field to the docstring of a dataclass."""
    summary, *sections = inspect.cleandoc(owner.__doc__ or "").split("\n\nRaises:")
    entries = [
        textwrap.fill(
            f"{field.name} ({field.type}): {field.metadata['help']}. Default: {field.default!r}.",
            width=96,
            initial_indent=4 * " ",
            subsequent_indent=8 * " ",
            break_on_hyphens=False,
        )
        for field in dataclasses.fields(typing.cast(Any, owner))
    ]
    attributes = "\n".join(["Attributes:", *entries])
    owner.__doc__ = "\n\nRaises:".join([f"{summary}\n\n{attributes}", *sections])
    return owner


def written(value: Any, separator: str = ",") -> str:
    """Returns a value in the form of its flag; floats that are whole numbers without `.0`."""
    if isinstance(value, tuple):
        return separator.join(written(item) for item in value) or "(empty)"
    if isinstance(value, bool):
        return str(value).lower()
    return (str(value).removesuffix(".0") if isinstance(value, float) else str(value)) or "(empty)"


def idle(settings: Any, names: Collection[str]) -> list[str]:
    """Returns a sentence for each setting without effect because another one disables it.

    Args:
        settings: an instance of a dataclass of `setting` fields.
        names: names of the settings to check. Settings with their default value are skipped.
    """
    found = []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name not in names or value == field.default:
            continue
        for need in field.metadata["needs"]:
            if not need.met(settings):
                other = f"{need.field}={written(getattr(settings, need.field))}"
                found.append(
                    f"{field.name}={written(value)} has no effect with {other}; it needs "
                    f"{need.words}."
                )
                break
    return found


def warn_idle(*given: tuple[Any, Collection[str]]) -> None:
    """Logs the sentences of `idle` for settings and names, each once."""
    for sentence in dict.fromkeys(text for each in given for text in idle(*each)):
        logger.warning("%s", sentence)


def coerce_all(settings: Any) -> None:
    """Converts all fields to their declared types, and checks each by itself."""
    owner: type = type(settings)
    for field in dataclasses.fields(owner):
        value = coerce(field, kinds(owner)[field.name], settings)
        object.__setattr__(settings, field.name, value)


@functools.cache
def kinds(owner: type) -> dict[str, Any]:
    """Returns the types of the flags of a dataclass's fields, by name."""
    return {name: each[0] for name, each in _alternatives(owner).items()}


@functools.cache
def _alternatives(owner: type) -> dict[str, tuple[Any, ...]]:
    """Returns for each field the type of its flag, and the protocols of its objects, if any."""
    return {name: _members(hint) for name, hint in typing.get_type_hints(owner).items()}


def _members(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def coerce(field: dataclasses.Field[Any], kind: Any, owner: object) -> Any:
    """Returns the value of a field in its declared type; text is parsed as its flag is.

    Raises:
        ConfigError: the value is of another type, is not one of the field's choices, breaks its
            rule, or is an object that cannot be described.
    """
    value = getattr(owner, field.name)
    if field.metadata["reader"] and not isinstance(value, str):
        return field.metadata["reader"](field.name, value)
    settings: type = type(owner)
    _, *protocols = _alternatives(settings)[field.name]
    if protocols and not isinstance(value, str):
        return _object(field, protocols, value)
    if isinstance(kind, types.GenericAlias):
        item = typing.get_args(kind)[0]
        value = tuple(_scalar(field, item, entry) for entry in _entries(field, value))
    else:
        value = _scalar(field, kind, value)
    choices, rule = field.metadata["choices"], field.metadata["rule"]
    if choices and value not in choices:
        raise errors.unknown_name(field.name, value, choices)
    if rule and not rule.holds(value):
        raise errors.ConfigError(f"{field.name} is {shown(value)}; expected {rule.words}.")
    return value


def _object(field: dataclasses.Field[Any], protocols: Sequence[type], value: Any) -> Any:
    """Returns an object given in place of a name, after checking it."""
    if isinstance(value, type) or not isinstance(value, tuple(protocols)):
        methods = [name for each in protocols for name in vars(each) if not name.startswith("_")]
        raise errors.ConfigError(
            f"{field.name} is {shown(value)}; expected text, or an object with "
            f"{' and '.join(methods)}."
        )
    objects.describe(value)
    return value


def _entries(field: dataclasses.Field[Any], value: Any) -> Iterable[Any]:
    """Returns the entries of a list; a single value is a list of one."""
    if isinstance(value, str) and not field.metadata["repeated"]:
        return split(value)
    if isinstance(value, (str, bytes, os.PathLike, Mapping)):
        return (value,)
    try:
        return tuple(value)
    except TypeError:
        return (value,)


def split(text: str) -> list[str]:
    """Returns the entries of a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _scalar(field: dataclasses.Field[Any], kind: type, value: Any) -> Any:
    expected = KINDS[kind]
    try:
        if isinstance(value, str):
            value = read(kind, value)
        elif field.metadata["path"]:
            expected = "text or a path"
            value = os.fspath(value)
        elif field.metadata["amount"]:
            expected = "text or a whole number"
            whole = not isinstance(value, bool) and value == int(value)
            value = str(int(value)) if whole else value
        if isinstance(value, bool) == (kind is bool) and isinstance(value, _ACCEPTED[kind]):
            value = kind(value)
            if kind is int and abs(value) > _LARGEST:
                expected = f"a whole number up to {_LARGEST}"
            elif field.metadata["path"] and "\0" in value:
                expected = "a path, which holds no NUL"
            else:
                return value
    except (TypeError, ValueError, ArithmeticError):
        pass
    raise errors.ConfigError(f"{field.name} is {shown(value)}; expected {expected}.")


def read(kind: type, text: str) -> Any:
    """Parses the text of a flag as a value of type `kind`.

    Raises:
        ValueError: the text is no such value.
        ArithmeticError: the text is a fraction that is no finite number.
    """
    if kind is bool:
        truths = {name: value for value, names in _TRUTHS.items() for name in names}
        if text.strip().lower() not in truths:
            raise ValueError(text)
        return truths[text.strip().lower()]
    if kind is float and "/" in text:
        return float(fractions.Fraction(text))
    return kind(text)


def shown(value: Any) -> str:
    """Returns a value of any type as short text, for an error."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if not isinstance(value, (str, bytes, numbers.Number, tuple, list, dict, type(None))):
        return f"an object of type {type(value).__name__}"
    try:
        text = " ".join(repr(value).split())
    except (ValueError, RecursionError):  # Python refuses to print thousands of digits.
        return f"a very long {type(value).__name__}"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


_ACCEPTED: dict[type, type] = {
    int: numbers.Integral,
    float: numbers.Real,
    str: str,
    bool: bool,
}
KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
_TRUTHS = {True: ("true", "t", "yes", "y", "on", "1"), False: ("false", "f", "no", "n", "off", "0")}
_LARGEST = 2**63 - 1  # The largest int64.
_LONGEST_SHOWN = 80  # Characters of a value in an error.
