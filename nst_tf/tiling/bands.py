"""One optimiser step on a picture in tiles, one band of rows after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf import optimizers
from nst_tf.kernels import arrays, graphs
from nst_tf.tiling import segments
from nst_tf.tiling.tiled_objective import TiledObjective, TiledTargets

_BAND = 1 << 18  # Pixels of a band of whole rows, the optimiser's input at a time.


def compile_tiled_step(
    optimizer: optimizers.Optimizer, *, run_eagerly: bool = False
) -> Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]]:
    """Returns one optimiser step on a picture in tiles; see `engine.compile_step`.

    The optimiser takes one band of the picture after the other, so that its intermediate tensors
    are no larger than a band, unless it needs the whole picture.

    Args:
        optimizer: the optimiser.
        run_eagerly: run without graphs, for debugging.
    """
    summed = optimizers.summed(optimizer)
    projected: Callable[..., Any] = summed.projected
    sums_of: Callable[..., Any] = summed.sums
    moved: Callable[..., Any] = summed.update_with_sums
    if not run_eagerly:
        projected, sums_of, moved = map(graphs.traced, (projected, sums_of, moved))

    def step(
        objective: TiledObjective,
        image: tf.Variable,
        state: dict[str, tf.Variable],
        targets: TiledTargets,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        bands = _Bands(image, state, whole=summed.whole)
        at = _Point(summed, bands)
        weights = [float(each) for each in summed.smoothing(state)]
        evaluation = objective.value_and_gradient(at, targets)
        if not np.isfinite(np.sum(evaluation.gradient)):  # NumPy sums without a copy.
            evaluation = evaluation._replace(loss=tf.constant(float("nan")))

        def read(rows: slice) -> tf.Tensor:
            return projected(at.part(rows, slice(None)), evaluation.gradient[:, rows])

        smoothed = optimizers.Smoothed(read, image.shape[1], weights, bands.height)

        def seen(rows: slice) -> optimizers.Evaluation:
            part = evaluation._replace(gradient=evaluation.gradient[:, rows])
            return part._replace(smoothed=smoothed.part(rows)) if weights else part

        sums: Any = None
        for rows in bands.all_rows():
            sums = segments.added(sums, sums_of(*bands.read(rows), seen(rows)))
            if not sums:
                break
        after: optimizers.State = {}
        for rows in bands.all_rows():
            part, after = moved(*bands.read(rows), seen(rows), sums)
            bands.write(rows, part, after)
        bands.finish(after)
        return evaluation.loss, evaluation.terms

    return step


def result(
    optimizer: optimizers.Optimizer, image: tf.Variable, state: dict[str, tf.Variable]
) -> tf.Tensor:
    """Returns the picture to show, in [0, 1], in the memory of the host.

    Args:
        optimizer: the optimiser of the run.
        image: the iterate, `(1, height, width, 3)`.
        state: state of the optimiser; empty before the first step.
    """
    bands = _Bands(image, state)
    found = arrays.empty(image.shape, image.dtype.as_numpy_dtype)
    for rows in bands.all_rows():
        part = bands.image_of(rows)
        shown = optimizer.result(part, _StateOf(bands, rows)) if state else part
        found[:, rows] = tf.clip_by_value(shown, 0.0, 1.0)
    return arrays.to_tensor(found)


class _Bands:
    """Picture and state of an optimiser, read and written in bands of rows.

    Args:
        image: the picture.
        state: state of the optimiser. Entries with the height and width of the picture are read
            and written in bands, others as a whole.
        whole: whether there is one band, the whole picture.

    Attributes:
        image: the picture.
        state: state of the optimiser.
        height: height of a band, in rows.
    """

    def __init__(
        self, image: tf.Variable, state: dict[str, tf.Variable], *, whole: bool = False
    ) -> None:
        self.image, self.state = image, state
        self.height = image.shape[1] if whole else max(1, _BAND // image.shape[2])
        size = image.shape[:3]
        self._maps = {name for name, each in state.items() if each.shape[:3] == size}

    def all_rows(self) -> list[slice]:
        """Returns the rows of every band."""
        height = self.image.shape[1]
        return [slice(top, min(top + self.height, height)) for top in range(0, height, self.height)]

    def read(self, rows: slice) -> tuple[tf.Tensor, optimizers.State]:
        """Returns some rows of the picture, and the state for these rows."""
        return self.image_of(rows), dict(_StateOf(self, rows))

    def image_of(self, rows: slice) -> tf.Tensor:
        """Returns some rows of the picture."""
        return _rows(self.image, rows)

    def entry_of(self, name: str, rows: slice) -> tf.Tensor:
        """Returns some rows of an entry of the state, or the whole entry if it has no rows."""
        entry = self.state[name]
        return _rows(entry, rows) if name in self._maps else tf.identity(entry)

    def write(self, rows: slice, image: tf.Tensor, state: optimizers.State) -> None:
        """Writes some rows of the picture and of the state, in place."""
        _write_rows(self.image, rows, image)
        for name in self._maps:
            _write_rows(self.state[name], rows, state[name])

    def finish(self, state: optimizers.State) -> None:
        """Writes the entries of the state that have no rows."""
        for name in self.state.keys() - self._maps:
            self.state[name].assign(state[name])


class _StateOf(Mapping[str, tf.Tensor]):
    """The state for some rows of the picture; an entry is read on access."""

    def __init__(self, bands: _Bands, rows: slice) -> None:
        self._bands, self._rows = bands, rows

    def __getitem__(self, name: str) -> tf.Tensor:
        return self._bands.entry_of(name, self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._bands.state)

    def __len__(self) -> int:
        return len(self._bands.state)


class _Point:
    """The picture to evaluate, `SummedOptimizer.point`, of which parts are computed on access."""

    def __init__(self, optimizer: optimizers.SummedOptimizer, bands: _Bands) -> None:
        self._optimizer, self._bands = optimizer, bands
        self.shape, self.dtype = bands.image.shape, bands.image.dtype

    def part(self, rows: slice, columns: slice) -> tf.Tensor:
        state = _StateOf(self._bands, rows)
        return self._optimizer.point(self._bands.image_of(rows), state)[:, :, columns]


def _rows(variable: tf.Variable, rows: slice) -> tf.Tensor:
    """Returns some rows of a picture. Slicing the variable would first read all of it."""
    if _are_all(rows, variable):
        return tf.identity(variable)
    return variable.gather_nd(_places(rows))[tf.newaxis]


def _write_rows(variable: tf.Variable, rows: slice, values: tf.Tensor) -> None:
    """Writes some rows of a picture, in place."""
    if _are_all(rows, variable):
        variable.assign(values)
    else:
        variable.scatter_nd_update(_places(rows), values[0])


def _are_all(rows: slice, variable: tf.Variable) -> bool:
    return rows.stop - rows.start == variable.shape[1]


def _places(rows: slice) -> tf.Tensor:
    """Returns the indices of rows in a batch of one picture, `(rows, 2)`."""
    numbers = tf.range(rows.start, rows.stop)
    return tf.stack([tf.zeros_like(numbers), numbers], axis=1)
