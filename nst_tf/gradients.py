"""The loss, its gradient and the compiled step: the only `tf.function`s of the package."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from nst_tf import objective as objectives
from nst_tf import optimizers

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
        before = {name: tf.identity(variable) for name, variable in state.items()}
        moved, after, evaluation = optimizer.step(
            tf.identity(image), before, lambda at: value_and_gradient(objective, at, targets)
        )

        def write() -> tf.Tensor:
            image.assign(moved)
            for name, variable in state.items():
                variable.assign(after[name])
            return evaluation.loss

        sound = tf.math.is_finite(evaluation.loss)
        sound &= tf.math.is_finite(tf.reduce_sum(evaluation.gradient))
        loss = tf.cond(sound, write, lambda: tf.constant(float("nan")))
        return loss, evaluation.terms

    if run_eagerly:
        return step
    return tf.function(_named(step), jit_compile=jit_compile, autograph=False)


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


def _named(function: Callable[..., Any], **arguments: Any) -> functools.partial[Any]:
    """Returns the function with some arguments given.

    TensorFlow counts retracing by the code object of a function, and a partial has none, so
    it does not take several networks of one process for one function traced over and over.
    """
    return functools.partial(function, **arguments)
