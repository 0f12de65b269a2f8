"""The one Keras backend that this package works with."""

from __future__ import annotations

import os
import sys

from nst_tf import errors


def require_tensorflow() -> None:
    """Refuses every Keras backend but TensorFlow, if possible before Keras is imported.

    Raises:
        ConfigError: Keras is set to another backend.
    """
    name = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if "keras" in sys.modules:
        import keras

        name = keras.backend.backend()
    if name != "tensorflow":
        raise errors.ConfigError(
            f"Keras is set to the backend {name!r}; nst_tf needs 'tensorflow'. Set the environment "
            "variable KERAS_BACKEND=tensorflow before Keras is imported."
        )
