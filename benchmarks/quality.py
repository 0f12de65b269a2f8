"""Judges pictures by a network that they were never optimised on.

    python benchmarks/quality.py --content=PHOTO --style=PAINTING [--json=FILE] PICTURE ...

Photo and painting are shown at the size of each picture, as a stylisation shows them.

- style gain: 1 - d(picture, painting) / d(photo, painting). The untouched photo has 0, the painting
  1. The distance d is the sliced Wasserstein distance of AlexNet's activations, of five layers, at
  two scales, each over several small shifts.
- content: LPIPS (AlexNet, version 0.1) to the photo; 0 is the photo.
- colour: sliced Wasserstein distance of the colours to the painting's, sRGB in [0, 1].
- clipped: share of values at 0 or 255.
- grain: energy of the luminance above 0.35 cycles a pixel, over the mean of photo and painting.
"""

from __future__ import annotations

import dataclasses

import common
import judge
from absl import app, flags

_CONTENT = flags.DEFINE_string("content", None, "the photo")
_STYLE = flags.DEFINE_string("style", None, "the painting")
_JSON = flags.DEFINE_string("json", "", "file for the results")


def main(argv: list[str]) -> None:
    from nst_tf.imaging import images

    photo, painting = (images.load(each.value).rgb for each in (_CONTENT, _STYLE))
    found = {}
    print(judge.heading("picture"))
    for path in argv[1:]:
        picture = images.load(path).rgb
        verdict = judge.for_size(photo, painting, *picture.shape[:2])(picture)
        found[path] = dataclasses.asdict(verdict)
        print(judge.line(path, verdict))
    common.write(_JSON.value, found)


if __name__ == "__main__":
    flags.mark_flags_as_required(["content", "style"])
    app.run(main)
