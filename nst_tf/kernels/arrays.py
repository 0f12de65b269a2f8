"""Arrays and tensors that share memory."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

_ALIGNMENT = 64  # Bytes, as TensorFlow asks for.


def empty(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """Returns an array to be filled, which TensorFlow can use where it is."""
    length = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(length + _ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % _ALIGNMENT
    return memory[first : first + length].view(dtype).reshape(shape)


def is_aligned(array: np.ndarray) -> bool:
    """Returns whether TensorFlow can use an array where it is."""
    return array.flags.c_contiguous and array.ctypes.data % _ALIGNMENT == 0


def to_tensor(value: Any) -> tf.Tensor:
    """Returns a tensor, which shares the memory of an array if it can."""
    if isinstance(value, np.ndarray) and is_aligned(value):
        with contextlib.suppress(BufferError):  # For want of bfloat16.
            return tf.experimental.dlpack.from_dlpack(value.__dlpack__())
    return tf.convert_to_tensor(value)
