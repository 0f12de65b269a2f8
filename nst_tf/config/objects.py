"""Objects in place of names: custom losses, optimisers and networks. Needs no TensorFlow."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

from nst_tf import errors

_Self = TypeVar("_Self", bound="Configurable")


@runtime_checkable
class OptimizerLike(Protocol):
    """The protocol of an optimiser in a config; `nst_tf.optimizers.Optimizer` implements it."""

    def init(self, image: Any, steps: int) -> Any:
        """Returns the state before the first step."""

    def update(self, image: Any, state: Any, evaluation: Any) -> Any:
        """Returns the next picture and the next state."""


@runtime_checkable
class LossLike(Protocol):
    """The protocol of a loss in a config; `nst_tf.losses.Loss` implements it."""

    def statistics(self, features: Any, weights: Any, target: Any) -> Any:
        """Returns sums over positions."""

    def value(self, statistics: Any, target: Any) -> Any:
        """Returns the loss."""


@runtime_checkable
class BackboneLike(Protocol):
    """The protocol of a network in a config; `nst_tf.Backbone` implements it."""

    name: str
    architecture: Any

    def reach(self, name: str) -> tuple[int, int]:
        """Returns stride and halo of a layer."""


class Configurable:
    """An object described by the arguments of its constructor, which it keeps as attributes.

    Two objects of one class with the same arguments are equal.
    """

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor by name, as Keras does.

        Raises:
            ConfigError: an argument is not kept as an attribute of its name.
        """
        return _arguments(self)

    @classmethod
    def from_config(cls: type[_Self], config: Mapping[str, Any]) -> _Self:
        """Returns the object with the arguments that `get_config` returned."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return identity(self) == identity(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return _call(type(self).__name__, self.get_config(), repr)


def identity(value: Any) -> Any:
    """Returns a hashable value, equal for equal settings; a function equals itself alone."""
    if isinstance(value, Configurable):
        return type(value), identity(value.get_config())
    if isinstance(value, Mapping):
        return tuple(sorted((str(name), identity(each)) for name, each in value.items()))
    if isinstance(value, (list, tuple)):
        return tuple(map(identity, value))
    for convert in ("numpy", "tolist"):  # Of a tensor, of an array.
        if hasattr(value, convert):
            return identity(getattr(value, convert)())
    return value if isinstance(value, Hashable) else id(value)


def describe(value: Any) -> dict[str, Any]:
    """Returns class and settings of an object, ready for JSON: `{"class": ..., "settings": ...}`.

    The settings are the result of its `get_config`, or else the arguments of its constructor.

    Raises:
        ConfigError: the object has no `get_config` and does not keep its arguments as attributes.
    """
    own = getattr(value, "get_config", None)
    settings = own() if own else _arguments(value)
    return {"class": type(value).__name__, "settings": plain(settings)}


def is_description(value: Any) -> bool:
    """Returns whether a value has the form of a result of `describe`."""
    return (
        isinstance(value, dict)
        and value.keys() == {"class", "settings"}
        and isinstance(value["class"], str)
        and isinstance(value["settings"], dict)
    )


def in_words(description: Mapping[str, Any]) -> str:
    """Returns a result of `describe` as a call, such as `Adam(epsilon=1e-08)`."""
    return _call(description["class"], description["settings"], _WORDS.repr)


def plain(value: Any) -> Any:
    """Returns a setting ready for JSON: a tuple as a list, a function as its name."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    for convert in ("numpy", "tolist"):  # A tensor has the first, an array the second.
        if hasattr(value, convert):
            return plain(getattr(value, convert)())
    if "<" in getattr(value, "__qualname__", ""):
        raise errors.ConfigError(
            f"{value.__qualname__} is a function that no recipe or checkpoint could tell from "
            "another; define it by name at the top of a module."
        )
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return describe(value)


_WORDS = reprlib.Repr()  # Safe for long and for deeply nested lists.
_WORDS.maxlevel, _WORDS.maxlist, _WORDS.maxstring = 3, 20, 300


def _call(name: str, settings: Mapping[str, Any], word: Callable[[Any], str]) -> str:
    return f"{name}({', '.join(f'{each}={word(value)}' for each, value in settings.items())})"


def _arguments(value: Any) -> dict[str, Any]:
    """Returns the constructor's arguments of an object, from its attributes of these names."""
    try:
        parameters = inspect.signature(type(value)).parameters.values()
    except (TypeError, ValueError) as error:
        raise errors.ConfigError(
            f"an object of type {type(value).__name__} cannot be described by its arguments; use "
            "an object with get_config, or a named function."
        ) from error
    named = [
        each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    for name in named:
        if not hasattr(value, name):
            raise errors.ConfigError(
                f"{type(value).__name__} does not keep its argument {name}, so that no recipe or "
                f"checkpoint could name it; set self.{name}, or define get_config."
            )
    return {name: getattr(value, name) for name in named}
