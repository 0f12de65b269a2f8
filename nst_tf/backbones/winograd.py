"""Convolutions of 3x3 with a quarter of the multiplications, on CPUs.

Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural
Networks", 2016, section 4; Toom and Cook's construction, at 0, 1, -1, 2, -1/2 and infinity): each
tile of 4x4 outputs sees 6x6 inputs, and with

    data      = B^T · inputs · B        (6, 6) of every channel
    spectrum  = G · kernel · G^T        (6, 6) of every pair of channels, computed once
    outputs   = A^T · (Σ data · spectrum) · A        the sum over the channels

what is to be multiplied and summed is 36 products of matrices, `(tiles, channels)` by `(channels,
filters)`. NumPy computes these; Numba compiles what is before and after. The picture is gone
through in bands of few tiles, so that what is between stays in the processor's cache.

The gradient is the convolution with the kernel turned by 180° and its channels swapped, which is
that of the mirror image. So it has the same spectrum, and reads and writes every tile backwards.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import threadpoolctl

_VALUES = 1 << 17  # Of a band: enough for fast products, few enough for the cache.
_RUN = 1024  # Values of a row of tiles that are transformed at a time.

_G = np.array(
    [
        [1, 0, 0],
        [-1 / 3, -1 / 3, -1 / 3],
        [1 / 3, -1 / 3, 1 / 3],
        [1 / 15, 2 / 15, 4 / 15],
        [-16 / 15, 8 / 15, -4 / 15],
        [0, 0, 1],
    ]
)


def spectrum(kernel: np.ndarray) -> np.ndarray:
    """Returns the transformed kernel, float32 of shape `(36, channels, filters)`.

    Args:
        kernel: of shape `(3, 3, channels, filters)`.
    """
    found = np.empty((36, *kernel.shape[2:]), np.float32)
    both = np.kron(_G, _G)  # Of rows and columns.
    np.matmul(both, np.float64(kernel).reshape(9, -1), out=found.reshape(36, -1), casting="unsafe")
    return found


def convolve(
    inputs: np.ndarray,
    spectrum: np.ndarray,
    outputs: np.ndarray,
    *,
    bias: np.ndarray | None = None,
    gate: np.ndarray | None = None,
    turned: bool = False,
) -> None:
    """Convolves, with zeros around.

    Args:
        inputs: float32 of shape `(height, width, channels)`, contiguous.
        spectrum: what `spectrum` returned for the kernel.
        outputs: of shape `(height, width, filters)`, to be filled.
        bias: of the filters; where it is given, a ReLU follows.
        gate: of the shape of the inputs; they count where it is positive.
        turned: convolve with the turned kernel, from its filters to its channels.
    """
    height, width, channels = inputs.shape
    filters = outputs.shape[2]
    if turned:
        spectrum = spectrum.transpose(0, 2, 1)
    rows, columns = -(-height // 4), -(-width // 4)
    band = min(rows, -(-_VALUES // (columns * max(channels, filters))))
    opened = inputs if gate is None else gate
    added = np.zeros(filters, np.float32) if bias is None else bias
    with _WORKSPACE as workspace, _LIBRARIES.limit(limits=1, user_api="blas"):
        data = workspace.array(0, (36, band * columns, channels))
        products = workspace.array(1, (36, band * columns, filters))
        for top in range(0, rows, band):
            count = min(band, rows - top)
            ends, found = _ends(top, top + count), slice(0, count * columns)
            _at_once(_to_data, ends, inputs, opened, gate is not None, turned, _RUN, data, top)
            _at_once(_multiply, _ends(0, 36), data[:, found], spectrum, products[:, found])
            _at_once(
                _to_outputs, ends, products, added, bias is not None, turned, _RUN, outputs, top
            )


class _Workspace:
    """Arrays that are used again and again, by one caller at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arrays: dict[int, np.ndarray] = {}

    def __enter__(self) -> _Workspace:
        self._lock.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def array(self, number: int, shape: tuple[int, ...]) -> np.ndarray:
        """Returns an array of this shape, with anything in it."""
        size = int(np.prod(shape))
        if number not in self._arrays or self._arrays[number].size < size:
            self._arrays[number] = np.empty(size, np.float32)
        return self._arrays[number][:size].reshape(shape)


