"""The recipe: the record inside a finished picture from which it can be made again."""

from __future__ import annotations

import dataclasses
import logging
import os
import reprlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from nst_tf import config as configs
from nst_tf import errors
from nst_tf.config import choices, objects
from nst_tf.imaging import images
from nst_tf.runtime import files

logger = logging.getLogger("nst_tf")

_LONGEST_TEXT, _LONGEST_LIST = 4096, 10_000  # In a recipe; a path may be that long.
_LONGEST_QUOTE = 300  # Characters of a recipe in one message.
_FILES = {"init": "begins with the picture", "weights": "uses the weights"}
_BEFORE = {"level_factor": 2**0.5, "coarsest": 181, "content_decay": 1.0}
"""Settings that were fixed in versions that do not record them."""
_OF_THE_MACHINE = configs.of_group("Machine") - {"precision"}
"""Settings that affect at most the last bits, and belong to the machine they are given on."""


def input_hashes(
    paths: Mapping[str, str], hash_of: Callable[[str], str] = files.file_hash
) -> dict[str, dict[str, str]]:
    """Returns name and SHA-256 of each input file, by role.

    Args:
        paths: path of each file, by role, such as `content`.
        hash_of: returns the SHA-256 of a file.
    """
    return {
        role: {"name": os.path.basename(path), "sha256": hash_of(path)}
        for role, path in paths.items()
    }


def inputs_of(pictures: Mapping[str, images.Picture]) -> dict[str, dict[str, str]]:
    """Returns the recipe's entries of pictures, by role.

    An entry has the name and SHA-256 of the file. For a picture that was no file it has
    `Picture.digest`, marked by `"of": "pixels"`.

    Args:
        pictures: the pictures by role, as `imaging.sources.Pictures.roles` returns them.
    """
    return {_role(role): _described(picture) for role, picture in pictures.items()}


def _role(role: str) -> str:
    return "init" if role == "initial" else role  # The name of the setting.


def _described(picture: images.Picture, by_pixels: bool = False) -> dict[str, str]:
    file = picture.file
    if file and not by_pixels:
        return {"name": file.name, "sha256": file.sha256}
    return {"name": file.name if file else "", "sha256": picture.digest, "of": "pixels"}


def require_unchanged(
    paths: Mapping[str, str],
    hashes: Mapping[str, Mapping[str, str]],
    pictures: Mapping[str, images.Picture],
) -> None:
    """Checks that no file changed between its hashing and its reading.

    Args:
        paths: path of each file, by role.
        hashes: result of `input_hashes`, from before the reading.
        pictures: the pictures read from the files, as `inputs_of` takes them.

    Raises:
        ImageError: a file changed.
    """
    read = inputs_of(pictures)
    for role, path in paths.items():
        if read[role] != hashes[role]:
            raise errors.ImageError(
                f"{path}: the file changed while it was read; run it again once it is whole."
            )


