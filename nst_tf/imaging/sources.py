"""The picture files that a result is made from, and the pictures decoded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import psutil

from nst_tf import config as configs
from nst_tf import errors
from nst_tf.imaging import images

Weighed = tuple[images.Picture, images.Picture | None]
"""A picture and the weights of its pixels, by lightness, or None where all count alike."""

Sizes = tuple[tuple[int, int], Sequence[tuple[int, int]]]
"""Height and width of the photo, and of each painting."""


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

    def roles(self, config: configs.StyleTransferConfig) -> dict[str, str]:
        """Returns the path of every picture that goes into a result, by its role."""
        init = None if config.init in configs.INITIALISATIONS else config.init
        masks = self.content_mask or None, self.style_masks
        return _roles(self.content, self.styles, *masks, init=init)

    def sizes(self, config: configs.StyleTransferConfig) -> Sizes:
        """Returns the sizes of photo and paintings, from the headers of all files alone.

        Raises:
            ImageError: a file cannot be used, as far as its header tells.
        """
        found = {
            role: images.size(path, config.max_pixels) for role, path in self.roles(config).items()
        }
        return found["content"], [found[role] for role in _numbered("style", self.styles)]

    def pictures(self, max_pixels: int, init: str, memory_limit: str = "auto") -> Pictures:
        """Returns them decoded.

        Args:
            max_pixels: largest accepted picture, in pixels.
            init: the initial image, as a config names it.
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
            None if init in configs.INITIALISATIONS else load(init),
        )


@dataclasses.dataclass(frozen=True)
class Pictures:
    """The pictures that another is made from; see `Paths`.

    Attributes:
        content: to repaint.
        styles: to repaint it after.
        content_mask: or None.
        style_masks: one for each painting, or none.
        init: the initial picture, where it is a file.
        references: further pictures that losses ask for by name, each with the weights of its
            pixels, or None.
    """

    content: images.Picture
    styles: Sequence[images.Picture]
    content_mask: images.Picture | None = None
    style_masks: Sequence[images.Picture] = ()
    init: images.Picture | None = None
    references: Mapping[str, Weighed] = dataclasses.field(default_factory=dict)

    def sizes(self, config: configs.StyleTransferConfig) -> Sizes:
        """Returns the sizes of photo and paintings."""
        del config
        return self.content.size, [style.size for style in self.styles]

    def roles(self) -> dict[str, images.Picture]:
        """Returns every picture that goes into a result, by its role."""
        masks = self.content_mask, self.style_masks
        named: dict[str, Any] = {}
        for name, (picture, weights) in self.references.items():
            named |= {f"reference {name}": picture, f"weights of reference {name}": weights}
        return _roles(self.content, self.styles, *masks, initial=self.init, **named)


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
