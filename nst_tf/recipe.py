"""The record inside a finished picture from which it can be made again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
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


def pictures(
    config: configs.StyleTransferConfig, photo: images.Picture, paintings: Sequence[images.Picture]
) -> dict[str, images.Picture]:
    """Returns every picture that goes into a result, by its role.

    Raises:
        ImageError: the initial picture cannot be used.
    """
    roles = {"content": photo}
    for number, painting in enumerate(paintings, 1):
        roles[f"style {number}" if len(paintings) > 1 else "style"] = painting
    if config.init not in configs.INITIALISATIONS:
        roles["initial"] = images.load(config.init, config.max_pixels)
    return roles


def made_with(
    config: configs.StyleTransferConfig, pictures: Mapping[str, images.Picture]
) -> dict[str, Any]:
    """Returns what a run is made with, as far as it is known before there is a network.

    Args:
        config: the settings.
        pictures: every picture that goes into the result, by its role.
    """
    hashes = {f"{role} picture": picture.digest for role, picture in pictures.items()}
    return {"config": config.to_dict(), "inputs": hashes}


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns in words where two records of what a run is made with differ.

    Args:
        then: sections of names and values, as in the checkpoint.
        now: likewise; sections that are missing here are not compared.
    """
    return [
        f"{name}: {_short(then[section].get(name))} in the checkpoint, {_short(value)} now"
        for section in now
        for name, value in {**dict.fromkeys(then[section]), **now[section]}.items()
        if then[section].get(name) != value
    ]


def require_same(then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises ConfigError, with all `differences`, where there are any."""
    found = differences(then, now)
    if found:
        raise errors.ConfigError(
            f"cannot go on from the checkpoint, which is of another picture. {'; '.join(found)}. "
            "Give what it was made with, or start anew in another folder."
        )


def _short(value: Any) -> str:
    text = "nothing" if value is None else f"{value}"
    return f"{text[:12]}..." if len(text) == 64 else text  # A hash.


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
