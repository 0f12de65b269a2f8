"""Names and strides of the VGG layers, known without building a network.

Keras calls a layer `block4_conv2`, papers call it `conv4_2`, and PyTorch users call it `relu4_2`.
All three names mean the activations after the ReLU.
"""

from __future__ import annotations

import re

from nst_tf import errors

CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""Convolutions in each of the five blocks (Simonyan and Zisserman, 2015, table 1)."""


def names(backbone: str) -> list[str]:
    """Returns the layer names of `backbone`, from the image to the deepest layer."""
    found = []
    for block, count in enumerate(CONVOLUTIONS[backbone], start=1):
        found += [f"block{block}_conv{index}" for index in range(1, count + 1)]
        found.append(f"block{block}_pool")
    return found


def canonical(name: str, backbone: str) -> str:
    """Returns the Keras name of a layer, given in any of the three spellings.

    Args:
        name: `block4_conv2`, `conv4_2`, `relu4_2` or `block4_pool`.
        backbone: a key of `CONVOLUTIONS`. For any other network the name is returned unchanged.

    Raises:
        ConfigError: the backbone has no such layer.
    """
    if backbone not in CONVOLUTIONS:
        return name
    keras_name = spelled(name)
    valid = names(backbone)
    if keras_name not in valid:
        raise errors.unknown_name(f"layer of {backbone}", keras_name, valid)
    return keras_name


def spelled(name: str) -> str:
    """Returns a layer name in the spelling of Keras, whether or not the layer exists."""
    match = re.fullmatch(r"(?:conv|relu)(\d)_(\d)", name)
    return f"block{match[1]}_conv{match[2]}" if match else name


def nearest(name: str, backbone: str) -> str:
    """Returns the layer of `backbone` nearest to a layer of any VGG, by its Keras name.

    It is the layer of the same name, or, if the block has fewer convolutions, the last one in it.

    Args:
        name: a layer name in any of the spellings that `canonical` takes.
        backbone: a key of `CONVOLUTIONS`.

    Raises:
        ConfigError: no VGG has such a layer.
    """
    known = canonical(name, "vgg19")
    match = re.fullmatch(r"block(\d)_conv(\d)", known)
    if not match:
        return known
    block = int(match[1])
    return f"block{block}_conv{min(int(match[2]), CONVOLUTIONS[backbone][block - 1])}"


def stride(name: str) -> int:
    """Returns the pixels between two neighbouring positions of a layer.

    Args:
        name: a Keras layer name, as `canonical` returns it.
    """
    block = int(name[len("block")])
    return 2**block if name.endswith("pool") else 2 ** (block - 1)
