"""Judges pictures by a network that they were never optimised on.

    python benchmarks/quality.py --content=PHOTO --style=PAINTING [--json=FILE] PICTURE ...
    python benchmarks/quality.py --identity --content=PHOTO [--size=512] [--preset=NAME] \
        [--steps=N]

The first judges pictures. Photo and painting are shown at the size of each picture, as a
stylisation shows them.

- style gain: 1 - d(picture, painting) / d(photo, painting). The untouched photo has 0, the painting
  1. The distance d is the sliced Wasserstein distance of AlexNet's activations, of five layers, at
  two scales, each over several small shifts.
- content: LPIPS (AlexNet, version 0.1) to the photo; 0 is the photo.
- colour: sliced Wasserstein distance of the colours to the painting's, sRGB in [0, 1].
- clipped: share of values at 0 or 255.
- grain: energy of the luminance above 0.35 cycles a pixel, over the mean of photo and painting.
- structure: correlation of the self-similarities of picture and photo (AlexNet, conv3 to conv5);
  1 is the photo.
- bare: share of places nearer to the photo at the same place than to any place of the painting
  (AlexNet, conv1 to conv4); the untouched photo has 1, the painting 0.
- lpips grey: LPIPS of the luminance to that of the photo: content without colour.
- frechet: Fréchet distance of AlexNet's activations to the painting's, relative to their mean
  square, of the layers and scales of the style gain; 0 is the painting. A second figure of style.

The second is the identity test. A photo is stylised after itself, with VGG16 and the defaults or a
preset, and must come back: LPIPS and the mean absolute difference to it, sRGB in [0, 1], are to be
near 0.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import common
import judge
import numpy as np
from absl import app, flags

_CONTENT = flags.DEFINE_string("content", None, "the photo")
_STYLE = flags.DEFINE_string("style", None, "the painting")
_JSON = flags.DEFINE_string("json", "", "file for the results")
_IDENTITY = flags.DEFINE_bool("identity", False, "stylise the photo after itself, and judge that")
_SIZE = flags.DEFINE_integer("size", 512, "long side of the identity test")
_PRESET = flags.DEFINE_string("preset", "", "recipe of the identity test; default: no recipe")
_STEPS = flags.DEFINE_integer("steps", 0, "steps of the identity test instead of its own number")


def identity(photo: np.ndarray, size: int, preset: str, steps: int) -> dict[str, float]:
    """Returns how far a photo is from itself after a stylisation with itself as the painting.

    Args:
        photo: float32 `(height, width, 3)`, sRGB in [0, 1].
        size: long side of the result, in pixels.
        preset: name of a recipe, or "" for the defaults.
        steps: steps of the finest level, or 0 for those of the recipe.
    """
    from nst_tf import StyleTransferConfig, stylize
    from nst_tf.imaging import images

    changes: dict[str, Any] = {"backbone": "vgg16", "image_size": size}
    if steps:
        changes["steps"] = (steps,)
    config = StyleTransferConfig(**changes)
    if preset:
        config = StyleTransferConfig.preset(preset, **changes)
    found = stylize(photo, photo, config).numpy()
    shown = images.resize(photo, *found.shape[:2])
    return {
        "lpips": judge.lpips(*map(judge.activations, (shown, found))),
        "difference": float(np.abs(found - shown).mean()),
    }


def main(argv: list[str]) -> None:
    from nst_tf.imaging import images

    photo = images.load(_CONTENT.value).rgb
    if _IDENTITY.value:
        figures = identity(photo, _SIZE.value, _PRESET.value, _STEPS.value)
        print(", ".join(f"{name} {figure:.4f}" for name, figure in figures.items()))
        common.write(_JSON.value, figures)
        return
    painting, found = images.load(_STYLE.value).rgb, {}
    print(judge.heading("picture"))
    for path in argv[1:]:
        picture = images.load(path).rgb
        verdict = judge.for_size(photo, painting, *picture.shape[:2])(picture)
        found[path] = dataclasses.asdict(verdict)
        print(judge.line(path, verdict))
    common.write(_JSON.value, found)


@flags.multi_flags_validator(["style", "identity"], "expected --style=PAINTING, or --identity")
def _has_a_painting(values: dict[str, object]) -> bool:
    return bool(values["style"]) != bool(values["identity"])


if __name__ == "__main__":
    flags.mark_flag_as_required("content")
    app.run(main)
