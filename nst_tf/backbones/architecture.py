"""What tells one backbone from another."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

import keras


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A network of `keras.applications` and where its ImageNet weights are.

    Attributes:
        name: of the network.
        application: builds the Keras model; called with `include_top=False`.
        mean: what the Keras weights expect to be subtracted from blue, green and red in
            0 to 255.
        url: of the Keras weight file without the classifier.
        md5: hash of that file, as `keras.applications` records it.
        bundled: name of the weight file beside this module, or an empty text.
    """

    name: str
    application: Callable[..., keras.Model]
    mean: tuple[float, ...]
    url: str
    md5: str
    bundled: str = ""

    def layers(self) -> list[keras.layers.Layer]:
        """Returns the layers of a new network, from the image to the depth, weights random."""
        state = random.getstate()  # Keras draws the seeds of its initialisers there.
        try:
            return self.application(include_top=False, weights=None).layers
        finally:
            random.setstate(state)
