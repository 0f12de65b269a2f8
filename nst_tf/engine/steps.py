"""The loss, its gradient and the compiled step of a whole picture."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from nst_tf import objective as objectives
from nst_tf import optimizers
from nst_tf.kernels import graphs

Step = Callable[
    [tf.Variable, dict[str, tf.Variable], objectives.Targets],
    tuple[tf.Tensor, dict[str, tf.Tensor]],
]
"""Moves picture and state by one step, in place; returns the loss and its weighted terms."""


def value_and_gradient(
    objective: objectives.Objective, image: tf.Tensor, targets: objectives.Targets
) -> optimizers.Evaluation:
    """Returns the loss of a picture, its gradient, and its terms.

    Args:
        objective: the objective.
        image: the picture, float32 of shape `(1, height, width, 3)`, sRGB in [0, 1].
        targets: targets of the objective's terms.
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

    With XLA there is one graph for each size, and the most recently used are kept.

    An evaluation whose gradient is not finite has the loss NaN. With `optimizers.Guarded` such a
    step rolls back to the last good picture, so the caller may check the loss at any later step.

    Args:
        objective: the objective.
        optimizer: the optimiser.
        run_eagerly: run without a graph, for debugging.
        jit_compile: compile the graph with XLA.
    """

    def taken(
        image: tf.Tensor, state: optimizers.State, targets: objectives.Targets
    ) -> tuple[tf.Tensor, optimizers.State, tf.Tensor, dict[str, tf.Tensor]]:
        moved, after, evaluation = optimizers.step(
            optimizer, image, state, lambda at: _checked(value_and_gradient(objective, at, targets))
        )
        return moved, after, evaluation.loss, evaluation.terms

    if not run_eagerly:
        taken = graphs.traced(taken, any_size=not jit_compile, jit_compile=jit_compile)

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
    """Returns the evaluation, its loss NaN where its gradient is not finite."""
    sound = tf.math.is_finite(tf.reduce_sum(evaluation.gradient))
    # A constant NaN would trip `tf.debugging.enable_check_numerics` in the host program.
    nothing = tf.sqrt(tf.where(sound, 0.0, -1.0))
    return evaluation._replace(loss=evaluation.loss + nothing)


def compile_targets(
    objective: objectives.Objective, reference: str, *, run_eagerly: bool = False
) -> Callable[[tf.Tensor, tf.Tensor], objectives.Targets]:
    """Returns `objective.targets` of a reference as one graph for pictures of all sizes."""
    targets = graphs.named(objective.targets, reference=reference)
    if run_eagerly:
        return targets
    signature = [tf.TensorSpec((1, None, None, 3)), tf.TensorSpec((1, None, None, None))]
    return graphs.graph(targets, input_signature=signature)
