"""The one Keras backend that this package works with, and the kernels that TensorFlow uses."""

from __future__ import annotations

import functools
import json
import os
import platform
import sys
from pathlib import Path

from nst_tf import errors


def require_tensorflow() -> None:
    """Refuses every Keras backend but TensorFlow, if possible before Keras is imported.

    Raises:
        ConfigError: Keras is set to another backend, or cannot be imported as it is set.
    """
    name = _configured_backend()
    if "keras" in sys.modules or name == "tensorflow":
        try:
            import keras
        except ModuleNotFoundError:
            raise
        except Exception as error:
            raise errors.ConfigError(
                f"Keras cannot be imported ({error}). Mend what its settings say, in "
                f"{_keras_settings()} or in the environment."
            ) from error
        name = keras.backend.backend()
    if name != "tensorflow":
        raise errors.ConfigError(
            f"Keras is set to the backend {name!r}; nst_tf needs 'tensorflow'. Set the environment "
            "variable KERAS_BACKEND=tensorflow before Keras is imported."
        )


def _keras_settings() -> Path:
    """Returns the file that Keras reads its settings from."""
    home = os.path.expanduser("~")
    folder = os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    return Path(os.path.expanduser(os.environ.get("KERAS_HOME", folder)), "keras.json")


def _configured_backend() -> str:
    """Returns the backend that Keras will take, as far as its settings can be read."""
    if name := os.environ.get("KERAS_BACKEND"):
        return name
    try:
        return str(json.loads(_keras_settings().read_text()).get("backend", "tensorflow"))
    except (OSError, ValueError, AttributeError):
        return "tensorflow"


def claim_process() -> None:
    """Sets what TensorFlow, Keras and matplotlib need in a process that is the command's own.

    Keras takes TensorFlow, whatever its settings file says. matplotlib, which Keras imports, draws
    into files only, so a notebook's backend that the shell has inherited is set aside. What is
    imported already stays as it is, and so does `KERAS_BACKEND` where it is set.
    """
    if "keras" not in sys.modules and not os.environ.get("KERAS_BACKEND"):
        os.environ["KERAS_BACKEND"] = "tensorflow"
    if "MPLBACKEND" in os.environ and not {"matplotlib", "IPython"} & set(sys.modules):
        os.environ["MPLBACKEND"] = "agg"


def prefer_onednn() -> None:
    """Has TensorFlow use oneDNN on processors with AVX2 at most, where it would not by itself.

    With the kernels of `backbones.FrozenConv2D` a step of 512 pixels takes 0.71 of the time, in
    float32; oneDNN has no bfloat16 there. An environment variable that is set stays. Once
    TensorFlow is imported it is too late, and nothing is done.
    """
    if "tensorflow" not in sys.modules and vector_instructions() == "avx2":
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


@functools.cache
def vector_instructions() -> str:
    """Returns `avx512f` or `avx2`, the widest that the processor is known to have, or nothing."""
    flags = _processor().get("flags", "").split()
    return next((name for name in ("avx512f", "avx2") if name in flags), "")


def processor() -> str:
    """Returns the name of the processor, or of its kind where it has none."""
    return _processor().get("model name") or platform.processor() or platform.machine()


@functools.cache
def _processor() -> dict[str, str]:
    """Returns what Linux says of the first processor, by the names that it uses."""
    try:
        first, _, _ = Path("/proc/cpuinfo").read_text().partition("\n\n")
    except OSError:  # Not Linux.
        return {}
    fields = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in fields}
