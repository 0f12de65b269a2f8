"""Settings that may hold objects: losses, each with a weight, and the network.

Importing it needs no TensorFlow.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping
from typing import Any

from nst_tf import errors
from nst_tf.config import objects
from nst_tf.config.fields import shown

_JOINED = re.compile(r"(?<![0-9.][eE])\+")  # Not the sign of an exponent.
CUSTOM = "custom"
"""The `backbone` of a config whose network is given to `StyleTransfer` as an object."""
Losses = dict[Any, float]
"""The weight of each loss, by its name or by the loss object."""


def described(choice: Any) -> str:
    """Returns a name unchanged, or an object as its class with its constructor's arguments."""
    return choice if isinstance(choice, str) else objects.in_words(objects.describe(choice))


def is_loss(value: Any) -> bool:
    """Returns whether a value is a loss object."""
    return isinstance(value, objects.LossLike) and not isinstance(value, type)


def holds_objects(text: Any) -> bool:
    """Returns whether a choice of losses, in its written form, includes objects."""
    return isinstance(text, str) and "(" in text


def read_losses(field: str, value: Any) -> str | tuple[tuple[Any, float], ...]:
    """Returns a choice of losses in the form that a config keeps.

    Args:
        field: name of the setting, for the error.
        value: names joined by `+`, with weights after colons or without; a loss; or a mapping from
            names and losses to weights.

    Returns:
        A string if all losses are named; else pairs of a name or loss and its weight.

    Raises:
        ConfigError: the value is none of these.
    """
    if isinstance(value, str):
        return value
    if is_loss(value):
        described(value)  # Which refuses what no recipe could name.
        return ((value, 1.0),)
    pairs = tuple(value.items()) if isinstance(value, Mapping) else value
    if isinstance(pairs, tuple) and pairs and all(map(_is_pair, pairs)):
        found = tuple((choice, _number(weight)) for choice, weight in pairs)
        written = written_losses(found)
        return found if any(is_loss(choice) for choice, _ in found) else written
    raise errors.ConfigError(
        f"{field} is {shown(value)}; expected names such as gram+histogram, a loss, or a mapping "
        "such as {'gram': 1, 'moments': 0.5}."
    )


def _number(weight: Any) -> float:
    try:
        return float(weight)
    except OverflowError:  # A whole number beyond all floats.
        return math.inf


def _is_pair(pair: Any) -> bool:
    if not (isinstance(pair, tuple) and len(pair) == 2):
        return False
    choice, weight = pair
    is_number = isinstance(weight, numbers.Real) and not isinstance(weight, bool)
    return (isinstance(choice, str) or is_loss(choice)) and is_number


def losses_of(field: str, value: Any) -> Losses:
    """Returns the weight of each loss, given the result of `read_losses`.

    Losses joined without weights share the weight equally.

    Raises:
        ConfigError: a loss occurs twice, or a weight is not a finite number above 0.
    """
    pairs = _parsed(field, value) if isinstance(value, str) else value
    found: Losses = {}
    for choice, weight in pairs:
        if choice in found:
            raise errors.ConfigError(f"{field} names {described(choice)} twice; name each once.")
        if not 0 < weight < math.inf:
            raise errors.ConfigError(
                f"{field} gives {described(choice)} the weight {weight}; expected a finite number "
                "above 0."
            )
        found[choice] = weight
    return found


def _parsed(field: str, text: str) -> list[tuple[str, float]]:
    if holds_objects(text):
        raise errors.ConfigError(
            f"{field} is {shown(text)}, with a loss that a program made for itself; only a program "
            "that has it can use it."
        )
    split = (part.partition(":") for part in _JOINED.split(text))
    parts = [(name.strip(), colon, weight) for name, colon, weight in split]
    if not any(colon for _, colon, _ in parts):
        return [(name, 1 / len(parts)) for name, _, _ in parts]
    try:
        return [(name, float(weight) if colon else 1.0) for name, colon, weight in parts]
    except ValueError as error:
        raise errors.ConfigError(
            f"{field} is {shown(text)}; expected a number after each colon, as in "
            "gram:1+moments:0.5."
        ) from error


def written_losses(value: Any) -> str:
    """Returns a choice of losses in the form of its flag; objects as `described` returns them."""
    if isinstance(value, str):
        return value
    return "+".join(
        f"{described(choice)}:{repr(float(weight)).removesuffix('.0')}" for choice, weight in value
    )


def network_name(backbone: Any) -> str:
    """Returns the name of a network in a config; `custom` for one that is no VGG of nst_tf."""
    if isinstance(backbone, str):
        return backbone
    return backbone.name if backbone.architecture else CUSTOM


def read_backbone(field: str, value: Any) -> Any:
    """Returns a network unchanged.

    Raises:
        ConfigError: the value is not a network.
    """
    if isinstance(value, objects.BackboneLike) and not isinstance(value, type):
        return value
    raise errors.ConfigError(
        f"{field} is {shown(value)}; expected a name such as vgg16, or an nst_tf.Backbone, which "
        "Backbone.from_keras makes of a Keras model."
    )
