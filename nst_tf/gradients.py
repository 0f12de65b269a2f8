"""The loss, its gradient and the compiled step: the only `tf.function`s of the package."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from nst_tf import objective as objectives
from nst_tf import optimizers
from nst_tf import tiles as tile_plans

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
        loss, terms = objective.value(statistics, targets)
    return optimizers.Evaluation(loss, tape.gradient(loss, image), terms)


def compile_step(
    objective: objectives.Objective,
    optimizer: optimizers.Optimizer,
    *,
    run_eagerly: bool = False,
    jit_compile: bool = False,
) -> Step:
    """Returns one optimiser step as a graph, traced anew only for a new shape.

    A step whose loss is not a finite number changes nothing, so that the picture stays the
    last good one however late the caller looks.

    Args:
        objective: what is minimised.
        optimizer: how.
        run_eagerly: leave out the graph, to debug.
        jit_compile: compile the graph with XLA.
    """

    def step(
        image: tf.Variable, state: dict[str, tf.Variable], targets: objectives.Targets
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        return _take(optimizer, image, state, lambda at: value_and_gradient(objective, at, targets))

    if run_eagerly:
        return step
    return tf.function(_named(step), jit_compile=jit_compile, autograph=False)


def _take(
    optimizer: optimizers.Optimizer,
    image: tf.Variable,
    state: dict[str, tf.Variable],
    evaluate: Callable[[tf.Tensor], optimizers.Evaluation],
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Moves picture and state one step; returns the loss, NaN where it changed nothing."""
    before = {name: tf.identity(variable) for name, variable in state.items()}
    moved, after, evaluation = optimizer.step(tf.identity(image), before, evaluate)

    def write() -> tf.Tensor:
        image.assign(moved)
        for name, variable in state.items():
            variable.assign(after[name])
        return evaluation.loss

    sound = tf.math.is_finite(evaluation.loss)
    sound &= tf.math.is_finite(tf.reduce_sum(evaluation.gradient))
    loss = tf.cond(sound, write, lambda: tf.constant(float("nan")))
    return loss, evaluation.terms


def compile_targets(
    objective: objectives.Objective, *, run_eagerly: bool = False
) -> Callable[..., objectives.Targets]:
    """Returns `objective.targets` as a graph that serves pictures of every size."""
    if run_eagerly:
        return objective.targets
    signature = [tf.TensorSpec((1, None, None, 3)), tf.TensorSpec((1, None, None, 1))]
    compiled = {
        model: tf.function(_named(objective.targets, model=model), signature, autograph=False)
        for model in ("content", "style")
    }
    return lambda image, weights, model: compiled[model](image, weights)


@dataclasses.dataclass(frozen=True)
class TiledTargets:
    """The targets of a picture that is looked at tile by tile.

    Attributes:
        shared: what the whole picture is held against.
        tiles: of the picture.
        maps: for each tile, the activations that its own are compared with one by one.
    """

    shared: objectives.Targets
    tiles: Sequence[tile_plans.Tile]
    maps: Sequence[objectives.Targets]


class TiledObjective:
    """Loss and gradient of a picture of any size, in the memory that one tile takes.

    The first pass adds up the statistics of all tiles. The loss is a function of the sums, and
    so are its derivatives with respect to them. The second pass takes these back through each
    tile and adds up the gradients of the pixels, those around the tile's own included. As every
    position of every layer belongs to one tile, which shows all that it depends on, the
    result is that of the whole picture, to rounding.

    Args:
        objective: what is minimised; its losses are functions of sums over positions.
        run_eagerly: leave out the graphs, to debug.
    """

    def __init__(self, objective: objectives.Objective, *, run_eagerly: bool = False) -> None:
        self._objective = objective

        def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
            if run_eagerly:
                return function
            return tf.function(_named(function), autograph=False, reduce_retracing=True)

        self._statistics = compiled(objective.statistics)
        self._gradient = compiled(self._tile_gradient)
        self._measure = {
            model: compiled(functools.partial(objective.measure, model=model))
            for model in ("content", "style")
        }

    def targets(
        self, image: tf.Tensor, weights: tf.Tensor, tiles: Sequence[tile_plans.Tile], model: str
    ) -> TiledTargets:
        """Returns the targets of all terms that take `image` for their model.

        Args:
            image: float32 of shape `(1, height, width, 3)`, sRGB in [0, 1].
            weights: of its pixels, `(1, height, width, 1)`, or `(1, 1, 1, 1)` for all alike.
            tiles: of the picture.
            model: `content` or `style`, the role of the picture.
        """
        sums: Any = None
        maps = []
        for tile in tiles:
            everywhere = weights if weights.shape[1] == 1 else _shown(weights, tile)
            found, part = self._measure[model](_shown(image, tile), everywhere, _owned(tile))
            sums = _added(sums, found)
            maps.append(part)
        return TiledTargets(self._objective.summary(sums), tiles, maps)

    def step(
        self,
        optimizer: optimizers.Optimizer,
        image: tf.Variable,
        state: dict[str, tf.Variable],
        targets: TiledTargets,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Takes one step, as the function that `compile_step` returns does."""
        return _take(optimizer, image, state, lambda at: self.value_and_gradient(at, targets))

    def value_and_gradient(self, image: tf.Tensor, targets: TiledTargets) -> optimizers.Evaluation:
        """Returns the loss of a picture, its gradient, and its terms."""
        sums: Any = None
        for tile, part in zip(targets.tiles, targets.maps, strict=True):
            wanted = _merged(targets.shared, part)
            sums = _added(sums, self._statistics(_shown(image, tile), wanted, _owned(tile)))
        with tf.GradientTape() as tape:
            tape.watch(sums)
            loss, terms = self._objective.value(sums, targets.shared)
        slopes = tape.gradient(loss, sums, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        gradient = tf.Variable(tf.zeros_like(image))
        for tile, part in zip(targets.tiles, targets.maps, strict=True):
            wanted = _merged(targets.shared, part)
            found = self._gradient(_shown(image, tile), wanted, _owned(tile), slopes)
            shown = _shown(gradient, tile)
            shown.assign(shown + found)
        return optimizers.Evaluation(loss, tf.identity(gradient), terms)

    def _tile_gradient(
        self,
        image: tf.Tensor,
        targets: objectives.Targets,
        owned: tf.Tensor,
        slopes: objectives.Targets,
    ) -> tf.Tensor:
        """Returns the gradient of what is shown of a picture, given those of the statistics."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(image)
            statistics = self._objective.statistics(image, targets, owned)
        sources = tf.nest.flatten(statistics)
        return tape.gradient(sources, image, tf.nest.flatten(slopes), unconnected_gradients="zero")


def _shown(image: tf.Tensor | tf.Variable, tile: tile_plans.Tile) -> Any:
    rows, columns = tile.rows, tile.columns
    return image[:, rows.start : rows.stop, columns.start : columns.stop]


def _owned(tile: tile_plans.Tile) -> tf.Tensor:
    return tf.constant(tile.owned, tf.int32)


def _added(sums: Any, more: Any) -> Any:
    return more if sums is None else tf.nest.map_structure(tf.add, sums, more)


def _merged(shared: objectives.Targets, part: objectives.Targets) -> objectives.Targets:
    return {name: {**target, **part.get(name, {})} for name, target in shared.items()}


def _named(function: Callable[..., Any], **arguments: Any) -> functools.partial[Any]:
    """Returns the function with some arguments given.

    TensorFlow counts retracing by the code object of a function, and a partial has none, so
    it does not take several networks of one process for one function traced over and over.
    """
    return functools.partial(function, **arguments)
