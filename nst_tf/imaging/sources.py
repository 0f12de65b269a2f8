"""The picture files of a run, and the decoded pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import psutil

from nst_tf import config as configs
from nst_tf import errors
from nst_tf.imaging import images

Weighed = tuple[images.Picture, images.Picture | None]
"""A picture and the weights of its pixels, by lightness, or None if all count alike."""

Sizes = tuple[tuple[int, int], Sequence[tuple[int, int]]]
"""Height and width of the content picture, and of each style picture."""


@dataclasses.dataclass(frozen=True)
class Paths:
    """The picture files of a run.

    Attributes:
        content: path of the content picture.
        styles: paths of the style pictures.
        content_mask: path of the content mask, or an empty text.
        style_masks: paths of the style masks, one for each style, or none.
    """

    content: str
    styles: Sequence[str]
    content_mask: str = ""
    style_masks: Sequence[str] = ()

    def roles(self, config: configs.StyleTransferConfig) -> dict[str, str]:
        """Returns the path of every picture of the run, by its role."""
        init = None if config.init in configs.INITIALISATIONS else config.init
        masks = self.content_mask or None, self.style_masks
        return _roles(self.content, self.styles, *masks, init=init)

    def sizes(self, config: configs.StyleTransferConfig) -> Sizes:
        """Returns the sizes of content and styles, from the headers of all files alone.

        Raises:
            ImageError: the header of a file shows that it cannot be used.
        """
        found = {
            role: images.size(path, config.max_pixels) for role, path in self.roles(config).items()
        }
        return found["content"], [found[role] for role in _numbered("style", self.styles)]

    def pictures(self, max_pixels: int, init: str, memory_limit: str = "auto") -> Pictures:
        """Returns the decoded pictures.

        Args:
            max_pixels: largest accepted picture, in pixels.
            init: the initial image, as in a config.
            memory_limit: memory limit of this process, as in a config.

        Raises:
            ImageError: a picture cannot be used.
            ConfigError: a picture takes too much memory.
        """

        def load(path: str) -> images.Picture:
            return load_within(memory_limit, path, max_pixels)

        return Pictures(
            load(self.content),
            list(map(load, self.styles)),
            load(self.content_mask) if self.content_mask else None,
            list(map(load, self.style_masks)),
            None if init in configs.INITIALISATIONS else load(init),
        )


@dataclasses.dataclass(frozen=True)
class Pictures:
    """The decoded pictures of a run; see `Paths`.

    Attributes:
        content: the content picture.
        styles: the style pictures.
        content_mask: the content mask, or None.
        style_masks: the style masks, one for each style, or none.
        init: the initial picture if it is a file, or None.
        references: further references of losses, by name, each with the weights of its pixels,
            or None.
    """

    content: images.Picture
    styles: Sequence[images.Picture]
    content_mask: images.Picture | None = None
    style_masks: Sequence[images.Picture] = ()
    init: images.Picture | None = None
    references: Mapping[str, Weighed] = dataclasses.field(default_factory=dict)

    def sizes(self, config: configs.StyleTransferConfig) -> Sizes:
        """Returns the sizes of content and styles."""
        del config
        return self.content.size, [style.size for style in self.styles]

    def roles(self) -> dict[str, images.Picture]:
        """Returns every picture of the run, by its role."""
        masks = self.content_mask, self.style_masks
        named: dict[str, Any] = {}
        for name, (picture, weights) in self.references.items():
            named |= {f"reference {name}": picture, f"weights of reference {name}": weights}
        return _roles(self.content, self.styles, *masks, initial=self.init, **named)


def load_within(memory_limit: str, path: str, max_pixels: int) -> images.Picture:
    """Returns a decoded picture, unless it takes too much memory.

    Args:
        memory_limit: memory limit of this process, as in a config.
        path: path of the picture.
        max_pixels: largest accepted picture, in pixels.

    Raises:
        ImageError: the picture cannot be used.
        ConfigError: together with the memory in use, the picture would exceed the limit.
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
    content: Any, styles: Sequence[Any], content_mask: Any, style_masks: Sequence[Any], **more: Any
) -> dict[str, Any]:
    singles = {"content mask": content_mask, **more}
    return {
        "content": content,
        **_numbered("style", styles),
        **_numbered("style mask", style_masks),
        **{role: each for role, each in singles.items() if each is not None},
    }


def _numbered(role: str, pictures: Sequence[Any]) -> dict[str, Any]:
    several = len(pictures) > 1
    return {
        f"{role} {number}" if several else role: each for number, each in enumerate(pictures, 1)
    }
