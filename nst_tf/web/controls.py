"""The controls of the page, made from the fields of the settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import gradio as gr

from nst_tf import config as configs
from nst_tf import errors

FIRST = ("strength", "image_size", "style_scale", "color", "seed")
"""Settings that are shown at once; all others are under "more"."""
_OF_THE_SERVER = configs.of_group("Machine") | {"weights"}
"""Settings that name files or devices of the server."""


def fields() -> list[dataclasses.Field[Any]]:
    """Returns the settings that a visitor chooses, the first ones first."""
    found = [
        field
        for field in dataclasses.fields(configs.StyleTransferConfig)
        if field.name not in _OF_THE_SERVER
    ]
    return sorted(found, key=lambda each: FIRST.index(each.name) if each.name in FIRST else 99)


def component(field: dataclasses.Field[Any], render: bool = True) -> gr.components.Component:
    """Returns the control of a setting."""
    kind = configs.kinds(configs.StyleTransferConfig)[field.name]
    about: dict[str, Any] = {
        "label": field.name.replace("_", " "),
        "info": field.metadata["help"],
        "elem_id": f"setting-{field.name}",
        "value": shown(field, field.default),
        "render": render,
    }
    if field.name == "strength":
        return gr.Slider(0, 1, step=0.05, **about)
    if field.name == "init":
        return gr.Dropdown(list(configs.INITIALISATIONS), **about)
    if field.metadata["choices"]:
        choices = [each for each in field.metadata["choices"] if each != configs.CUSTOM]
        return gr.Dropdown(choices, **about)
    if kind is bool:
        return gr.Checkbox(**about)
    if kind in (int, float):
        return gr.Number(precision=0 if kind is int else None, **about)
    return gr.Textbox(**about)


def shown(field: dataclasses.Field[Any], value: Any) -> Any:
    """Returns the value of a setting as its control has it."""
    if isinstance(value, (bool, int, float)):
        return value
    text = configs.written(tuple(value) if isinstance(value, list) else value)
    return "" if text == "(empty)" else text


def config(values: Sequence[Any]) -> configs.StyleTransferConfig:
    """Returns the settings of the controls, which are in the order of `fields`.

    Raises:
        ConfigError: a value is not valid.
    """
    changes = {
        field.name: value
        for field, value in zip(fields(), values, strict=True)
        if value is not None and value != shown(field, field.default)
    }
    if changes.get("init", "content") not in configs.INITIALISATIONS:
        raise errors.unknown_name("init", changes["init"], configs.INITIALISATIONS)
    return configs.StyleTransferConfig.from_dict(configs.merge({}, changes))


def values(settings: dict[str, Any]) -> list[Any]:
    """Returns the values of the controls for the settings of a recipe, defaults for others.

    A picture that the recipe begins with is not there; the control of `init` has its default.
    """
    if settings.get("init") not in configs.INITIALISATIONS:
        settings = {name: value for name, value in settings.items() if name != "init"}
    return [shown(field, settings.get(field.name, field.default)) for field in fields()]


def differing(one: configs.StyleTransferConfig, other: configs.StyleTransferConfig) -> list[Any]:
    """Returns rows of name, value and other value, for settings that differ."""
    first, second = one.to_dict(), other.to_dict()
    return [
        [name, str(first[name]), str(second[name])] for name in first if first[name] != second[name]
    ]
