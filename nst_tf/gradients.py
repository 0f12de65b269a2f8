"""The loss, its gradient and the compiled step: the only `tf.function`s of the package."""

from __future__ import annotations

import collections
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf import backbones, optimizers, passes, shelf
from nst_tf import objective as objectives
from nst_tf import tiles as tile_plans

_MOST_GRAPHS = 16  # Of one function, for different signatures; the last that were used are kept.
_BAND = 1 << 18  # Pixels of a picture, in whole rows, that an optimiser is shown at a time.

Step = Callable[
    [tf.Variable, dict[str, tf.Variable], objectives.Targets],
    tuple[tf.Tensor, dict[str, tf.Tensor]],
]
"""Moves picture and state one step, in place; returns the loss and its weighted terms."""


def value_and_gradient(
    objective: objectives.Objective, image: tf.Tensor, targets: objectives.Targets
) -> optimizers.Evaluation:
    """Returns the loss of a picture, its gradient, and its terms.

    Args:
        objective: what is minimised.
        image: float32 of shape `(1, height, width, 3)`, sRGB in [0, 1].
        targets: of the objective's terms.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(image)
        statistics = objective.statistics(image, targets)
        loss, terms = objective.value(statistics, targets, tf.reduce_prod(tf.shape(image)[1:3]))
    return optimizers.Evaluation(loss, tape.gradient(loss, image), terms)


def compile_step(
    objective: objectives.Objective,
    optimizer: optimizers.Optimizer,
    *,
    run_eagerly: bool = False,
    jit_compile: bool = False,
) -> Step:
    """Returns one optimiser step as a graph, traced once for pictures of all sizes.

    XLA compiles it for each size by itself, and the last of these are kept.

    An evaluation whose gradient is not finite has the loss NaN. With `optimizers.Guarded` such a
    step goes back to the last good picture, so that it is there however late the caller looks.

    Args:
        objective: what is minimised.
        optimizer: how.
        run_eagerly: leave out the graph, to debug.
        jit_compile: compile the graph with XLA.
    """

    def taken(
        image: tf.Tensor, state: optimizers.State, targets: objectives.Targets
    ) -> tuple[tf.Tensor, optimizers.State, tf.Tensor, dict[str, tf.Tensor]]:
        moved, after, evaluation = optimizer.step(
            image, state, lambda at: _checked(value_and_gradient(objective, at, targets))
        )
        return moved, after, evaluation.loss, evaluation.terms

    if not run_eagerly:
        taken = _traced(taken, any_size=not jit_compile, jit_compile=jit_compile)

    def step(
        image: tf.Variable, state: dict[str, tf.Variable], targets: objectives.Targets
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        moved, after, loss, terms = taken(tf.identity(image), _read(state), targets)
        _write(image, state, moved, after)
        return loss, terms

    return step


def _read(state: dict[str, tf.Variable]) -> optimizers.State:
    return {name: tf.identity(variable) for name, variable in state.items()}


def _write(
    image: tf.Variable, state: dict[str, tf.Variable], moved: tf.Tensor, after: optimizers.State
) -> None:
    image.assign(moved)
    for name, variable in state.items():
        variable.assign(after[name])


def _checked(evaluation: optimizers.Evaluation) -> optimizers.Evaluation:
    """Returns the evaluation, its loss no number where its gradient is none."""
    sound = tf.math.is_finite(tf.reduce_sum(evaluation.gradient))
    # No constant, which would alarm a host that has all numbers checked.
    nothing = tf.sqrt(tf.where(sound, 0.0, -1.0))
    return evaluation._replace(loss=evaluation.loss + nothing)


def compile_targets(
    objective: objectives.Objective, model: str, *, run_eagerly: bool = False
) -> Callable[[tf.Tensor, tf.Tensor], objectives.Targets]:
    """Returns `objective.targets` of a model as a graph that serves pictures of every size."""
    targets = _named(objective.targets, model=model)
    if run_eagerly:
        return targets
    signature = [tf.TensorSpec((1, None, None, 3)), tf.TensorSpec((1, None, None, None))]
    return _graph(targets, input_signature=signature)


@dataclasses.dataclass(frozen=True)
class TiledTargets:
    """The targets of a picture that is looked at tile by tile.

    Attributes:
        shared: what the whole picture is held against.
        tiles: of the picture, and of the layer that each further section begins with.
        maps: likewise, for each tile, the activations that its own are compared with one by
            one. They grow with the picture, so they are put aside on a shelf.
    """

    shared: objectives.Targets
    tiles: Sequence[Sequence[tile_plans.Tile]]
    maps: Sequence[Sequence[objectives.Targets]]


class TiledObjective:
    """Loss and gradient of a picture of any size, in the memory that one tile takes.

    On the way forth the statistics of all tiles are added up. The loss is a function of the sums,
    and so are its derivatives with respect to them, which the way back takes through each
    tile, adding up the gradients of the pixels, those around the tile's own included. As every
    position of every layer belongs to one tile, which shows all that it depends on, the
    result is that of the whole picture, to rounding.

    A tile is gone through layer by layer. What its way back needs is little: the activations that
    the losses look at, and one bit for every other, as the weights are fixed. It is put aside in
    a file; where there is none, the tile is gone through once more.

    With cuts, the network is gone through in sections, each in tiles of its own. Each hands on the
    activations at its end to the next.

    Args:
        objective: what is minimised; its losses are functions of sums over positions.
        cuts: names of the layers, the lowest first, that each end a section.
        keeps: put aside what the way back needs; else it is computed a second time.
        run_eagerly: leave out the graphs, to debug.
    """

    def __init__(
        self,
        objective: objectives.Objective,
        cuts: Sequence[str] = (),
        *,
        keeps: bool = True,
        run_eagerly: bool = False,
    ) -> None:
        def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
            if run_eagerly:
                return _of_tensors(function)
            return _traced(function)

        self._objective = objective
        self._sections = [passes.Section(part, compiled) for part in objective.sections(cuts)]
        self._keeps = keeps
        self._shelves: list[shelf.Shelf] = []  # Of evaluations that have ended.
        self._value = compiled(self._value_and_slopes)

    def cut(self, height: int, width: int, sides: Sequence[int]) -> list[list[tile_plans.Tile]]:
        """Returns the tiles of a picture for each section of the network.

        Args:
            height: of the picture, in pixels.
            width: of the picture, in pixels.
            sides: of the tiles of each section, in pixels of the picture; 0 for a single tile.
        """
        found, scale = [], 1
        for section, side in zip(self._sections, sides, strict=True):
            size = height // scale, width // scale
            stride, halo = section.reach()
            found.append(tile_plans.cut(*size, -(-side // scale), halo, stride))
            scale *= section.link_stride
        return found

    def targets(
        self,
        image: Any,
        weights: tf.Tensor,
        tiles: Sequence[Sequence[tile_plans.Tile]],
        model: str,
    ) -> TiledTargets:
        """Returns the targets of all terms that take `image` for their model.

        Args:
            image: float32 of shape `(1, height, width, 3)`, sRGB in [0, 1]: an array or a tensor.
            weights: of its pixels, `(1, height, width, regions)`, or `(1, 1, 1, 1)` for all alike.
            tiles: what `cut` returned for the picture.
            model: `content` or `style`, the role of the picture.
        """
        sums: Any = {}
        maps = []
        for section, cut in zip(self._sections, tiles, strict=True):
            found, parts, image = section.measure_all(image, weights, cut, model)
            if weights.shape[1] > 1:
                weights = objectives.pooled(weights, section.link_stride)
            sums.update(found)
            maps.append(parts)
        return TiledTargets(self._objective.summary(sums), tiles, maps)

    def value_and_gradient(self, image: Any, targets: TiledTargets) -> optimizers.Evaluation:
        """Returns the loss of a picture, its gradient, and its terms.

        What grows with the picture is kept on the host: the gradient is a NumPy array.

        Args:
            image: float32 of shape `(1, height, width, 3)`, sRGB in [0, 1]: an array or a tensor.
            targets: of the objective's terms.
        """
        if not self._keeps:
            return self._evaluate(image, targets, None)
        try:  # What threads put aside at the same time must not meet.
            file = self._shelves.pop()
        except IndexError:
            file = shelf.Shelf()
        try:
            return self._evaluate(image, targets, passes.on_disk(file))
        finally:
            file.clear()
            self._shelves.append(file)

    def _evaluate(
        self, image: Any, targets: TiledTargets, put: passes.Put | None
    ) -> optimizers.Evaluation:
        """Returns what `value_and_gradient` does, given what puts tensors aside."""
        shared, pixels = targets.shared, tf.constant(image.shape[1] * image.shape[2])
        sections = list(zip(self._sections, targets.tiles, targets.maps, strict=True))
        inputs, kept = [image], []
        sums: objectives.Targets = {}
        for section, tiles, maps in sections:
            at_once = section is self._sections[-1] and len(tiles) == 1
            aside = put or (passes.in_memory if at_once else None)
            found, link, parts = section.forth_all(inputs[-1], shared, tiles, maps, aside)
            sums.update(found)
            inputs.append(link)
            kept.append(parts)
        inputs.pop()
        loss, terms, slopes = self._value(sums, shared, pixels)
        gradient: Any = None
        for section, tiles, maps in reversed(sections):
            second = passes.Second(shared, slopes, gradient)
            gradient = section.back_all(inputs.pop(), second, tiles, maps, kept.pop())
        return optimizers.Evaluation(loss, gradient.mapped(), terms)

    def _value_and_slopes(
        self, sums: Any, shared: objectives.Targets, pixels: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], Any]:
        """Returns the loss, its terms, and its derivatives with respect to the sums."""
        with tf.GradientTape() as tape:
            tape.watch(sums)
            loss, terms = self._objective.value(sums, shared, pixels)
        return loss, terms, tape.gradient(loss, sums, unconnected_gradients="zero")


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
            _traced(function) for function in (point, projected, sums_of, moved)
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
            sums = passes.added(sums, sums_of(*bands.read(rows), seen(rows)))
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
    found = shelf.empty(image.shape, image.dtype.as_numpy_dtype)
    for rows in bands.all_rows():
        part, its_state = bands.read(rows, optimizer.result_state if state else ())
        shown = optimizer.result(part, its_state) if state else part
        found[:, rows] = tf.clip_by_value(shown, 0.0, 1.0)
    return passes.to_tensor(found)


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


def _traced(
    function: Callable[..., Any], *, any_size: bool = True, jit_compile: bool = False
) -> Callable[..., Any]:
    """Returns a function of nested tensors, or arrays, as graphs, of which the last are kept.

    Args:
        function: of tensors.
        any_size: whether one graph serves pictures of all sizes.
        jit_compile: compile it with XLA.
    """
    graphs: collections.OrderedDict[str, Any] = collections.OrderedDict()
    lock = threading.Lock()

    def spec(value: tf.Tensor) -> tf.TensorSpec:
        a_picture = any_size and value.shape.rank == 4
        shape = (1, None, None, value.shape[-1]) if a_picture else value.shape
        return tf.TensorSpec(shape, value.dtype)

    def call(*tensors: Any) -> Any:
        specs = tf.nest.map_structure(spec, tensors)
        key = repr(specs)
        with lock:
            graph = graphs.pop(key, None)
            if graph is None:  # A function of its own, which can be forgotten.
                compiled = _graph(function, jit_compile=jit_compile)
                graph = compiled.get_concrete_function(*specs)
            graphs[key] = graph
            if len(graphs) > _MOST_GRAPHS:
                graphs.popitem(last=False)
        return graph(*tensors)

    return _of_tensors(call)


def _of_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that may be given arrays for tensors."""

    def call(*arguments: Any) -> Any:
        return function(*tf.nest.map_structure(passes.to_tensor, arguments))

    return call


def _graph(function: Callable[..., Any], *, jit_compile: bool = False, **options: Any) -> Any:
    """Returns a function as a graph of this process, by the fastest kernels there are.

    Args:
        function: of tensors.
        jit_compile: compile it with XLA, which has kernels of its own.
        options: further ones of `tf.function`.
    """

    def traced(*arguments: Any) -> Any:
        with backbones.minimal_filtering(not jit_compile):
            return function(*arguments)

    return tf.function(_named(traced), jit_compile=jit_compile, autograph=False, **options)


def _named(function: Callable[..., Any], **arguments: Any) -> functools.partial[Any]:
    """Returns the function with some arguments given.

    TensorFlow counts retracing by the code object of a function, and a partial has none, so
    it does not take several networks of one process for one function traced over and over.
    """
    return functools.partial(function, **arguments)
