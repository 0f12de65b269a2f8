"""Every setting of a stylisation, its default and its help text, in one frozen dataclass.

Each field of `StyleTransferConfig` automatically becomes a command-line flag, a line of `--help`
and an entry of the saved recipe.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from nst_tf import errors, presets
from nst_tf.config import choices, objects, vgg_layers
from nst_tf.config.fields import (
    Need,
    Rule,
    above_0,
    at_least,
    coerce_all,
    documented,
    one_of,
    setting,
    some,
    warn_idle,
)

logger = logging.getLogger("nst_tf")

BACKBONES = ("auto", *vgg_layers.CONVOLUTIONS)
GIVEN = "(given)"
"""The `init` of a run whose initial picture is given as an argument."""
INITIALISATIONS = ("content", "noise", "style", "gray", "grey", "mean", "outlines")
OPTIMIZERS = (
    "lbfgs",
    "adam",
    "rmsprop",
    "gradient_descent",
    "steepest_descent",
    "fixed_step_lbfgs",
)
CONTENT_NORMALIZATIONS = {
    "features": ("relative", "mean", "sum", "gatys"),
    "laplacian": ("relative", "mean", "sum", "gatys"),
    "self_similarity": ("relative", "strotss"),
    "color_distances": ("relative", "mean"),
}
STYLE_NORMALIZATIONS = {
    "neighbours": ("relative",),
    "neighbour_columns": ("relative",),
    "nearest_features": ("relative",),
    "gram": (
        "relative",
        "mean",
        "gatys",
        "johnson",
        "sums",
        "sums_per_value",
        "sums_per_pixel",
    ),
    "moments": ("relative",),
    "w2": ("relative", "mean"),
    "swd": ("relative", "mean"),
    "histogram": ("relative", "mean"),
    "remd": ("relative", "strotss"),
    "palette": ("relative", "strotss"),
}
MATCHING = ("neighbours", "neighbour_columns")
"""The losses that match places of content and style at the beginning of a level."""
FINAL = "nearest_features"
"""The style loss of the last pass."""
MATCHED_LAYERS = tuple(
    f"block{block}_conv{number}"
    for block, count in ((1, 2), (2, 2), (3, 3), (4, 3))
    for number in range(1, count + 1)
)
"""The layers that are matched unless `match_layers` names others."""
ORIENTATIONS = ("upright", "turned", "mirrored")
WHOLE_LOSSES = (
    "remd",
    "palette",
    "self_similarity",
    "color_distances",
    "neighbour_columns",
    FINAL,
)
"""Losses that need the whole picture at once, so that it cannot be cut into tiles."""
TV_FORMS = ("squared", "absolute", "power", "nine_point")
NEUTRAL_STRENGTH = 0.5
"""The strength that leaves all settings as they are."""
_DECAY_FROM = 64  # Long side in pixels up to which content_decay does nothing.
_STEEPNESS = 2  # Power of the strength in the weights.
_LEAST_WEIGHT = 1e-20  # Of the largest of the three weights.
PADDINGS = ("zeros", "reflect", "replicate", "circular")
OUTSIDES = ("style", "keep")
COLORS = ("style", "palette", "content", "match", "tint")
COLOR_SPACES = ("lab", "yiq", "rgb")
COLOR_METHODS = ("covariance", "histogram")
PUBLISHED = "Published scales"
"""The group of settings that hardly anything but a published recipe needs."""


_CONTENT = (
    above_0("content_weight"),
    some("content_layers"),
    Need("strength", "strength below 1", lambda settings: settings.strength < 1),
)
_STYLE = (above_0("style_weight"), some("style_layers"), above_0("strength"))
_BLEND = (
    Need(
        "style_weight",
        "style_weight and strength above 0 and style_layers, or color=palette or tint",
        lambda settings: (
            settings.color == "tint"
            or (settings.strength > 0 and settings.color == "palette")
            or all(need.met(settings) for need in _STYLE)
        ),
    ),
)
_TV = (above_0("tv_weight"),)
_NEIGHBOURS = (
    *_STYLE,
    Need(
        "style_loss",
        "style_loss with neighbours",
        lambda settings: "neighbours" in settings.style_losses,
    ),
)
_MATCHING = (
    *_STYLE,
    Need(
        "style_loss",
        f"style_loss with {' or '.join(MATCHING)}",
        lambda settings: not settings.style_losses.keys().isdisjoint(MATCHING),
    ),
)
_MATCHED = (
    *_STYLE,
    Need(
        "style_loss",
        f"style_loss with {', '.join(MATCHING)} or {FINAL}, or final_steps above 0",
        lambda settings: settings.matching,
    ),
)
_FINAL = (
    Need(
        "final_steps",
        f"final_steps above 0, or style_loss with {FINAL}",
        lambda settings: settings.final_steps > 0 or FINAL in settings.style_losses,
    ),
)
_START = (
    one_of("init", "content", "style", "gray", "grey", "mean", "outlines"),
    above_0("strength"),
)
_FROM_COARSE = Need("init", "init to be no picture", lambda settings: not settings.goes_on)
_LEVELS = Need("levels", "levels other than 1", lambda settings: settings.levels != 1)
_AUTOMATIC = (
    one_of("levels", 0),
    Need("steps", "at most one number of steps", lambda settings: len(settings.steps) < 2),
    _FROM_COARSE,
)
_NOISE = (
    _FROM_COARSE,
    Need(
        "init_noise",
        "init=noise, or init_noise and strength above 0",
        lambda settings: settings.init == "noise" or settings.init_noise * settings.strength > 0,
    ),
)
_PALETTE = (one_of("color", "content", "match"),)
_MATCH = (one_of("color", "palette", "match"),)
_SCALE = (
    Need(
        "style_normalization",
        "style_normalization or content_normalization to be a published scale",
        lambda settings: (
            settings.content_normalization not in ("relative", "strotss")
            or settings.style_normalization != "relative"
        ),
    ),
)
_NAMED = (
    Need(
        "optimizer",
        "optimizer to be a name",
        lambda settings: isinstance(settings.optimizer, str),
    ),
)
_BUILT = (
    Need(
        "backbone",
        "a backbone that is built by its name",
        lambda settings: isinstance(settings.backbone, str) and settings.backbone != choices.CUSTOM,
    ),
)
_RATE = (one_of("optimizer", "adam", "rmsprop", "gradient_descent"),)
_OWN_RATE = (
    Need(
        "optimizer",
        "optimizer to have no line search",
        lambda settings: (
            settings.optimizer not in ("lbfgs", "steepest_descent")
            and not getattr(settings.optimizer, "has_line_search", False)
        ),
    ),
)
_BANDED = (one_of("optimizer", "adam", "rmsprop"),)
_ADAM = (one_of("optimizer", "adam"),)
_LBFGS = (one_of("optimizer", "lbfgs"),)
_ANY_LBFGS = (one_of("optimizer", "lbfgs", "fixed_step_lbfgs"),)
_UNITS = (
    Need(
        "optimizer",
        "optimizer=adam, rmsprop, gradient_descent or fixed_step_lbfgs, or a learning_rate or "
        "tv_weight",
        lambda settings: (
            settings.optimizer in ("adam", "rmsprop", "gradient_descent", "fixed_step_lbfgs")
            or bool(settings.tv_weight)
            or (isinstance(settings.optimizer, str) and bool(settings.learning_rate))
        ),
    ),
)
_TILES = (Need("tile_size", "tile_size above 0 or auto", lambda settings: _side(settings) != 0),)
_WHOLE = (
    one_of("run_eagerly", False),
    Need(
        "tile_size",
        "levels that are not worked on in tiles",
        lambda settings: _side(settings) in (None, 0) or 0 < settings.image_size <= _side(settings),
    ),
)
_AMOUNT = at_least(0, "a finite number, 0 or above")
_SHARE = Rule("a number from 0 to 1", lambda share: 0 <= share <= 1)
_PART = Rule("a number from 0 to below 1", lambda part: 0 <= part < 1)
_FACTOR = Rule("a number above 0 and at most 1", lambda factor: 0 < factor <= 1)
_WEIGHTS = Rule("finite numbers, 0 or above", lambda weights: all(map(_AMOUNT.holds, weights)))
_SHARES = Rule(
    "finite numbers, 0 or above and not all 0",
    lambda shares: all(map(_AMOUNT.holds, shares)) and (not shares or any(shares)),
)
_SIDE = Rule(
    "auto, 0, or a number of pixels",
    lambda side: side == "auto" or re.fullmatch("[0-9]{1,9}", side) is not None,
)
_LIMIT = Rule(
    "auto, or an amount such as 4GB or 800MB",
    lambda limit: limit == "auto" or read_bytes(limit) > 0,
)


def _side(settings: Any) -> int | None:
    """Returns the given side of the tiles, 0 for no tiles, or None for `auto`."""
    return None if settings.tile_size == "auto" else int(settings.tile_size)


def _distinct(normalizations: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Returns the normalisations of all losses, without repeats."""
    return tuple(dict.fromkeys(name for each in normalizations.values() for name in each))


@documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class StyleTransferConfig:
    """The settings of a picture. Every attribute is also a flag of the command.

    Raises:
        ConfigError: a value is unknown or out of range.
    """

    image_size: int = setting(
        512,
        "Size and schedule",
        "long side of the output in pixels; 0 keeps the photo's own size",
        first=True,
        rule=at_least(0, "0 or a number of pixels"),
    )
    style_scale: float = setting(
        1.0,
        "Size and schedule",
        "long side of the style relative to the output's: larger gives larger strokes",
        needs=_STYLE,
        first=True,
        rule=Rule("a number above 0 and at most 100", lambda scale: 0 < scale <= 100),
    )
    levels: int = setting(
        0,
        "Size and schedule",
        "levels of the coarse-to-fine pyramid; 0 chooses by size, 1 works at full size only",
        rule=at_least(0, "0 (automatic) or a number of levels"),
    )
    level_factor: float = setting(
        2.0,
        "Size and schedule",
        "ratio of the sizes of two neighbouring levels",
        needs=(_LEVELS,),
        rule=Rule("a number from 1.1 to 16", lambda factor: 1.1 <= factor <= 16),
    )
    coarsest: int = setting(
        64,
        "Size and schedule",
        "long side of the coarsest level in pixels, where nothing gives the number of levels; the "
        "nearest of whole levels",
        needs=_AUTOMATIC,
        rule=at_least(1, "a number of pixels"),
    )
    steps: tuple[int, ...] = setting(
        (),
        "Size and schedule",
        "optimiser steps of every level; or a comma-separated number for each, coarse to fine; "
        "empty chooses by size: 150 at the coarsest level, 35 at 512 pixels, 10 at the finest of a "
        "very large picture. Without neighbours one number is that of the finest level, coarser "
        "ones take more, and empty takes 160 at the coarsest and fewer at each finer one",
        first=True,
        rule=Rule("numbers above 0", lambda steps: min(steps, default=1) >= 1),
    )
    init: str = setting(
        "content",
        "Size and schedule",
        f"initial image: {', '.join(INITIALISATIONS)}, or the path of a picture to go on with, "
        "without noise and, unless levels or steps say otherwise, for 60 steps at full size",
        path="read",
        first=True,
        rule=Rule(f"one of {', '.join(INITIALISATIONS)}, or a path", bool),
    )
    init_noise: float = setting(
        0.0,
        "Size and schedule",
        "share of noise in the initial image, 0 to 1: strokes cover the photo more evenly",
        needs=_START,
        rule=_SHARE,
    )
    seed: int = setting(
        0,
        "Size and schedule",
        "seed of the noise of the initial image",
        needs=_NOISE,
        rule=at_least(0, "0 or a positive whole number"),
    )

    strength: float = setting(
        0.5,
        "Losses",
        "from 0, the photo, to 1, style alone: multiplies the weights and match_share, and below "
        "0.5 the noise of the start and the reach of color=palette; 0.5 leaves them as they are",
        first=True,
        rule=_SHARE,
    )
    content_weight: float = setting(
        0.5,
        "Losses",
        "weight of the content loss at levels of up to 64 pixels, all layers together",
        needs=_CONTENT[1:],
        first=True,
        rule=_AMOUNT,
    )
    content_decay: float = setting(
        0.5,
        "Losses",
        "factor of the content weight for each doubling of a level's long side above 64 pixels: "
        "faces and forms come about at coarse levels, strokes at fine ones",
        needs=_CONTENT,
        rule=_FACTOR,
    )
    style_weight: float = setting(
        1.0,
        "Losses",
        "weight of the style loss, all layers together",
        needs=_STYLE[1:],
        first=True,
        rule=_AMOUNT,
    )
    content_style_ratio: float = setting(
        0.0,
        "Losses",
        "content_weight as a multiple of the style weight, such as 1/10 (alpha / beta); 0 takes "
        "content_weight as it is",
        needs=_CONTENT[1:],
        rule=_AMOUNT,
    )
    tv_weight: float = setting(
        1.5,
        "Losses",
        "weight of the total variation: more smooths, 0 leaves all grain",
        needs=(above_0("strength"),),
        rule=_AMOUNT,
    )
    content_layers: tuple[str, ...] = setting(
        ("block4_conv2",), "Losses", "layers whose activations keep the content, comma-separated"
    )
    style_layers: tuple[str, ...] = setting(
        ("block1_conv1", "block2_conv1", "block3_conv1", "block4_conv1"),
        "Losses",
        "layers whose statistics carry the style, comma-separated",
    )
    style_layer_weights: tuple[float, ...] = setting(
        (),
        "Losses",
        "factor of each style layer, comma-separated, or one for all; empty shares the style "
        "weight alike",
        needs=_STYLE,
        rule=_WEIGHTS,
    )
    style_blend: tuple[float, ...] = setting(
        (),
        "Losses",
        "share of each style where there are several, comma-separated, such as 3,1; empty shares "
        "alike",
        needs=_BLEND,
        rule=_SHARES,
    )
    style_loss: str | objects.LossLike | Mapping[Any, float] = setting(
        "neighbours:1+gram:2",
        "Losses",
        f"what the style is compared by: {', '.join(STYLE_NORMALIZATIONS)}; several joined by + "
        "share the style weight alike, such as gram+histogram, or as gram:1+histogram:0.5 says",
        needs=_STYLE,
        first=True,
        reader=choices.read_losses,
    )
    content_loss: str | objects.LossLike | Mapping[Any, float] = setting(
        "features",
        "Losses",
        f"what the content is compared by: {', '.join(CONTENT_NORMALIZATIONS)}; several joined by "
        "+ share the content weight alike, such as features+laplacian, or as "
        "features:1+laplacian:9 says",
        needs=_CONTENT,
        reader=choices.read_losses,
    )
    matches: int = setting(
        1,
        "Matching",
        "how often the neighbours are matched anew at each level, each time for the steps of the "
        "level",
        needs=_MATCHING,
        rule=at_least(1, "1 or above"),
    )
    match_share: float = setting(
        0.25,
        "Matching",
        "share of the picture as it is, beside the content, in what is matched, 0 to 1: more is "
        "bolder",
        needs=_MATCHING,
        rule=_SHARE,
    )
    match_orientations: str = setting(
        "turned",
        "Matching",
        "orientations of the style to choose from: upright; turned, by quarter turns, too; or "
        "mirrored, their mirror images, too",
        ORIENTATIONS,
        needs=_MATCHED,
    )
    match_places: int = setting(
        16384,
        "Matching",
        "most places of 4x4 pixels of all styles to choose from; a random sample stands for more",
        needs=_MATCHING,
        rule=Rule("a number from 1 to 1000000", lambda count: 1 <= count <= 1_000_000),
    )
    match_evenness: float = setting(
        0.0,
        "Matching",
        "penalty on a place of the style that is used more often than others, such as 0.1",
        needs=_NEIGHBOURS,
        rule=_AMOUNT,
    )
    match_layers: tuple[str, ...] = setting(
        (),
        "Matching",
        "layers whose activations are matched, comma-separated; empty takes block1_conv1 to "
        "block4_conv3 of a VGG, and style_layers of another network",
        needs=_MATCHED,
    )
    final_steps: int = setting(
        0,
        PUBLISHED,
        "steps of a last pass at full size, with nearest_features as style_loss; 0 for none",
        needs=_STYLE,
        rule=at_least(0, "0 or above"),
    )
    final_fault: bool = setting(
        False,
        PUBLISHED,
        "nearest_features compares layers of at most 64 places a side by the layer before them, as "
        "the published program does by mistake",
        needs=_FINAL,
    )
    tv_form: str = setting(
        "squared",
        PUBLISHED,
        f"neighbour differences that total variation sums: {', '.join(TV_FORMS)}",
        TV_FORMS,
        needs=_TV,
    )
    content_normalization: str = setting(
        "relative",
        PUBLISHED,
        "what the content loss is divided by: relative to the photo's energy, or a published "
        f"scale: {', '.join(_distinct(CONTENT_NORMALIZATIONS)[1:])}",
        _distinct(CONTENT_NORMALIZATIONS),
        needs=_CONTENT,
    )
    style_normalization: str = setting(
        "relative",
        PUBLISHED,
        "what the style loss is divided by: relative to the painting's energy, or a published "
        f"scale: {', '.join(_distinct(STYLE_NORMALIZATIONS)[1:])}",
        _distinct(STYLE_NORMALIZATIONS),
        needs=_STYLE,
    )
    tv_normalization: str = setting(
        "mean", PUBLISHED, "mean or sum of the total variation", ("mean", "sum"), needs=_TV
    )

    outside: str = setting(
        "style",
        "Masks",
        "what becomes of the photo where the content mask is black: style, the plain blend of all "
        "styles; or keep, nothing",
        OUTSIDES,
    )
    color: str = setting(
        "palette",
        "Colour",
        "whose colours the picture has: style, those that the loss finds; palette, all of the "
        "style's, to which content and result are matched; content, the content's, of which only "
        "the lightness is repainted; match, the style's after it was recoloured to the content's; "
        "or tint, the content's, moved to the palette of the style",
        COLORS,
        first=True,
    )
    color_space: str = setting(
        "lab",
        "Colour",
        "where lightness is told from colour, and palettes are compared: lab, yiq, or rgb (match "
        "only)",
        COLOR_SPACES,
        needs=_PALETTE,
    )
    color_method: str = setting(
        "covariance",
        "Colour",
        "what match takes from the photo's palette: mean and covariance, or the histogram of each "
        "value",
        COLOR_METHODS,
        needs=_MATCH,
    )

    backbone: str | objects.BackboneLike = setting(
        "auto",
        "Network",
        "vgg19, vgg16, or auto: vgg19 where its weights can be had, otherwise the bundled vgg16; "
        "or custom, for a network that a program hands in",
        (*BACKBONES, choices.CUSTOM),
        reader=choices.read_backbone,
    )
    weights: str = setting(
        "",
        "Network",
        "a Keras weight file (.h5, .weights.h5) to use instead",
        path="read",
        needs=_BUILT,
    )
    pooling: str = setting(
        "avg", "Network", "pooling of the network: max or avg", ("max", "avg"), needs=_BUILT
    )
    padding: str = setting(
        "zeros",
        "Network",
        "what convolutions see around the picture: zeros, as in the published networks; reflect; "
        "replicate; or circular, for a picture that tiles the plane without seams",
        PADDINGS,
        needs=_BUILT,
    )
    activation_scale: str = setting(
        "own",
        PUBLISHED,
        "multiply activations to the scale of a network that is fed with other pixels: own (no), "
        "caffe (0 to 255, as in Keras), torchvision (over their deviation) or unit (0 to 1); "
        "matters to published loss scales only",
        ("own", "caffe", "torchvision", "unit"),
        needs=(*_SCALE, *_BUILT),
    )

    optimizer: str | objects.OptimizerLike = setting(
        "lbfgs", "Optimiser", f"one of {', '.join(OPTIMIZERS)}", OPTIMIZERS, first=True
    )
    learning_rate: float = setting(
        0.0,
        "Optimiser",
        "step size of the optimiser; 0 takes its own default",
        needs=_NAMED,
        rule=_AMOUNT,
    )
    rate_decay: float = setting(
        1.0,
        PUBLISHED,
        "factor of the learning rate from step to step; not for L-BFGS",
        needs=_RATE,
        rule=_FACTOR,
    )
    final_rate: float = setting(
        0.1,
        PUBLISHED,
        "last learning rate of a level relative to its first, along half a cosine; not for L-BFGS",
        needs=_RATE,
        rule=_FACTOR,
    )
    finest_rate: float = setting(
        1.0,
        PUBLISHED,
        "factor of the learning rate at the finest level",
        needs=_OWN_RATE,
        rule=_FACTOR,
    )
    pixel_range: float = setting(
        1.0,
        PUBLISHED,
        "what white is where learning rate, epsilons and total variation are concerned: "
        "1, or 255 as in many published recipes",
        needs=_UNITS,
        rule=Rule("1 or 255", lambda white: 0 < white < math.inf),
    )
    clip_pixels: bool = setting(
        True,
        "Optimiser",
        "keep pixels between black and white in every step, not only at the end",
        needs=_NAMED,
    )
    lbfgs_history: int = setting(
        10,
        "Optimiser",
        "past steps from which L-BFGS learns curvature; lbfgs keeps a third of a level's at most",
        needs=_ANY_LBFGS,
        rule=at_least(1, "at least 1"),
    )
    lbfgs_octaves: int = setting(
        0,
        "Optimiser",
        "over how many octaves of coarser pictures lbfgs smooths its gradient, such as 4: less "
        "grain and more of the painting's colours, contours are kept less",
        needs=_LBFGS,
        rule=Rule("a number from 0 to 8", lambda octaves: 0 <= octaves <= 8),
    )
    laplacian_bands: int = setting(
        0,
        "Optimiser",
        "bands of a Laplacian pyramid that adam or rmsprop moves, such as 8, beside what remains: "
        "large areas move as readily as pixels; 0 moves the pixels",
        needs=_BANDED,
        rule=Rule("a number from 0 to 16", lambda bands: 0 <= bands <= 16),
    )
    adam_beta_1: float = setting(
        0.9, PUBLISHED, "decay of Adam's first moment", needs=_ADAM, rule=_PART
    )
    adam_beta_2: float = setting(
        0.99, PUBLISHED, "decay of Adam's second moment", needs=_ADAM, rule=_PART
    )
    adam_epsilon: float = setting(
        1e-14, PUBLISHED, "epsilon of Adam as in PyTorch", needs=_ADAM, rule=_AMOUNT
    )
    adam_epsilon_hat: float = setting(
        0.0,
        PUBLISHED,
        "epsilon of Adam as in TensorFlow and Keras, before bias correction",
        needs=_ADAM,
        rule=_AMOUNT,
    )
    average: float = setting(
        0.9,
        PUBLISHED,
        "share of the past in the running average that Adam shows; 0 shows the last step",
        needs=_ADAM,
        rule=_PART,
    )

    device: str = setting(
        "auto", "Machine", "auto, cpu, gpu, or a TensorFlow name such as GPU:1", first=True
    )
    precision: str = setting(
        "auto",
        "Machine",
        "number format of the convolutions: float32, bfloat16, or auto for bfloat16 where the "
        "processor multiplies in it (AMX); all else stays float32",
        ("auto", "float32", "bfloat16"),
        needs=_BUILT,
    )
    tile_size: str = setting(
        "auto",
        "Machine",
        "side of the tiles that a large picture is worked on in, in pixels; auto takes tiles where "
        "memory_limit asks for them, 0 never does",
        amount=True,
        rule=_SIDE,
    )
    memory_limit: str = setting(
        "auto",
        "Machine",
        "memory to stay within, such as 4GB, by way of tiles; auto is 80% of what is free, and no "
        "limit on a GPU until its memory runs out",
        amount=True,
        first=True,
        rule=_LIMIT,
    )
    jit_compile: bool = setting(
        False,
        "Machine",
        "compile the step with XLA, where a level is not worked on in tiles",
        needs=_WHOLE,
    )
    run_eagerly: bool = setting(False, "Machine", "run without graphs, to debug")
    max_pixels: int = setting(
        80_000_000,
        "Machine",
        "largest input picture accepted, in pixels, against forged files",
        rule=at_least(1, "at least 1"),
    )

    def __post_init__(self) -> None:
        self._settle()
        derived = {"content_weight"} if self.content_style_ratio else set()
        warn_idle((self, self._settings().keys() - derived))

    def _settle(self) -> None:
        """Converts all settings to their types, and checks them."""
        coerce_all(self)
        _check_together(self)
        if self.content_style_ratio:
            weight = self.content_style_ratio * self.style_weight
            if self.content_weight not in (weight, type(self).content_weight):
                raise _two_content_weights(self.content_weight, self.content_style_ratio)
            object.__setattr__(self, "content_weight", weight)
        _check_objective(self.with_strength)
        _check_layers(self)

    @property
    def goes_on(self) -> bool:
        """Whether the initial image is a picture file."""
        return self.init not in INITIALISATIONS

    @property
    def content_losses(self) -> choices.Losses:
        """The weight of each loss in `content_loss`, by its name or by the loss object."""
        return choices.losses_of("content_loss", self.content_loss)

    @property
    def style_losses(self) -> choices.Losses:
        """The weight of each loss in `style_loss`, by its name or by the loss object."""
        return choices.losses_of("style_loss", self.style_loss)

    @property
    def matched_layers(self) -> tuple[str, ...]:
        """The layers of the losses that match places."""
        if self.match_layers:
            return self.match_layers
        return self.style_layers if self.network_name == choices.CUSTOM else MATCHED_LAYERS

    @property
    def matched(self) -> bool:
        """Whether places are matched at the beginning of each level."""
        named = not self.style_losses.keys().isdisjoint(MATCHING)
        return named and bool(self.with_strength.style_weight)

    @property
    def passes(self) -> int:
        """How often each level is passed through, with new matches each time."""
        return self.matches if self.matched else 1

    @property
    def matching(self) -> bool:
        """Whether any loss matches places of the picture with places of the style."""
        named = not self.style_losses.keys().isdisjoint((*MATCHING, FINAL))
        return self.ends_apart or (named and self.style_weight > 0)

    @property
    def ends_apart(self) -> bool:
        """Whether there is a last pass at full size with a style loss of its own."""
        style = self.style_weight > 0 and self.strength > 0 and bool(self.style_layers)
        return self.final_steps > 0 and style

    @property
    def final(self) -> StyleTransferConfig:
        """The settings of the last pass, or these if there is none."""
        if not self.ends_apart:
            return self
        changes = {"style_loss": FINAL, "style_normalization": "relative", "final_steps": 0}
        return self.from_dict({**self._settings(), **changes})

    @property
    def network_name(self) -> str:
        """The name of the backbone; `custom` for an object that is no VGG of nst_tf."""
        return choices.network_name(self.backbone)

    @property
    def network(self) -> dict[str, Any]:
        """The settings of the network, as arguments of `nst_tf.backbones.build`."""
        names = ("pooling", "precision", "padding", "activation_scale")
        return {"path": self.weights, **{name: getattr(self, name) for name in names}}

    @property
    def whole(self) -> str:
        """The setting that rules out tiles, as `name=value`, or an empty string."""
        if self.padding == "circular":
            return "padding=circular"
        if self.ends_apart:
            return f"final_steps={self.final_steps}"
        for kind in ("content", "style"):
            for loss in getattr(self, f"{kind}_losses"):
                if loss in WHOLE_LOSSES or not getattr(loss, "additive", True):
                    chosen = choices.written_losses(getattr(self, f"{kind}_loss"))
                    return f"{kind}_loss={chosen}"
        return ""

    @property
    def with_strength(self) -> StyleTransferConfig:
        """The settings with `strength` folded into the weights and the noise of the start."""
        return self if self.strength == NEUTRAL_STRENGTH else self._with_strength

    @functools.cached_property
    def _with_strength(self) -> StyleTransferConfig:
        more = self.strength / NEUTRAL_STRENGTH
        changes = {
            "strength": NEUTRAL_STRENGTH,
            "content_style_ratio": 0.0,
            "content_weight": (2 - more) ** _STEEPNESS * self.content_weight,
            "style_weight": more**_STEEPNESS * self.style_weight,
            "tv_weight": more**_STEEPNESS * self.tv_weight,
            "init_noise": min(1.0, more) * self.init_noise,
            "match_share": min(1.0, more * self.match_share),
        }
        return self.from_dict({**self._settings(), **changes})

    def at_level(self, long_side: int) -> StyleTransferConfig:
        """Returns the settings with the content weight of a level.

        Args:
            long_side: long side of the level, in pixels.
        """
        doublings = max(0.0, math.log2(long_side / _DECAY_FROM))
        changes = {
            "content_style_ratio": 0.0,
            "content_weight": self.content_decay**doublings * self.content_weight,
            "content_decay": 1.0,
        }
        return self.from_dict({**self._settings(), **changes})

    def replace(self, **changes: Any) -> StyleTransferConfig:
        """Returns a copy with some settings changed, and checks it.

        A new content weight replaces a ratio, and a new ratio replaces a content weight.

        Raises:
            ConfigError: a change is no setting, or not valid.
        """
        return self.from_dict(merge(self._settings(), changes), warn_of=changes)

    def _settings(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as JSON-ready values, for a recipe or a report.

        An optimiser object becomes `{"class": ..., "settings": ...}`. Losses become their written
        form, and a network its name.
        """
        named = {
            "backbone": self.network_name,
            "content_loss": choices.written_losses(self.content_loss),
            "style_loss": choices.written_losses(self.style_loss),
        }
        return {name: objects.plain(value) for name, value in {**self._settings(), **named}.items()}

    @classmethod
    def from_dict(
        cls, settings: Mapping[str, Any], warn_of: Collection[str] = ()
    ) -> StyleTransferConfig:
        """Returns the config of a result of `to_dict`.

        Args:
            settings: values of fields by name; other fields have their defaults.
            warn_of: names of settings to warn about if they have no effect.

        Raises:
            ConfigError: a name is no setting, or its value is not valid.
        """
        valid = [field.name for field in dataclasses.fields(cls)]
        for name in settings:
            if name not in valid:
                raise errors.unknown_name("setting", name, valid)
        config = object.__new__(cls)
        for field in dataclasses.fields(cls):
            object.__setattr__(config, field.name, settings.get(field.name, field.default))
        config._settle()
        warn_idle((config, warn_of))
        return config

    @classmethod
    def preset(cls, name: str, **changes: Any) -> StyleTransferConfig:
        """Returns the settings of a published recipe.

        Layers that the backbone lacks are replaced by the nearest ones; each replacement is logged.

        Args:
            name: name of a preset in `nst_tf.presets`.
            **changes: settings that differ from the recipe.

        Raises:
            ConfigError: there is no such preset, or a change is not valid.
        """
        return cls.from_dict(merge(published(name, changes), changes), warn_of=changes)


def of_group(group: str) -> set[str]:
    """Returns the names of the settings in a group of the help."""
    fields = dataclasses.fields(StyleTransferConfig)
    return {field.name for field in fields if field.metadata["group"] == group}


def published(preset: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a preset, with layers that the backbone has.

    Args:
        preset: name of the preset.
        changes: settings that will override these; only the backbone matters here.

    Raises:
        ConfigError: there is no such preset.
    """
    settings = presets.get(preset).settings
    backbone = changes.get("backbone", settings["backbone"])
    return _fitted(settings, preset, backbone) if backbone in vgg_layers.CONVOLUTIONS else settings


_RATIO = frozenset(("style_weight", "content_style_ratio"))  # Give the content weight.


def merge(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings with changes, and resolves the two ways to weigh the content.

    A new content weight replaces an old ratio. A content weight derived from a ratio is dropped if
    the ratio or the style weight is new.

    Raises:
        ConfigError: the changes give both a content weight and a ratio.
    """
    merged = {**settings, **changes}
    if "content_weight" in changes:
        if changes.get("content_style_ratio"):
            raise _two_content_weights(changes["content_weight"], changes["content_style_ratio"])
        merged["content_style_ratio"] = 0.0
    elif merged.get("content_style_ratio") and not _RATIO.isdisjoint(changes):
        merged.pop("content_weight", None)
    return merged


def _two_content_weights(weight: float, ratio: float) -> errors.ConfigError:
    return errors.ConfigError(
        f"content_weight={weight} and content_style_ratio={ratio} both give the weight of the "
        "content; leave one out."
    )


def _fitted(settings: Mapping[str, Any], preset: str, backbone: str) -> dict[str, Any]:
    """Returns the settings of a preset with each layer replaced by the backbone's nearest one."""
    fitted = dict(settings)
    for kind in ("content_layers", "style_layers"):
        fitted[kind] = tuple(vgg_layers.nearest(name, backbone) for name in settings[kind])
        for name, found in zip(settings[kind], fitted[kind], strict=True):
            wanted = vgg_layers.canonical(name, "vgg19")
            if wanted != found:
                logger.info("%s: %s has no %s; %s stands for it.", preset, backbone, wanted, found)
    return fitted


def _check_together(config: StyleTransferConfig) -> None:
    """Refuses combinations of settings that do not fit each other."""
    _check_losses(config, "content", CONTENT_NORMALIZATIONS)
    _check_losses(config, "style", STYLE_NORMALIZATIONS)
    if config.whole and config.tile_size not in ("auto", "0"):
        raise errors.ConfigError(
            f"{config.whole} looks at the picture as a whole, and tile_size={config.tile_size} "
            "cuts it into tiles; leave one of them out."
        )
    if config.network_name == choices.CUSTOM and config.padding == "circular":
        raise errors.ConfigError(
            "padding=circular is for the networks of nst_tf, and backbone=custom pads in its own "
            "way; expected padding=zeros."
        )
    octaves = config.lbfgs_octaves or getattr(config.optimizer, "octaves", 0)
    if octaves and config.padding == "circular":
        raise errors.ConfigError(
            "lbfgs_octaves smooths up to the border, which a picture with padding=circular goes on "
            "across; set lbfgs_octaves, or the octaves of an LBFGS, to 0."
        )
    bands = config.laplacian_bands or getattr(config.optimizer, "bands", 0)
    if bands and config.padding == "circular":
        raise errors.ConfigError(
            "laplacian_bands end at the border, which a picture with padding=circular goes on "
            "across; set laplacian_bands, or the bands of the optimiser, to 0."
        )
    if config.color == "content" and config.color_space == "rgb":
        raise errors.ConfigError(
            "color=content keeps the photo's colours and repaints its lightness, and "
            "color_space=rgb has no lightness; expected lab or yiq."
        )
    each = config.style_layer_weights
    if len(each) > 1 and len(each) != len(config.style_layers):
        raise errors.ConfigError(
            f"style_layer_weights has {len(each)} numbers for {len(config.style_layers)} "
            "style_layers; give one weight for each layer, one for all, or none."
        )


def _check_losses(
    config: StyleTransferConfig, kind: str, normalizations: Mapping[str, tuple[str, ...]]
) -> None:
    """Refuses an unknown loss, and a normalisation that a named loss lacks."""
    names = getattr(config, f"{kind}_losses")
    normalization = getattr(config, f"{kind}_normalization")
    for name in names:
        if not isinstance(name, str):
            continue  # A loss object has its own normalisation.
        if choices.holds_objects(name):
            raise errors.ConfigError(
                f"{kind}_loss is {name}, a loss that a program made for itself; only a program "
                "that has it can use it."
            )
        if name not in normalizations:
            raise errors.unknown_name(f"{kind}_loss", name, normalizations)
        if normalization not in normalizations[name]:
            raise errors.ConfigError(
                f"{kind}_normalization is {normalization!r}; expected one of "
                f"{', '.join(normalizations[name])} with the {kind} loss {name}."
            )


def read_bytes(amount: str) -> int:
    """Returns the bytes of an amount such as `4GB`, in powers of ten, or 0 if it is not valid."""
    match = re.fullmatch(r"([0-9.]+) *([KMGT]?)B?", amount.strip().upper())
    try:
        return round(float(match[1]) * 1000 ** " KMGT".index(match[2] or " ")) if match else 0
    except (ValueError, OverflowError):
        return 0


def _check_objective(config: StyleTransferConfig) -> None:
    if not has_objective(config):
        raise errors.ConfigError(
            "content_weight and style_weight leave nothing to optimise; give at least one of them, "
            "with layers to work on, a value above 0. The total variation alone only smooths."
        )
    largest = max(config.content_weight, config.style_weight)
    if largest < _LEAST_WEIGHT:
        raise errors.ConfigError(
            f"the larger one of content_weight and style_weight is {largest:.3g}; expected "
            f"{_LEAST_WEIGHT} or above, as 32-bit numbers cannot hold smaller gradients. "
            "Their ratio is what counts: multiply all of them by one number."
        )


def has_objective(config: StyleTransferConfig) -> bool:
    """Returns whether any term of content or style has a weight above 0."""
    style = config.style_layers and (
        not config.style_layer_weights or any(config.style_layer_weights)
    )
    return bool(
        (config.content_weight and config.content_layers) or (config.style_weight and style)
    )


def _check_layers(config: StyleTransferConfig) -> None:
    """Refuses a layer that the backbone lacks; `auto` may become VGG19, which has all layers.

    Layers of a custom network are checked by `StyleTransfer`.
    """
    backbone = "vgg19" if config.backbone == "auto" else config.network_name
    for name in (*config.content_layers, *config.style_layers, *config.match_layers):
        vgg_layers.canonical(name, backbone)
    for kind in ("content_layers", "style_layers", "match_layers"):
        chosen = [vgg_layers.canonical(name, backbone) for name in getattr(config, kind)]
        for name in chosen:
            if chosen.count(name) > 1:
                raise errors.ConfigError(f"{kind} names {name} twice; name each layer once.")
