"""Convolutions of 3x3 with a quarter of the multiplications, on CPUs.

Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural
Networks", 2016, section 4; Toom and Cook's construction, at 0, 1, -1, 2, -1/2 and infinity): each
tile of 4x4 outputs depends on 6x6 inputs, and

    data      = B^T · inputs · B        (6, 6) for every channel
    spectrum  = G · kernel · G^T        (6, 6) for every pair of channels, computed once
    outputs   = A^T · (Σ data · spectrum) · A        the sum over the channels

The sums are 36 matrix products, `(tiles, channels)` by `(channels, filters)`. Numba compiles all
of it. Products are computed as in Goto and van de Geijn, "Anatomy of High-Performance Matrix
Multiplication" (2008): in blocks whose sums stay in registers (`_multiply_block`), the second
factor packed once into panels.

The threads share the tiles, and each computes its own in chunks, so that intermediate results stay
in the cache (`_by_chunks`). Where tiles are few, or the spectrum is too large for the cache, they
share the spectrum instead (`_by_bands`).

The gradient is the convolution with the kernel turned by 180° and its channels swapped. Turning
the tiles instead gives the same. So the gradient uses the same spectrum, transposed, and reads and
writes every tile backwards.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import tensorflow as tf
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.caching import FunctionCache
from numba.extending import intrinsic

if numba.config.DISABLE_JIT:
    raise ImportError("Numba is told to compile nothing.")

logger = logging.getLogger("nst_tf")

_WIDE = 64  # Input and output channels from which on minimal filtering is faster.
_PANEL = 16  # Filters of a panel of the spectrum.
_CHUNK = 96  # Tiles of a chunk in `_by_chunks`.
_BAND = 256  # Tiles of a band in `_by_bands`; pictures of at most one band always go there.
_LONG = 1 << 16  # Channels times filters of the largest spectrum that stays in the cache.
_ROWS = 12  # Multiple of the rows of a block (`_block`), to which room for tiles is rounded up.
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


_Given = tuple[Any, ...]  # Arguments of compiled functions.


def fits(shape: Sequence[int]) -> bool:
    """Returns whether `convolve` supports a kernel of this shape, and is faster for it."""
    return tuple(shape[:2]) == (3, 3) and all(
        n >= _WIDE and n % (2 * _PANEL) == 0 for n in shape[2:]
    )


def spectrum(kernel: np.ndarray) -> np.ndarray:
    """Returns the transformed kernel, float32 of shape `(36, filters / 16, channels, 16)`.

    Args:
        kernel: the kernel, `(3, 3, channels, filters)`.
    """
    channels, filters = kernel.shape[2:]
    both = np.kron(_G, _G)  # Transforms rows and columns.
    found = both @ np.float64(kernel).reshape(9, -1)
    panels = found.reshape(36, channels, filters // _PANEL, _PANEL).swapaxes(1, 2)
    return np.ascontiguousarray(panels, np.float32)


def convolve(
    inputs: np.ndarray,
    spectrum: np.ndarray,
    outputs: np.ndarray,
    *,
    bias: np.ndarray | None = None,
    gate: np.ndarray | None = None,
    turned: bool = False,
) -> None:
    """Convolves inputs with a kernel, with zeros around the picture.

    Args:
        inputs: the inputs, float32 of shape `(height, width, channels)`, contiguous.
        spectrum: the transformed kernel, as the function `spectrum` returns it.
        outputs: array to fill, float32 of shape `(height, width, filters)`.
        bias: bias of each filter; where it is given, a ReLU follows.
        gate: array of the inputs' shape; inputs count as 0 where it is not positive.
        turned: convolve with the turned kernel, from its filters to its channels.
    """
    height, width, channels = inputs.shape
    filters = outputs.shape[2]
    opened = inputs if gate is None else gate
    added = np.zeros(filters, np.float32) if bias is None else bias
    tiles = -(-height // 4) * -(-width // 4)
    forth = (inputs, opened, gate is not None, turned, _RUN)
    back = (outputs, added, bias is not None, turned, _RUN)
    by_bands = tiles <= _BAND or channels * filters > _LONG
    with _WORKSPACE:
        (_by_bands if by_bands else _by_chunks)(tiles, forth, spectrum, back)


def _by_chunks(tiles: int, forth: _Given, spectrum: np.ndarray, back: _Given) -> None:
    """Convolves with a share of the tiles for each thread.

    Args:
        tiles: number of tiles.
        forth: first argument of `_to_data`.
        spectrum: the transformed kernel.
        back: second argument of `_to_outputs`.
    """
    channels, filters, turned = forth[0].shape[2], back[0].shape[2], forth[3]
    if turned:
        whole, spectrum = spectrum, _WORKSPACE.spectrum(36, channels, filters)
        for i in range(36):
            _turn(whole[i], spectrum[i])
    shares = _shares(tiles)
    room = _room(max(end - begin for begin, end in shares), _CHUNK)
    data = _WORKSPACE.array("data", (len(shares), 36, room, channels))
    products = _WORKSPACE.array("products", (len(shares), 36, room, filters))
    _at_once(
        _filter,
        [(forth, data[i], spectrum, products[i], back, *share) for i, share in enumerate(shares)],
    )


def _by_bands(tiles: int, forth: _Given, spectrum: np.ndarray, back: _Given) -> None:
    """Convolves with a share of the spectrum for each thread; arguments as for `_by_chunks`."""
    channels, filters, turned = forth[0].shape[2], back[0].shape[2], forth[3]
    room = _room(tiles, _BAND)
    data = _WORKSPACE.array("data", (36, room, channels))
    products = _WORKSPACE.array("products", (36, room, filters))
    factors = _shares(36)
    turn = _WORKSPACE.spectrum(len(factors), channels, filters)
    for first in range(0, tiles, room):
        last = min(first + room, tiles)
        shares = [(first + begin, first + end) for begin, end in _shares(last - first)]
        _at_once(_to_data, [(forth, data, first, *share) for share in shares])
        _at_once(
            _multiply,
            [
                (data, spectrum, turned, turn[i], products, last - first, *share)
                for i, share in enumerate(factors)
            ],
        )
        _at_once(_to_outputs, [(products, back, first, *share) for share in shares])


class _Workspace:
    """Arrays that calls use again, one caller at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arrays: dict[str, np.ndarray] = {}

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Returns an array of this shape with arbitrary values."""
        size = int(np.prod(shape))
        if name not in self._arrays or self._arrays[name].size < size:
            self._arrays[name] = np.empty(size, np.float32)
        return self._arrays[name][:size].reshape(shape)

    def spectrum(self, matrices: int, channels: int, filters: int) -> np.ndarray:
        """Returns an array for a number of matrices of a spectrum, in panels."""
        return self.array("spectrum", (matrices, filters // _PANEL, channels, _PANEL))


_WORKSPACE = _Workspace()
THREADS = tf.config.threading.get_intra_op_parallelism_threads() or numba.config.NUMBA_NUM_THREADS
"""TensorFlow's number of intra-op threads if it is set, else the number of processors."""

