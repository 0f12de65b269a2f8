"""Networks whose activations the losses compare. One network a file; see `get`."""

from __future__ import annotations

from nst_tf import config as configs
from nst_tf import errors
from nst_tf.backbones import vgg16, vgg19, weights
from nst_tf.backbones.architecture import Architecture
from nst_tf.backbones.backbone import IMAGE, Backbone, LayerCost
from nst_tf.backbones.layer import Layer
from nst_tf.backbones.segment import LINK, Segment, split

__all__ = [
    "IMAGE",
    "LINK",
    "Architecture",
    "Backbone",
    "Layer",
    "LayerCost",
    "Segment",
    "build",
    "get",
    "split",
]

_ARCHITECTURES = {
    architecture.name: architecture for architecture in (vgg16.ARCHITECTURE, vgg19.ARCHITECTURE)
}


def get(identifier: str | Architecture) -> Architecture:
    """Returns the architecture of that name, or the given one.

    Raises:
        ConfigError: there is no backbone of that name.
    """
    if isinstance(identifier, Architecture):
        return identifier
    if identifier not in _ARCHITECTURES:
        raise errors.unknown_name("backbone", identifier, _ARCHITECTURES)
    return _ARCHITECTURES[identifier]


def build(
    name: str,
    layers: tuple[str, ...],
    *,
    path: str = "",
    pooling: str = "max",
    precision: str = "float32",
    padding: str = "zeros",
    activation_scale: str = "own",
    progress: weights.Progress | None = None,
) -> Backbone:
    """Returns the backbone of a config, with its weights loaded.

    Args:
        name: `vgg19`, `vgg16`, or `auto` for the first of the two with available weights.
        layers: layers to expose, in any spelling that `nst_tf.config.vgg_layers.canonical` knows.
        path: path of a Keras weight file to load instead of the ImageNet weights.
        pooling: `max` or `avg`.
        precision: dtype of the convolutions alone: `float32`, `bfloat16`, or `auto` for the faster
            one on this machine.
        padding: `zeros`, `reflect`, `replicate` or `circular`; see `Backbone`.
        activation_scale: `own`, `caffe`, `torchvision` or `unit`; see `Backbone`.
        progress: called with the bytes done and the bytes in all during a download.

    Raises:
        ConfigError: a name is unknown.
        WeightsError: the weights are not available, or the file does not fit.
    """
    found = weights.locate(_candidates(name), path, progress)
    return Backbone(
        layers,
        found.architecture,
        found,
        pooling=pooling,
        precision=precision,
        padding=padding,
        activation_scale=activation_scale,
    )


def _candidates(name: str) -> list[Architecture]:
    if name == configs.CUSTOM:
        raise errors.ConfigError(
            "backbone=custom is a network that a program hands to nst_tf.StyleTransfer, and there "
            "is none; expected vgg16, vgg19 or auto."
        )
    if name == "auto":
        return [_ARCHITECTURES["vgg19"], _ARCHITECTURES["vgg16"]]
    return [get(name)]
