"""The record inside a finished picture from which it can be made again."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from nst_tf import config as configs
from nst_tf import errors, files, images

_LONGEST_NAME = 120  # Characters of a name that is made from those of the inputs.


@dataclasses.dataclass(frozen=True)
class Paths:
    """The files that a picture is made from.

    Attributes:
        content: the photo.
        styles: the paintings.
        content_mask: or an empty text.
        style_masks: one for each painting, or none.
    """

    content: str
    styles: Sequence[str]
    content_mask: str = ""
    style_masks: Sequence[str] = ()

    @classmethod
    def of(cls, options: configs.FileOptions | configs.SweepOptions) -> Paths:
        """Returns those of a command, those in folders included.

        Raises:
            ConfigError: photo or painting was not given.
            ImageError: a folder holds no picture.
        """
        for role, paths in (("content", [options.content]), ("style", options.style)):
            if not (paths and all(paths)):
                raise errors.ConfigError(f"--{role} is missing; expected --{role}=PICTURE.")
        styles, masks = images.expand(options.style), images.expand(options.style_mask)
        return cls(options.content, styles, options.content_mask, masks)

    def roles(self, config: configs.StyleTransferConfig) -> dict[str, str]:
        """Returns the path of every picture that goes into a result, by its role."""
        init = None if config.init in configs.INITIALISATIONS else config.init
        masks = self.content_mask or None, self.style_masks
        return _roles(self.content, self.styles, *masks, init=init)

    def pictures(self, max_pixels: int, memory_limit: str = "auto") -> Pictures:
        """Returns them decoded.

        Args:
            max_pixels: of each.
            memory_limit: for this process, as in the config.

        Raises:
            ImageError: one cannot be used.
            ConfigError: one takes more memory than there may be.
        """

        def load(path: str) -> images.Picture:
            return load_within(memory_limit, path, max_pixels)

        return Pictures(
            load(self.content),
            list(map(load, self.styles)),
            load(self.content_mask) if self.content_mask else None,
            list(map(load, self.style_masks)),
        )


@dataclasses.dataclass(frozen=True)
class Pictures:
    """The pictures that another is made from; see `Paths`."""

    photo: images.Picture
    paintings: Sequence[images.Picture]
    content_mask: images.Picture | None = None
    style_masks: Sequence[images.Picture] = ()

    def roles(self, config: configs.StyleTransferConfig) -> dict[str, images.Picture]:
        """Returns every picture that goes into a result, by its role.

        Raises:
            ImageError: the initial picture cannot be used.
        """
        init = None
        if config.init not in configs.INITIALISATIONS:
            init = load_within(config.memory_limit, config.init, config.max_pixels)
        masks = self.content_mask, self.style_masks
        return _roles(self.photo, self.paintings, *masks, initial=init)


def load_within(memory_limit: str, path: str, max_pixels: int) -> images.Picture:
    """Returns a picture decoded, unless that takes too much memory.

    Args:
        memory_limit: for this process, as in the config.
        path: of the picture.
        max_pixels: of it.

    Raises:
        ImageError: it cannot be used.
        ConfigError: with what the process has taken, it would go beyond the limit.
    """
    if memory_limit != "auto":
        needed = images.decoding_bytes(path, max_pixels)
        taken = psutil.Process().memory_info().rss
        if taken + needed > configs.read_bytes(memory_limit):
            raise errors.ConfigError(
                f"{path}: decoding it takes about {needed / 1e9:.1f} GB beside the "
                f"{taken / 1e9:.1f} GB that are in use, and memory_limit is {memory_limit}. Shrink "
                "the picture, or raise memory_limit."
            )
    return images.load(path, max_pixels)


def _roles(
    photo: Any, paintings: Sequence[Any], content_mask: Any, style_masks: Sequence[Any], **more: Any
) -> dict[str, Any]:
    singles = {"content mask": content_mask, **more}
    return {
        "content": photo,
        **_numbered("style", paintings),
        **_numbered("style mask", style_masks),
        **{role: each for role, each in singles.items() if each is not None},
    }


def _numbered(role: str, pictures: Sequence[Any]) -> dict[str, Any]:
    several = len(pictures) > 1
    return {
        f"{role} {number}" if several else role: each for number, each in enumerate(pictures, 1)
    }


def name(content: str, styles: Sequence[str]) -> str:
    """Returns the name of what is made from pictures, without a suffix."""
    return "_".join(Path(path).stem for path in (content, *styles))[:_LONGEST_NAME]


def in_words(content: str, styles: Sequence[str]) -> str:
    """Returns what is made from pictures, as a person is told."""
    return f"{content} in the manner of {' and '.join(styles)}"


def input_hashes(paths: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Returns name and SHA-256 of each input file, by its role.

    Args:
        paths: path by role, such as `content`.
    """
    return {
        role: {"name": os.path.basename(path), "sha256": files.file_hash(path)}
        for role, path in paths.items()
    }


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