_POOL = ThreadPoolExecutor(THREADS, "winograd")


def _shares(count: int) -> list[tuple[int, int]]:
    """Returns first and last index, exclusive, of each thread's share, as even as possible."""
    marks = np.linspace(0, count, min(THREADS, count) + 1).round().astype(int)
    return [(int(a), int(b)) for a, b in itertools.pairwise(marks)]


def _room(tiles: int, most: int) -> int:
    """Returns the number of tiles to compute at a time: equal parts of about `most`, in blocks."""
    even = -(-tiles // -(-tiles // most))
    return -(-even // _ROWS) * _ROWS


def _at_once(function: Callable[..., None], given: Sequence[_Given]) -> None:
    for running in [_submitted(function, arguments) for arguments in given]:
        running.result()


def _submitted(function: Callable[..., None], arguments: _Given) -> Future[None]:
    try:
        return _POOL.submit(function, *arguments)
    except RuntimeError:  # The interpreter is about to exit, and its pools accept no more work.
        function(*arguments)
        done: Future[None] = Future()
        done.set_result(None)
        return done


class _Filed(FunctionCache):
    """Machine code in files. It is compiled anew if they are damaged or the disk is full."""

    def load_overload(self, sig, target_context):
        """Returns the filed machine code of a signature, or None."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:
            _warn(self.cache_path, "read", error)
            with contextlib.suppress(Exception):  # Makes way for a new file.
                self.flush()
            return None

    def save_overload(self, sig, data):
        """Files machine code if possible, and warns otherwise."""
        try:
            super().save_overload(sig, data)
        except Exception as error:
            _warn(self.cache_path, "written", error)


_WARNED: set[str] = set()


def _warn(folder: str, what: str, error: Exception) -> None:
    """Warns, once for each folder, that machine code is compiled, and why."""
    if folder not in _WARNED:
        _WARNED.add(folder)
        logger.warning(
            "The machine code of the convolutions could not be %s in %s (%s). It is compiled "
            "instead, which takes some seconds.",
            what,
            folder,
            error,
        )


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Returns a function as machine code, compiled at its first call and filed for later ones."""
    code = numba.njit(fastmath={"contract"}, error_model="numpy", nogil=True)(function)
    with contextlib.suppress(RuntimeError):  # No folder is writable.
        code._cache = _Filed(function)
    return code


# Values that may change are arguments, since filed machine code contains the globals of the process
# that compiled it. It also contains the functions that it calls. They are all in this file, whose
# date tells whether the machine code is up to date.


@_compiled
def _filter(forth, data, spectrum, products, back, begin, end):
    """Convolves the tiles from `begin` to `end`, as many at a time as fit into `data`."""
    for first in range(begin, end, data.shape[1]):
        last = min(first + data.shape[1], end)
        _to_data(forth, data, first, first, last)
        _multiply(data, spectrum, False, spectrum[0], products, last - first, 0, 36)
        _to_outputs(products, back, first, first, last)


@_compiled
def _multiply(data, spectrum, turned, matrix, products, tiles, begin, end):
    """Multiplies the matrices from `begin` to `end`, with `tiles` rows rounded up to blocks.

    If `turned`, each factor is transposed into `matrix` first.
    """
    rows, columns = _block()
    for i in range(begin, end):
        factor = spectrum[i]
        if turned:
            _turn(factor, matrix)
            factor = matrix
        for left in range(0, products.shape[2], columns):
            for top in range(0, tiles, rows):
                _multiply_block(data[i], factor, products[i], top, left)


@_compiled
def _turn(matrix, turned):
    """Transposes a matrix in panels into `turned`."""
    width = matrix.shape[2]
    for i in range(matrix.shape[0]):
        for j in range(turned.shape[0]):
            block = matrix[i, j * width : (j + 1) * width]
            into = turned[j, i * width : (i + 1) * width]
            for k in range(width):
                for c in range(width):
                    into[c, k] = block[k, c]


@_compiled
def _to_data(forth, data, first, begin, end):
    """Transforms the inputs of the tiles from `begin` to `end`; `data` begins at tile `first`."""
    inputs, gate, gated, turned, most = forth
    width, channels = inputs.shape[1:]
    columns = (width + 3) // 4
    run = max(1, most // channels)
    seen = np.zeros((6, 4, (run + 1) * channels), np.float32)
    half = np.empty((6, 4, (run + 1) * channels), np.float32)
    a, b, c = seen.reshape(6, -1), half.reshape(6, -1), data.reshape(36, -1)
    tile = begin
    while tile < end:
        row, left = 4 * (tile // columns), tile % columns
        count = min(run, columns - left, end - tile)
        for i in range(6):
            into = seen[5 - i if turned else i]
            _gather(inputs, gate, gated, row + i - 1, 4 * left - 1, 4 * count + 2, into)
        _times_b(a[0], a[1], a[2], a[3], a[4], a[5], b[0], b[1], b[2], b[3], b[4], b[5])
        size, at = count * channels, (tile - first) * channels
        beyond, then = size + channels, size + at
        for i in range(6):
            z = half[i]
            p, q, r, s = z[0, :size], z[1, :size], z[2, :size], z[3, :size]
            t, u = z[0, channels:beyond], z[1, channels:beyond]
            if turned:
                p, q, r, s, t, u = u, t, s, r, q, p
            _times_b(
                p, q, r, s, t, u,
                c[6 * i, at:then], c[6 * i + 1, at:then], c[6 * i + 2, at:then],
                c[6 * i + 3, at:then], c[6 * i + 4, at:then], c[6 * i + 5, at:then],
            )  # fmt: skip
        tile += count


@_compiled
def _gather(inputs, gate, gated, row, left, count, phases):
    """Copies `count` columns of a row, with zeros around the picture, into four phases.

    Phase i holds columns i, i + 4, i + 8 and so on: a column of each tile.
    """
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
def _to_outputs(products, back, first, begin, end):
    """Transforms the tiles from `begin` to `end` back; `products` begins at tile `first`."""
    outputs, bias, rectified, turned, most = back
    width, filters = outputs.shape[1:]
    columns = (width + 3) // 4
    run = max(1, most // filters)
    half = np.zeros((6, 4, run * filters), np.float32)
    whole = np.empty((4, 4, run * filters), np.float32)
    a, b, c = half.reshape(6, -1), whole.reshape(4, -1), products.reshape(36, -1)
    tile = begin
    while tile < end:
        row, left = 4 * (tile // columns), tile % columns
        count = min(run, columns - left, end - tile)
        size, at = count * filters, (tile - first) * filters
        then = at + size
        for i in range(6):
            z = half[i]
            p, q, r, s = z[0, :size], z[1, :size], z[2, :size], z[3, :size]
            if turned:
                p, q, r, s = s, r, q, p
            _times_a(
                c[6 * i, at:then], c[6 * i + 1, at:then], c[6 * i + 2, at:then],
                c[6 * i + 3, at:then], c[6 * i + 4, at:then], c[6 * i + 5, at:then],
                p, q, r, s,
            )  # fmt: skip
        _times_a(a[0], a[1], a[2], a[3], a[4], a[5], b[0], b[1], b[2], b[3])
        for i in range(4):
            found = whole[3 - i if turned else i]
            _spread(found, bias, rectified, outputs, row + i, 4 * left, 4 * count)
        tile += count


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
    """Writes `count` columns of a row from four phases, within the picture; NaN stays NaN."""
    height, width, filters = outputs.shape
    for i in range(min(count, width - left) if row < height else 0):
        values, place = phases[i % 4], i // 4 * filters
        for c in range(filters):
            value = values[place + c]
            if rectified:
                value += bias[c]
                value = np.float32(0) if value < 0 else value
            outputs[row, left + i, c] = value


# Python cannot keep values in registers, so the rest emits LLVM code. With AVX-512 vectors have 16
# values, and registers hold the sums of 12 rows by 2 vectors; else they have 8, and it is 6 by 2.


def _sizes(context):
    """Returns the rows of a block and the values of a vector for the processor."""
    return (12, 16) if "+avx512f" in context.codegen().magic_tuple()[2] else (6, 8)


@intrinsic
def _block(typing):
    """Returns the rows and columns of a block of `_multiply_block`."""
    sizes = types.UniTuple(types.intp, 2)

    def code(context, builder, signature, arguments):
        rows, lanes = _sizes(context)
        both = [context.get_constant(types.intp, size) for size in (rows, 2 * lanes)]
        return context.make_tuple(builder, sizes, both)

    return sizes(), code


@intrinsic
def _multiply_block(typing, factor, panels, products, top, left):
    """Computes the block at row `top` and column `left` of the product of `factor` and `panels`."""

    def code(context, builder, signature, arguments):
        factor, panels, products = (
            _Array(context, builder, signature.args[i], arguments[i]) for i in range(3)
        )
        top, left = arguments[3:]
        rows, lanes = _sizes(context)
        vector = ir.VectorType(ir.FloatType(), lanes)
        below = [builder.add(top, top.type(row)) for row in range(rows)]
        beside = [builder.add(left, left.type(column)) for column in (0, lanes)]
        width = left.type(_PANEL)
        zero = ir.Constant(vector, None)
        sums = [[cgutils.alloca_once_value(builder, zero) for _ in beside] for _ in below]
        with cgutils.for_range(builder, factor.sizes[1]) as loop:
            values = [
                panels.load(
                    vector, builder.sdiv(column, width), loop.index, builder.srem(column, width)
                )
                for column in beside
            ]
            for row, of_row in zip(below, sums, strict=True):
                number = factor.load(ir.FloatType(), row, loop.index)
                _add_multiples(builder, of_row, number, values)
        for row, of_row in zip(below, sums, strict=True):
            for column, each in zip(beside, of_row, strict=True):
                products.store(builder.load(each), row, column)
        return context.get_dummy_value()

    return types.void(factor, panels, products, top, left), code


class _Array:
    """A contiguous float32 array in LLVM code."""

    def __init__(self, context, builder, kind, value):
        array = context.make_array(kind)(context, builder, value)
        self._builder, self._data = builder, array.data
        self.sizes = cgutils.unpack_tuple(builder, array.shape)

    def load(self, kind, *place):
        """Returns the number at a place, or the vector from there on."""
        return self._builder.load(self._at(kind, place), align=4)

    def store(self, vector, *place):
        """Writes a vector from a place on."""
        self._builder.store(vector, self._at(vector.type, place), align=4)

    def _at(self, kind, place):
        at = place[0]
        for size, index in zip(self.sizes[1:], place[1:], strict=True):
            at = self._builder.add(self._builder.mul(at, size), index)
        return self._builder.bitcast(self._builder.gep(self._data, [at]), kind.as_pointer())


def _add_multiples(builder, sums, number, values):
    """Adds `number` times each vector of `values` to the sums, which LLVM keeps in registers."""
    kind, index = values[0].type, ir.IntType(32)
    lanes = ir.Constant(ir.VectorType(index, kind.count), [0] * kind.count)
    single = builder.insert_element(ir.Constant(kind, None), number, index(0))
    factor = builder.shuffle_vector(single, single, lanes)
    for each, value in zip(sums, values, strict=True):
        product = builder.fmul(factor, value, flags=("contract",))
        builder.store(builder.fadd(builder.load(each), product, flags=("contract",)), each)
