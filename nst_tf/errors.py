"""Errors that the user can act on, each with the exit status of the command."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class StyleTransferError(Exception):
    """Base of all errors of this package that the caller can mend."""

    exit_status = 1


class ConfigError(StyleTransferError, ValueError):
    """A setting is unknown, out of range, or does not fit another one."""

    exit_status = 2


class ImageError(StyleTransferError):
    """An input picture cannot be read or used."""


class ClipError(ImageError):
    """A clip cannot be read or used."""


class WeightsError(StyleTransferError):
    """The weights of a backbone cannot be found, downloaded or verified."""


class OutputError(StyleTransferError):
    """A result cannot be written to the given path.

    Attributes:
        elsewhere: path that the result was written to instead, or None.
    """

    elsewhere: Path | None = None


class ExistingOutputError(OutputError):
    """The file of a result exists already."""


class CheckpointError(StyleTransferError):
    """A run cannot go on from its checkpoints."""


class DivergenceError(StyleTransferError):
    """The loss became NaN or infinite, or no step moved the picture.

    Attributes:
        image: the last good picture, a float32 tensor of shape `(height, width, 3)` in [0, 1].
    """

    def __init__(self, message: str, image: object) -> None:
        super().__init__(message)
        self.image = image


def reason(error: BaseException) -> str:
    """Returns the reason of an error in a few words, for use within a sentence."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    lines = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def unknown_name(kind: str, name: object, valid: Iterable[str]) -> ConfigError:
    """Returns the error for a name that is not one of `valid`; it suggests the nearest match."""
    valid = list(valid)
    message = f"unknown {kind} {name!r}; expected one of: {', '.join(valid)}"
    near = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.5)
    return ConfigError(f"{message}. Did you mean {near[0]!r}?" if near else f"{message}.")


def known(kind: str, name: str, valid: Iterable[str]) -> str:
    """Returns `name` if it is one of `valid`.

    Raises:
        ConfigError: the name is not one of `valid`.
    """
    valid = list(valid)
    if name not in valid:
        raise unknown_name(kind, name, valid)
    return name
