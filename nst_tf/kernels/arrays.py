"""Arrays and tensors that share memory."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

_ALIGNMENT = 64  # Bytes; TensorFlow requires it to use memory in place.


def empty(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """Returns an uninitialised array whose memory TensorFlow can share."""
    length = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(length + _ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % _ALIGNMENT
    return memory[first : first + length].view(dtype).reshape(shape)


def is_aligned(array: np.ndarray) -> bool:
    """Returns whether TensorFlow can share the memory of an array."""
    return array.flags.c_contiguous and array.ctypes.data % _ALIGNMENT == 0


def to_tensor(value: Any) -> tf.Tensor:
    """Returns a tensor, which shares the memory of an array where possible."""
    if isinstance(value, np.ndarray) and is_aligned(value):
        with contextlib.suppress(BufferError):  # NumPy's DLPack has no bfloat16.
            return tf.experimental.dlpack.from_dlpack(value.__dlpack__())
    return tf.convert_to_tensor(value)
