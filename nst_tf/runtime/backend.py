"""Choice of the Keras backend and of TensorFlow's kernels."""

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
        ConfigError: Keras is set to another backend, or cannot be imported with its settings.
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
    """Returns the path of Keras' settings file."""
    home = os.path.expanduser("~")
    folder = os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    return Path(os.path.expanduser(os.environ.get("KERAS_HOME", folder)), "keras.json")


def _configured_backend() -> str:
    """Returns the backend that Keras will use; `tensorflow` if its settings cannot be read."""
    if name := os.environ.get("KERAS_BACKEND"):
        return name
    try:
        return str(json.loads(_keras_settings().read_text()).get("backend", "tensorflow"))
    except (OSError, ValueError, AttributeError):
        return "tensorflow"


def claim_process() -> None:
    """Sets the environment of Keras and matplotlib, in a process of the command's own.

    Keras uses TensorFlow, whatever its settings file says. matplotlib, which Keras imports, draws
    into files only, which overrides a notebook's backend inherited by the shell. Modules already
    imported keep their settings, and a given `KERAS_BACKEND` stays.
    """
    if "keras" not in sys.modules and not os.environ.get("KERAS_BACKEND"):
        os.environ["KERAS_BACKEND"] = "tensorflow"
    if "MPLBACKEND" in os.environ and not {"matplotlib", "IPython"} & set(sys.modules):
        os.environ["MPLBACKEND"] = "agg"


def prefer_onednn() -> None:
    """Makes TensorFlow use oneDNN on processors with AVX2 at most, where it is off by default.

    With the kernels of `backbones.FrozenConv2D`, a step at 512 pixels then takes 0.71 of the time,
    in float32; oneDNN has no bfloat16 there. A given environment variable stays. Once TensorFlow is
    imported, this has no effect.
    """
    if "tensorflow" not in sys.modules and vector_instructions() == "avx2":
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


@functools.cache
def vector_instructions() -> str:
    """Returns the widest vector instructions known: `avx512f`, `avx2`, or an empty string."""
    flags = _processor().get("flags", "").split()
    return next((name for name in ("avx512f", "avx2") if name in flags), "")


def multiplies_in_bfloat16() -> bool:
    """Returns whether the processor multiplies matrices in bfloat16 (AMX)."""
    return "amx_bf16" in _processor().get("flags", "").split()


def processor() -> str:
    """Returns the name of the processor, or else of its architecture."""
    return _processor().get("model name") or platform.processor() or platform.machine()


@functools.cache
def _processor() -> dict[str, str]:
    """Returns Linux' fields of the first processor in `/proc/cpuinfo`, by name."""
    try:
        first, _, _ = Path("/proc/cpuinfo").read_text().partition("\n\n")
    except OSError:  # Not Linux.
        return {}
    fields = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in fields}
