"""Software, machine and network, which shape the last bits of a picture beside its settings."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from importlib import metadata
from typing import Any

import tensorflow as tf

import nst_tf
from nst_tf import backbones
from nst_tf.kernels import convolution
from nst_tf.runtime import backend


def versions() -> dict[str, str]:
    """Returns the versions of the package, of Python and of the libraries that shape a picture."""
    found = {"nst_tf": nst_tf.__version__, "python": platform.python_version()}
    for package in ("tensorflow", "keras", "numpy", "numba", "pillow"):
        with contextlib.suppress(metadata.PackageNotFoundError):  # Numba can be missing.
            found[package] = metadata.version(package)
    return found


def machine(device: str | None) -> dict[str, Any]:
    """Returns the properties of the machine that affect the last bits of a picture.

    Args:
        device: TensorFlow's name of the device that the picture is made on, or None to let
            TensorFlow choose.
    """
    return {
        "device": _device_name(device),
        "processor": backend.processor(),
        "vector instructions": backend.vector_instructions() or "unknown",
        "threads": _threads(),
        "oneDNN": "on" if convolution.uses_onednn() else "off",
        "minimal filtering": "on" if convolution.filters_minimally("float32") else "off",
    }


def surroundings(device: str | None) -> dict[str, dict[str, Any]]:
    """Returns `versions` and `machine`, which affect the last bits of a picture."""
    return {"versions": versions(), "machine": machine(device)}


def _device_name(device: str | None) -> str:
    """Returns `CPU`, or the maker's name of the GPU."""
    gpus = tf.config.get_visible_devices("GPU")
    if not gpus or "CPU" in (device or "").upper():
        return "CPU"
    number = int((device or "GPU:0").rsplit(":", 1)[1])
    return tf.config.experimental.get_device_details(gpus[number]).get("device_name", "GPU")


def _threads() -> int:
    """Returns the number of threads over which TensorFlow splits an operation."""
    asked = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
    return (
        tf.config.threading.get_intra_op_parallelism_threads()
        or (int(asked) if asked.isdecimal() else 0)
        or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0)
        or os.cpu_count()
        or 1
    )


def network(model: backbones.Backbone) -> dict[str, str]:
    """Returns `name`, weight source (`weights`) and weight hash (`sha256`) of a network."""
    file = model.weight_file
    without = "random" if model.architecture else "a Keras model"
    return {
        "name": model.name,
        "weights": file.source if file else without,
        "sha256": file.sha256 if file else model.digest,
    }


def peak_memory_bytes(device: str) -> int:
    """Returns the most memory used so far: of the GPU, or of this process on the CPU."""
    if "GPU" in device.upper():
        name = device.rsplit("device:", 1)[-1]
        return int(tf.config.experimental.get_memory_info(name)["peak"])
    try:
        import resource
    except ImportError:  # Windows has no such module.
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