_WORKSPACE = _Workspace()
_LIBRARIES = threadpoolctl.ThreadpoolController()
# As many as NumPy's products would have, which the environment can set (OMP_NUM_THREADS).
_THREADS = max(
    (each["num_threads"] for each in _LIBRARIES.info() if each["user_api"] == "blas"),
    default=os.cpu_count() or 1,
)
_POOL = ThreadPoolExecutor(_THREADS, "winograd")


def _ends(begin: int, end: int) -> list[tuple[int, int]]:
    """Returns rows of tiles for each thread, as even as they can be."""
    marks = np.linspace(begin, end, min(_THREADS, end - begin) + 1).round().astype(int)
    return [(int(a), int(b)) for a, b in itertools.pairwise(marks)]


def _at_once(function: Callable[..., None], ends: list[tuple[int, int]], *arguments: Any) -> None:
    for done in [_POOL.submit(function, *arguments, *each) for each in ends]:
        done.result()


def _multiply(
    data: np.ndarray, spectrum: np.ndarray, products: np.ndarray, begin: int, end: int
) -> None:
    np.matmul(data[begin:end], spectrum[begin:end], out=products[begin:end])


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Returns a function as machine code: compiled by its first call, and filed for the next."""
    compiler = functools.partial(numba.njit, fastmath={"contract"}, error_model="numpy", nogil=True)
    try:
        return compiler(cache=True)(function)
    except RuntimeError:  # There is no folder that may be written to.
        return compiler()(function)


# Where most time goes, a loop takes a whole run of tiles: the four phases of their columns
# (0, 4, 8 and so on, 1, 5, 9 and so on) lie one after the other. What may change is an argument:
# machine code that is filed keeps the globals of the process that compiled it.


@_compiled
def _to_data(inputs, gate, gated, turned, values, data, first, begin, last):
    """Transforms rows of tiles; `data` begins with the tile row `first`."""
    width, channels = inputs.shape[1:]
    columns = (width + 3) // 4
    run = max(1, values // channels)
    seen = np.zeros((6, 4, (run + 1) * channels), np.float32)
    half = np.empty((6, 4, (run + 1) * channels), np.float32)
    a, b, c = seen.reshape(6, -1), half.reshape(6, -1), data.reshape(36, -1)
    for tile in range(begin, last):
        for left in range(0, columns, run):
            count = min(run, columns - left)
            for i in range(6):
                into = seen[5 - i if turned else i]
                _gather(inputs, gate, gated, 4 * tile + i - 1, 4 * left - 1, 4 * count + 2, into)
            _times_b(a[0], a[1], a[2], a[3], a[4], a[5], b[0], b[1], b[2], b[3], b[4], b[5])
            size = count * channels
            at = ((tile - first) * columns + left) * channels
            end = at + size
            for i in range(6):
                z, beyond = half[i], channels + size
                p, q, r, s = z[0, :size], z[1, :size], z[2, :size], z[3, :size]
                t, u = z[0, channels:beyond], z[1, channels:beyond]
                if turned:
                    p, q, r, s, t, u = u, t, s, r, q, p
                _times_b(
                    p, q, r, s, t, u,
                    c[6 * i, at:end], c[6 * i + 1, at:end], c[6 * i + 2, at:end],
                    c[6 * i + 3, at:end], c[6 * i + 4, at:end], c[6 * i + 5, at:end],
                )  # fmt: skip


@_compiled
def _gather(inputs, gate, gated, row, left, count, phases):
    """Reads columns of a row, zeros around the picture."""
    height, width, channels = inputs.shape
    for i in range(count):
        column, place = left + i, i // 4 * channels
        into = phases[i % 4]
        if not (0 <= row < height and 0 <= column < width):
            for c in range(channels):
                into[place + c] = 0
        elif gated:
            for c in range(channels):
                value = inputs[row, column, c]
                into[place + c] = value if gate[row, column, c] > 0 else np.float32(0)
        else:
            for c in range(channels):
                into[place + c] = inputs[row, column, c]


@_compiled
def _times_b(x0, x1, x2, x3, x4, x5, y0, y1, y2, y3, y4, y5):
    """Multiplies by B^T: coefficients of the polynomials that vanish at all points but one."""
    half, three_halves, two, five_halves = map(np.float32, (0.5, 1.5, 2.0, 2.5))
    for e in range(x0.size):
        a0, a1, a2, a3, a4, a5 = x0[e], x1[e], x2[e], x3[e], x4[e], x5[e]
        y0[e] = a0 + three_halves * (a1 - a3) - two * a2 + a4
        y1[e] = a4 - a1 - five_halves * a2 - half * a3
        y2[e] = a4 + a1 + half * a2 - five_halves * a3
        y3[e] = a4 - a2 - half * (a1 - a3)
        y4[e] = a4 - a2 + two * (a1 - a3)
        y5[e] = a1 + three_halves * (a2 - a4) - two * a3 + a5


@_compiled
def _to_outputs(products, bias, rectified, turned, values, outputs, first, begin, last):
    """Transforms rows of tiles back; `products` begin with the tile row `first`."""
    width, filters = outputs.shape[1:]
    columns = (width + 3) // 4
    run = max(1, values // filters)
    half = np.zeros((6, 4, run * filters), np.float32)
    whole = np.empty((4, 4, run * filters), np.float32)
    a, b, c = half.reshape(6, -1), whole.reshape(4, -1), products.reshape(36, -1)
    for tile in range(begin, last):
        for left in range(0, columns, run):
            count = min(run, columns - left)
            size = count * filters
            at = ((tile - first) * columns + left) * filters
            end = at + size
            for i in range(6):
                z = half[i]
                p, q, r, s = z[0, :size], z[1, :size], z[2, :size], z[3, :size]
                if turned:
                    p, q, r, s = s, r, q, p
                _times_a(
                    c[6 * i, at:end], c[6 * i + 1, at:end], c[6 * i + 2, at:end],
                    c[6 * i + 3, at:end], c[6 * i + 4, at:end], c[6 * i + 5, at:end],
                    p, q, r, s,
                )  # fmt: skip
            _times_a(a[0], a[1], a[2], a[3], a[4], a[5], b[0], b[1], b[2], b[3])
            for i in range(4):
                found = whole[3 - i if turned else i]
                _spread(found, bias, rectified, outputs, 4 * tile + i, 4 * left, 4 * count)


@_compiled
def _times_a(x0, x1, x2, x3, x4, x5, y0, y1, y2, y3):
    """Multiplies by A^T: powers of the points."""
    eighth, quarter, half, two, four, eight = map(np.float32, (0.125, 0.25, 0.5, 2.0, 4.0, 8.0))
    for e in range(x0.size):
        a0, a1, a2, a3, a4, a5 = x0[e], x1[e], x2[e], x3[e], x4[e], x5[e]
        y0[e] = a0 + a1 + a2 + a3 + a4
        y1[e] = a1 - a2 + two * a3 - half * a4
        y2[e] = a1 + a2 + four * a3 + quarter * a4
        y3[e] = a1 - a2 + eight * a3 - eighth * a4 + a5


@_compiled
def _spread(phases, bias, rectified, outputs, row, left, count):
    """Writes columns of a row that are within the picture; NaN stays NaN."""
    height, width, filters = outputs.shape
    for i in range(min(count, width - left) if row < height else 0):
        values, place = phases[i % 4], i // 4 * filters
        for c in range(filters):
            value = values[place + c]
            if rectified:
                value += bias[c]
                value = np.float32(0) if value < 0 else value
            outputs[row, left + i, c] = value
