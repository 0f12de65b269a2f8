"""One optimiser step on a picture in tiles, one band of rows after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf import optimizers
from nst_tf.kernels import arrays, graphs
from nst_tf.tiling import segments
from nst_tf.tiling.tiled_objective import TiledObjective, TiledTargets

_BAND = 1 << 18  # Pixels of a picture, in whole rows, that an optimiser is shown at a time.


def compile_tiled_step(
    optimizer: optimizers.Optimizer, *, run_eagerly: bool = False
) -> Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]]:
    """Returns one optimiser step on a picture in tiles, in the manner of `compile_step`.

    The optimiser is shown one band of the picture after the other, so that what it computes with
    takes no more memory than a band.

    Args:
        optimizer: how to move.
        run_eagerly: leave out the graphs, to debug.
    """

    def sums_of(
        image: tf.Tensor, state: optimizers.State, evaluation: optimizers.Evaluation
    ) -> optimizers.Sums:
        return optimizer.sums(image, state, optimizer.point(image, state), evaluation)

    def moved(
        image: tf.Tensor,
        state: optimizers.State,
        evaluation: optimizers.Evaluation,
        sums: optimizers.Sums,
    ) -> tuple[tf.Tensor, optimizers.State]:
        point = optimizer.point(image, state)
        return optimizer.update(image, state, point, evaluation, sums)

    point: Callable[..., Any] = optimizer.point
    projected: Callable[..., Any] = optimizer.projected
    if not run_eagerly:
        point, projected, sums_of, moved = (
            graphs.traced(function) for function in (point, projected, sums_of, moved)
        )

    def step(
        objective: TiledObjective,
        image: tf.Variable,
        state: dict[str, tf.Variable],
        targets: TiledTargets,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        bands = _Bands(image, state)
        at = _Point(point, bands, optimizer.point_state)
        weights = [float(each) for each in optimizer.smoothing(state)]
        evaluation = objective.value_and_gradient(at, targets)
        if not np.isfinite(np.sum(evaluation.gradient)):  # Without a copy, as `_checked` makes.
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
        optimizer: that the steps were taken with.
        image: that they walk on.
        state: of the optimiser; empty before the first step.
    """
    bands = _Bands(image, state)
    found = arrays.empty(image.shape, image.dtype.as_numpy_dtype)
    for rows in bands.all_rows():
        part, its_state = bands.read(rows, optimizer.result_state if state else ())
        shown = optimizer.result(part, its_state) if state else part
        found[:, rows] = tf.clip_by_value(shown, 0.0, 1.0)
    return arrays.to_tensor(found)


class _Bands:
    """Picture and state of an optimiser, of which bands of rows are read and written.

    Args:
        image: the picture.
        state: of the optimiser; what has the size of the picture is read and written in bands.

    Attributes:
        height: of a band, in rows.
    """

    def __init__(self, image: tf.Variable, state: dict[str, tf.Variable]) -> None:
        self.image, self._state = image, state
        self.height = max(1, _BAND // image.shape[2])
        self._maps = [name for name, each in state.items() if each.shape == image.shape]

    def all_rows(self) -> list[slice]:
        """Returns the rows of every band."""
        height = self.image.shape[1]
        return [slice(top, min(top + self.height, height)) for top in range(0, height, self.height)]

    def read(
        self, rows: slice, names: Iterable[str] | None = None
    ) -> tuple[tf.Tensor, optimizers.State]:
        """Returns some rows of the picture, and the state that belongs to them, or some of it."""
        state = {
            name: _rows(self._state[name], rows)
            if name in self._maps
            else tf.identity(self._state[name])
            for name in (self._state if names is None else names)
        }
        return _rows(self.image, rows), state

    def write(self, rows: slice, image: tf.Tensor, state: optimizers.State) -> None:
        """Writes some rows of the picture and of the state, in place."""
        self.image.scatter_nd_update(_places(rows), image[0])
        for name in self._maps:
            self._state[name].scatter_nd_update(_places(rows), state[name][0])

    def finish(self, state: optimizers.State) -> None:
        """Writes what of the state belongs to all rows."""
        for name in self._state.keys() - set(self._maps):
            self._state[name].assign(state[name])


class _Point:
    """The picture that an optimiser asks about, which is computed where it is looked at."""

    def __init__(
        self, point: Callable[..., tf.Tensor], bands: _Bands, names: Sequence[str]
    ) -> None:
        self._point, self._bands, self._names = point, bands, names
        self.shape, self.dtype = bands.image.shape, bands.image.dtype

    def part(self, rows: slice, columns: slice) -> tf.Tensor:
        return self._point(*self._bands.read(rows, self._names))[:, :, columns]


def _rows(variable: tf.Variable, rows: slice) -> tf.Tensor:
    """Returns some rows of a picture; to slice the variable would first read all of it."""
    return variable.gather_nd(_places(rows))[tf.newaxis]


def _places(rows: slice) -> tf.Tensor:
    """Returns the indices of rows in a batch of one picture, `(rows, 2)`."""
    numbers = tf.range(rows.start, rows.stop)
    return tf.stack([tf.zeros_like(numbers), numbers], axis=1)
