"""The record inside a finished picture from which it can be made again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from nst_tf import config as configs
from nst_tf import errors, files, images


def input_hashes(paths: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Returns name and SHA-256 of each input file, by its role.

    Args:
        paths: path by role, such as `content`.
    """
    return {
        role: {"name": os.path.basename(path), "sha256": files.file_hash(path)}
        for role, path in paths.items()
    }


def input_files(
    config: configs.StyleTransferConfig, options: configs.FileOptions
) -> dict[str, str]:
    """Returns the path of every picture that goes into the result, by its role."""
    paths = {"content": options.content, "style": options.style}
    if config.init not in configs.INITIALISATIONS:
        paths["init"] = config.init
    return paths


def dump(
    config: configs.StyleTransferConfig,
    versions: Mapping[str, str],
    backbone: Mapping[str, str],
    inputs: Mapping[str, Any],
) -> str:
    """Returns a recipe as JSON text in ASCII.

    Args:
        config: the settings, `auto` resolved.
        versions: of the software.
        backbone: name, weight source and hash.
        inputs: what `input_hashes` returned.
    """
    recipe = {
        "config": config.to_dict(),
        "versions": dict(versions),
        "backbone": dict(backbone),
        "inputs": inputs,
    }
    return json.dumps(recipe)


def load(path: str) -> dict[str, Any]:
    """Reads the recipe of a picture.

    Raises:
        ImageError: the file is no picture, or holds no recipe.
    """
    try:
        recipe = json.loads(images.read_recipe(path))
        if recipe["config"].keys() and recipe["inputs"].keys():
            return recipe
    except (ValueError, TypeError, KeyError, AttributeError):
        pass
    raise errors.ImageError(
        f"{path}: holds no recipe; expected a picture that this program wrote and no other has "
        "saved since."
    )


def check_inputs(recipe: Mapping[str, Any], inputs: Mapping[str, Mapping[str, str]]) -> None:
    """Raises ImageError where an input is not the file that the recipe was made with."""
    for role, made_with in recipe["inputs"].items():
        given = inputs.get(role)
        if given is None or given["sha256"] != made_with["sha256"]:
            raise errors.ImageError(
                f"{given['name'] if given else role}: not the {role} picture of the recipe, which "
                f"was {made_with['name']} (SHA-256 {made_with['sha256'][:12]}...). Give the same "
                "file, or leave out --replay."
            )