def record(
    config: configs.StyleTransferConfig,
    backbone: Mapping[str, str],
    surroundings: Mapping[str, Mapping[str, Any]],
    inputs: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    """Returns a recipe, ready for JSON.

    Args:
        config: the settings, `auto` resolved.
        backbone: name, weight source and weight hash of the network.
        surroundings: `versions` of the software and properties of the `machine`.
        inputs: result of `inputs_of`.
    """
    return {"config": config.to_dict(), "backbone": backbone, "inputs": inputs, **surroundings}


def provenance(
    config: configs.StyleTransferConfig, pictures: Mapping[str, images.Picture]
) -> dict[str, Any]:
    """Returns settings and inputs of a run, which are known before the network is.

    Args:
        config: the settings.
        pictures: all input pictures, by role.
    """
    hashes = {f"{role} picture": picture.digest for role, picture in pictures.items()}
    return {"config": config.to_dict(), "inputs": hashes}


def with_network(
    config: configs.StyleTransferConfig, then: Mapping[str, Any]
) -> configs.StyleTransferConfig:
    """Returns settings with `auto` replaced by the network and precision of an earlier run.

    Args:
        config: the settings.
        then: provenance of the earlier run.
    """
    network = then.get("backbone", {}).get("network")
    if config.backbone == "auto" and network in configs.BACKBONES:
        config = config.replace(backbone=network)
    if config.precision == "auto":
        config = config.replace(precision=then.get("config", {}).get("precision", "auto"))
    return config


# Comparing two records.


@dataclasses.dataclass(frozen=True)
class _File:
    """An input of a recipe: a file, compared without its name, or the pixels of a picture."""

    sha256: str
    of: str
    name: str = dataclasses.field(compare=False)

    def __str__(self) -> str:
        hashed = "SHA-256 of its pixels" if self.of == "pixels" else "SHA-256"
        name = _quoted(self.name) if self.name else "a picture that was no file"
        return f"{name} ({hashed} {self.sha256[:12]}...)"


def essence(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a recipe in the sections of `provenance`, for `require_same`."""
    names = ("config", "objective", "versions", "machine")
    sections = {name: recipe[name] for name in names if name in recipe}
    sections["config"] = {**_BEFORE, **sections["config"]}
    if network := recipe.get("backbone"):
        sections["backbone"] = {"network": network["name"], "its weights": network["sha256"]}
        if sections["config"].get("backbone") == "auto":
            sections["config"] = {**sections["config"], "backbone": network["name"]}
    return {**sections, "inputs": _named(recipe["inputs"])}


def _named(inputs: Mapping[str, Mapping[str, str]]) -> dict[str, _File]:
    return {
        f"{role} picture": _File(each["sha256"], each.get("of", ""), each["name"])
        for role, each in inputs.items()
    }


def differences(
    then: Mapping[str, Any], now: Mapping[str, Any], place: str = "checkpoint"
) -> list[str]:
    """Returns the differences between two records, in words.

    Args:
        then: sections of names and values, from `place`.
        now: sections of the present run. Only sections that both records have are compared.
        place: where the first record comes from.
    """
    return [
        f"{_printable(name)}: {_short(then[section].get(name))} in the {place}, {_short(value)} now"
        for section in now
        if isinstance(then.get(section), Mapping)
        for name, value in {**dict.fromkeys(then[section]), **now[section]}.items()
        if then[section].get(name) != value
    ]


def is_of(
    then: Mapping[str, Any],
    config: configs.StyleTransferConfig,
    inputs: Mapping[str, Mapping[str, str]],
) -> bool:
    """Returns whether a record is of a picture with some settings and input files.

    Args:
        then: the record, as `essence` returns it.
        config: the settings, with the network and precision of the record in place of `auto`.
        inputs: the input files, as `input_hashes` returns them.
    """
    settings = {
        name: value for name, value in config.to_dict().items() if name not in _OF_THE_MACHINE
    }
    return then["inputs"] == _named(inputs) and all(
        name in then["config"] and then["config"][name] == value for name, value in settings.items()
    )


def require_same(
    then: Mapping[str, Any], now: Mapping[str, Any], place: str = "checkpoint"
) -> None:
    """Checks that a run makes the same picture as the run of an earlier record.

    Other settings, inputs and weights are refused. Other software and another machine may change
    the last bits: a warning names them, as well as sections that an older record lacks.

    Args:
        then: sections of names and values, as `provenance` and `essence` return them.
        now: sections of the present run, as far as they are known.
        place: where the first record comes from, `checkpoint` or `recipe`.

    Raises:
        ConfigError: the checkpoint belongs to another picture.
        StyleTransferError: the recipe belongs to another picture.
    """
    shades = {name: now[name] for name in ("versions", "machine") if name in now}
    rest = {name: section for name, section in now.items() if name not in shades}
    if found := differences(then, rest, place):
        raise _REFUSALS[place]("; ".join(found))
    unknown = [name for name in now if not isinstance(then.get(name), Mapping)]
    doubts = [f"{name}: unknown in the {place}" for name in unknown]
    doubts += differences(then, shades, place)
    if doubts:
        logger.warning("%s; the picture may differ in its last bits.", "; ".join(doubts))


def _refuse_checkpoint(found: str) -> errors.StyleTransferError:
    return errors.ConfigError(
        f"cannot go on from the checkpoint, which is of another picture. {found}. Give what it was "
        "made with, or start anew in another folder."
    )


def _refuse_recipe(found: str) -> errors.StyleTransferError:
    return errors.StyleTransferError(
        f"cannot make the same picture again. {found}. Give what it was made with, or leave out "
        "--replay."
    )


_REFUSALS = {"checkpoint": _refuse_checkpoint, "recipe": _refuse_recipe}


def require_inputs(
    recipe: Mapping[str, Any],
    config: configs.StyleTransferConfig,
    pictures: Mapping[str, images.Picture],
) -> None:
    """Checks that the inputs are those of a recipe.

    A file must be the same file. If the recipe has only the hash of the pixels, because its input
    was an array, any picture with these pixels is accepted. If only one of the two runs has an
    initial picture, that is a difference in the setting `init`, not in the inputs.

    Args:
        recipe: the recipe to replay.
        config: the settings of the replay.
        pictures: the pictures by role, as `inputs_of` takes them.

    Raises:
        StyleTransferError: inputs are missing, additional or different; the message names all.
    """
    began_with_file = recipe["config"].get("init") not in configs.INITIALISATIONS
    apart = set() if began_with_file == config.goes_on else {"init"}
    of_pixels = {role for role, each in recipe["inputs"].items() if each.get("of") == "pixels"}
    inputs = {
        _role(role): _described(each, _role(role) in of_pixels) for role, each in pictures.items()
    }
    then, now = (
        {role: each for role, each in found.items() if role not in apart}
        for found in (recipe["inputs"], inputs)
    )
    require_same({"inputs": _named(then)}, {"inputs": _named(now)}, "recipe")


def require_same_maker(then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Checks the weights of a recipe, and warns of other software and another machine.

    If the replay sets another network, the weights are not compared.

    Args:
        then: the recipe to replay.
        now: the recipe of the replay.

    Raises:
        StyleTransferError: the weights differ.
    """
    before, after = essence(then), essence(now)
    chosen = before["config"].get("backbone") == after["config"]["backbone"]
    names = ("backbone", "versions", "machine") if chosen else ("versions", "machine")
    require_same(before, {name: after[name] for name in names}, "recipe")


_WORDS = reprlib.Repr()  # Safe for long and for deeply nested lists.
_WORDS.maxlevel, _WORDS.maxlist, _WORDS.maxother = 3, 20, _LONGEST_QUOTE


def _short(value: Any) -> str:
    """Returns a value in words, a hash as its first digits."""
    if value is None:
        return "nothing"
    if objects.is_description(value):
        return _printable(objects.in_words(value))
    text = _printable(f"{value}" if isinstance(value, (str, _File)) else _WORDS.repr(value))
    return f"{text[:12]}..." if len(text) == 64 else text  # A hash.


def _printable(text: str) -> str:
    """Returns a text cut to the length of a message, with control codes escaped."""
    text = text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}..."
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _quoted(text: str) -> str:
    return f"'{_printable(text)}'"


# Reading a recipe. It is untrusted: anybody may have written it.


def load(path: str) -> dict[str, Any]:
    """Reads the recipe of a picture.

    Returns:
        The recipe, as `record` returned it; older recipes lack some sections.

    Raises:
        ImageError: the file is no picture, or holds no valid recipe.
    """
    try:
        recipe = files.parse_json(images.read_recipe(path))
    except ValueError:
        recipe = None
    if not _is_recipe(recipe):
        raise errors.ImageError(
            f"{path}: holds no recipe; expected a picture that this program wrote and no other has "
            "saved since."
        )
    try:
        configs.StyleTransferConfig.from_dict(_without_objects(recipe["config"]))
    except errors.ConfigError as error:
        raise errors.ImageError(
            f"{path}: its recipe cannot be used: {_printable(str(error))}"
        ) from error
    return recipe


def _is_object(value: Any) -> bool:
    """Returns whether a setting of a recipe describes an object, or losses with an object."""
    return objects.is_description(value) or choices.holds_objects(value)


def _without_objects(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings with defaults in place of objects; `settings` refuses objects later."""
    return {
        name: getattr(configs.StyleTransferConfig, name, value) if _is_object(value) else value
        for name, value in settings.items()
    }


def _is_recipe(value: Any) -> bool:
    """Returns whether a value has the form of a recipe, of this version or an earlier one."""
    if not (isinstance(value, dict) and isinstance(value.get("inputs"), dict)):
        return False
    inputs = [*value["inputs"].values()]
    others = (value.get(name, {}) for name in ("objective", "versions", "machine"))
    sections = [value.get("config"), *others]
    hashed = [*inputs, value["backbone"]] if "backbone" in value else inputs
    return all(map(_is_section, [*sections, *hashed])) and all(
        isinstance(each.get(name), str) for each in hashed for name in ("name", "sha256")
    )


def _is_section(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_value, value.values()))


def _is_value(value: Any) -> bool:
    if objects.is_description(value):
        return len(value["class"]) <= _LONGEST_TEXT
    if isinstance(value, list):
        return len(value) <= _LONGEST_LIST and all(map(_is_single, value))
    return _is_single(value)


def _is_single(value: Any) -> bool:
    short = not isinstance(value, str) or len(value) <= _LONGEST_TEXT
    return short and isinstance(value, (str, bool, int, float))


def settings(recipe: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """Returns the settings of a recipe without those of the machine.

    Args:
        recipe: the recipe to replay.
        given: names of the settings that the command line gives.

    Raises:
        ConfigError: the recipe names a file that the command line does not give, or an object or
            objective that only the program that made the picture has.
    """
    found = essence(recipe)["config"]
    if "objective" in recipe:
        raise errors.ConfigError(
            "the recipe is of a program with an objective of its own, which only that program can "
            f"repeat: {_short(list(recipe['objective'].values()))}."
        )
    for name, value in found.items():
        if _is_object(value) and name not in given:
            raise errors.ConfigError(
                f"the recipe's {name} is {_short(value)}, an object of the program that made the "
                f"picture; make it again with that program, or name another with --{name}=NAME."
            )
    for name, does in _FILES.items():
        if _is_file(found.get(name, "")) and name not in given:
            raise errors.ConfigError(
                f"the recipe {does} {_quoted(found[name])}, a file that the command line does not "
                f"name; confirm it with --{name}=PATH."
            )
    return {name: value for name, value in found.items() if name not in _OF_THE_MACHINE}


def changes(
    recipe: Mapping[str, Any], config: configs.StyleTransferConfig, given: Collection[str]
) -> list[str]:
    """Returns sentences about the settings that differ from those of a recipe.

    Args:
        recipe: the recipe to replay.
        config: the settings of the replay.
        given: names of the settings that the command line gives.
    """
    then, now = essence(recipe)["config"], config.to_dict()
    same = [name for name in _FILES if _is_file(then.get(name, "")) and _is_file(now[name])]
    names = [name for name in then if name not in same]
    own = [name for name in names if name in _OF_THE_MACHINE and name not in given]
    flagged = [name for name in names if name not in own]
    told = {"Changed by flags": flagged, "Not taken from the recipe, but from flags alone": own}
    sentences = []
    for what, part in told.items():
        before, after = ({"config": {name: each[name] for name in part}} for each in (then, now))
        if found := differences(before, after, "recipe"):
            sentences.append(f"{what}: {'; '.join(found)}.")
    return sentences


def _is_file(value: str) -> bool:
    """Returns whether the value of a setting in `_FILES` is a path."""
    return bool(value) and value not in configs.INITIALISATIONS
