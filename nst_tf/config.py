"""Every setting of a stylisation, its default and its help text, in one frozen dataclass.

A field of `StyleTransferConfig` becomes a command-line flag, a line of `--help` and an entry
of the saved recipe by itself. `FileOptions` does the same for what belongs to one run of the
command, such as file names, and has no part in the picture.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import types
import typing
from collections.abc import Mapping
from typing import Any

from nst_tf import errors, layers

BACKBONES = ("auto", *layers.CONVOLUTIONS)
INITIALISATIONS = ("content", "noise", "style", "gray", "grey")


def knob(default: Any, group: str, help: str, choices: tuple[str, ...] = ()) -> Any:
    """Returns a dataclass field that carries its help text, help group and valid values."""
    return dataclasses.field(
        default=default, metadata={"group": group, "help": help, "choices": choices}
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StyleTransferConfig:
    """What a picture is made with. Every attribute is a flag of the command as well.

    The help text of each field is its documentation: `fields(StyleTransferConfig)` lists
    them, and so does `nst-stylize --help`.

    Raises:
        ConfigError: a value is unknown or out of range.
    """

    image_size: int = knob(
        512, "Size and schedule", "long side of the output in pixels; 0 keeps the photo's own size"
    )
    style_scale: float = knob(
        1.0,
        "Size and schedule",
        "long side of the style relative to the output's: larger gives larger strokes",
    )
    levels: int = knob(
        0,
        "Size and schedule",
        "levels of the coarse-to-fine pyramid; 0 chooses by size, 1 works at full size only",
    )
    steps: tuple[int, ...] = knob(
        (),
        "Size and schedule",
        "optimiser steps of the finest level, coarser ones taking more; or a comma-separated "
        "number for every level, coarse to fine; empty takes 160 at the coarsest and fewer at "
        "each finer one, down to 30",
    )
    init: str = knob(
        "content",
        "Size and schedule",
        f"initial image: {', '.join(INITIALISATIONS)}, or the path of a picture",
    )
    init_noise: float = knob(
        0.5,
        "Size and schedule",
        "share of noise in the initial image, 0 to 1: strokes cover the photo more evenly",
    )
    seed: int = knob(0, "Size and schedule", "seed of the noise of the initial image")

    content_weight: float = knob(1.0, "Losses", "weight of the content loss")
    style_weight: float = knob(10.0, "Losses", "weight of the style loss, all layers together")
    tv_weight: float = knob(0.0, "Losses", "weight of the total variation, which smooths")
    tv_form: str = knob(
        "squared",
        "Losses",
        "neighbour differences that total variation sums: squared or absolute",
        ("squared", "absolute"),
    )
    content_layers: tuple[str, ...] = knob(
        ("block4_conv2",), "Losses", "layers whose activations keep the content, comma-separated"
    )
    style_layers: tuple[str, ...] = knob(
        ("block1_conv1", "block2_conv1", "block3_conv1", "block4_conv1", "block5_conv1"),
        "Losses",
        "layers whose statistics carry the style, comma-separated",
    )
    style_layer_weights: tuple[float, ...] = knob(
        (),
        "Losses",
        "weight of each style layer, comma-separated, in any scale; empty weighs all alike",
    )

    backbone: str = knob(
        "auto",
        "Network",
        "vgg19, vgg16, or auto: vgg19 where its weights can be had, otherwise the bundled vgg16",
        BACKBONES,
    )
    weights: str = knob("", "Network", "a Keras weight file (.h5, .weights.h5) to use instead")
    pooling: str = knob("avg", "Network", "pooling of the network: max or avg", ("max", "avg"))

    optimizer: str = knob("lbfgs", "Optimiser", "lbfgs or adam", ("lbfgs", "adam"))
    learning_rate: float = knob(
        0.0, "Optimiser", "step size of the optimiser, in pixel values; 0 takes its own default"
    )
    lbfgs_history: int = knob(10, "Optimiser", "past steps from which L-BFGS learns curvature")

    device: str = knob("auto", "Machine", "auto, cpu, gpu, or a TensorFlow name such as GPU:1")
    precision: str = knob(
        "float32",
        "Machine",
        "number format of the convolutions: float32 or bfloat16; all else stays float32",
        ("float32", "bfloat16"),
    )
    jit_compile: bool = knob(False, "Machine", "compile the step with XLA")
    run_eagerly: bool = knob(False, "Machine", "run without graphs, to debug")
    max_pixels: int = knob(
        80_000_000, "Machine", "largest input picture accepted, in pixels, against forged files"
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = coerce(field, typing.get_type_hints(type(self))[field.name], self)
            object.__setattr__(self, field.name, value)
        _check_ranges(self)
        _check_layers(self)

    def replace(self, **changes: Any) -> StyleTransferConfig:
        """Returns a copy with some fields changed, checked anew."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as JSON-ready values, for a recipe or a report."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> StyleTransferConfig:
        """Returns the config that `to_dict` described.

        Raises:
            ConfigError: a name is no setting, or its value is not valid.
        """
        valid = [field.name for field in dataclasses.fields(cls)]
        for name in settings:
            if name not in valid:
                raise errors.unknown_name("setting", name, valid)
        return cls(**settings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileOptions:
    """The files of one run of the command."""

    content: str = knob("", "Files", "the photo to repaint (required)")
    style: str = knob("", "Files", "the painting to repaint it after (required)")
    output: str = knob(
        "",
        "Files",
        "where to write the picture: .png, .jpg, .webp or .tif; empty makes a PNG name from both "
        "inputs in the current folder",
    )
    overwrite: bool = knob(False, "Files", "replace an output that exists")
    bit_depth: int = knob(8, "Files", "bits a channel of the output: 8, or 16 for PNG")
    preview_every: int = knob(
        0, "Files", "refresh '<output>.preview.png' every so many steps; 0 never"
    )
    plot: str = knob("", "Files", "draw the loss curves into this picture file")
    report: str = knob("", "Files", "write a record of the run into this JSON file")
    replay: str = knob(
        "", "Files", "take all settings from a picture that this program made earlier"
    )


def coerce(field: dataclasses.Field[Any], kind: Any, owner: object) -> Any:
    """Returns the value of a field in its declared type, a list taken for a tuple.

    Raises:
        ConfigError: the value is of another type, or not one of the field's choices.
    """
    value = getattr(owner, field.name)
    if isinstance(kind, types.GenericAlias):
        item = typing.get_args(kind)[0]
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            value = (value,)
        return tuple(_scalar(field.name, item, entry) for entry in value)
    value = _scalar(field.name, kind, value)
    choices = field.metadata["choices"]
    if choices and value not in choices:
        raise errors.unknown_name(field.name, value, choices)
    return value


def _scalar(name: str, kind: type, value: Any) -> Any:
    exact = isinstance(value, bool) == (kind is bool)
    if exact and isinstance(value, _ACCEPTED[kind]):
        return kind(value)
    raise errors.ConfigError(f"{name} is {value!r}; expected {KINDS[kind]}.")


_ACCEPTED: dict[type, type] = {
    int: numbers.Integral,
    float: numbers.Real,
    str: str,
    bool: bool,
}
KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def _check_ranges(config: StyleTransferConfig) -> None:
    def require(name: str, valid: bool, expected: str) -> None:
        if not valid:
            raise errors.ConfigError(f"{name} is {getattr(config, name)}; expected {expected}.")

    require("image_size", config.image_size >= 0, "0 or a number of pixels")
    require("levels", config.levels >= 0, "0 (automatic) or a number of levels")
    require("steps", min(config.steps, default=1) >= 1, "numbers above 0")
    require("seed", config.seed >= 0, "0 or a positive whole number")
    require("lbfgs_history", config.lbfgs_history >= 1, "at least 1")
    require("max_pixels", config.max_pixels >= 1, "at least 1")
    require("init", bool(config.init), f"one of {', '.join(INITIALISATIONS)}, or a path")
    require("init_noise", 0 <= config.init_noise <= 1, "a number from 0 to 1")
    scale = config.style_scale
    require("style_scale", 0 < scale <= 100, "a number above 0 and at most 100")
    for name in ("learning_rate", "content_weight", "style_weight", "tv_weight"):
        number = getattr(config, name)
        require(name, math.isfinite(number) and number >= 0, "a finite number, 0 or above")
    each = config.style_layer_weights
    require(
        "style_layer_weights",
        all(math.isfinite(weight) and weight >= 0 for weight in each),
        "finite numbers, 0 or above",
    )
    if each and len(each) != len(config.style_layers):
        raise errors.ConfigError(
            f"style_layer_weights has {len(each)} numbers for {len(config.style_layers)} "
            "style_layers; give one weight for each layer, or none."
        )
    if not has_objective(config):
        raise errors.ConfigError(
            "content_weight, style_weight and tv_weight leave nothing to optimise; give at least "
            "one of them, with layers to work on, a value above 0."
        )


def has_objective(config: StyleTransferConfig) -> bool:
    """Returns whether any term of the loss has a weight above 0."""
    style = config.style_layers and (
        not config.style_layer_weights or any(config.style_layer_weights)
    )
    return bool(
        (config.content_weight and config.content_layers)
        or (config.style_weight and style)
        or config.tv_weight
    )


def _check_layers(config: StyleTransferConfig) -> None:
    """Refuses a layer that the backbone lacks; `auto` may become VGG19, which has them all."""
    backbone = "vgg19" if config.backbone == "auto" else config.backbone
    for name in (*config.content_layers, *config.style_layers):
        layers.canonical(name, backbone)
    for kind in ("content_layers", "style_layers"):
        chosen = [layers.canonical(name, backbone) for name in getattr(config, kind)]
        for name in chosen:
            if chosen.count(name) > 1:
                raise errors.ConfigError(f"{kind} names {name} twice; name each layer once.")
