"""Neural style transfer for TensorFlow and Keras.

    picture = nst_tf.stylize("photo.jpg", "painting.jpg")
    picture.save("result.png")

Names are loaded at their first use, so that importing the package is fast.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nst_tf import (
        backbones,
        callbacks,
        engine,
        errors,
        film,
        imaging,
        jobs,
        losses,
        objective,
        optimizers,
        presets,
    )
    from nst_tf.backbones import Backbone
    from nst_tf.config import StyleTransferConfig
    from nst_tf.engine.result import Result
    from nst_tf.engine.transfer import StyleTransfer, stylize
    from nst_tf.film import stylize_film
    from nst_tf.jobs import stylize_many

__version__ = "0.1.0"

__all__ = [
    "Backbone",
    "Result",
    "StyleTransfer",
    "StyleTransferConfig",
    "backbones",
    "callbacks",
    "engine",
    "errors",
    "film",
    "imaging",
    "jobs",
    "losses",
    "objective",
    "optimizers",
    "presets",
    "stylize",
    "stylize_film",
    "stylize_many",
]

_HOMES = {
    "Backbone": "nst_tf.backbones",
    "Result": "nst_tf.engine.result",
    "StyleTransfer": "nst_tf.engine.transfer",
    "StyleTransferConfig": "nst_tf.config",
    "stylize": "nst_tf.engine.transfer",
    "stylize_film": "nst_tf.film",
    "stylize_many": "nst_tf.jobs",
}

logging.getLogger(__name__).addHandler(logging.NullHandler())


_LIGHT = (
    "StyleTransferConfig",
    "callbacks",
    "errors",
    "film",
    "imaging",
    "jobs",
    "presets",
    "stylize_many",
)
"""Names that need no TensorFlow."""


def __getattr__(name: str) -> Any:
    if name in __all__ and name not in _LIGHT:
        importlib.import_module("nst_tf.runtime.backend").require_tensorflow()
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
