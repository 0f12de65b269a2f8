"""The graph of a functional Keras model: its operations in order, and a copy of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import keras

from nst_tf import errors


def nodes(model: keras.Model) -> list[Any]:
    """Returns the calls of operations in a functional or sequential model, inputs before outputs.

    Each has an `operation`, its `arguments`, `input_tensors` and `outputs`.
    """
    by_depth = (getattr(model, "_functional", None) or model)._nodes_by_depth
    return [
        node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]
        if not node.is_input
    ]  # fmt: skip


def layer_names(model: keras.Model) -> list[str]:
    """Returns the names of a model's layers, but for its inputs."""
    inputs = keras.layers.InputLayer
    return [layer.name for layer in model.layers if not isinstance(layer, inputs)]


def copied(model: keras.Model, names: Sequence[str], inputs: keras.KerasTensor) -> dict[str, Any]:
    """Returns the outputs of a model's layers for other inputs, through copies of its layers.

    Models within the model become layers of the copy.

    Args:
        model: functional or sequential, with one input.
        names: of its layers.
        inputs: of the copy.

    Raises:
        ConfigError: the model has no such layer, or a layer has no single output or cannot be
            copied.
    """
    valid = layer_names(model)
    wanted = {
        name: _output(model, errors.known(f"layer of {model.name}", name, valid)) for name in names
    }
    part = keras.Model(model.inputs, list(wanted.values()))
    state = random.getstate()  # Keras draws the seeds of its initialisers there.
    try:
        tensors = _run(part, [inputs], {})
    finally:
        random.setstate(state)
    return {name: tensors[id(tensor)] for name, tensor in wanted.items()}


def _output(model: keras.Model, name: str) -> keras.KerasTensor:
    layer = model.get_layer(name)
    try:
        output = layer.output
    except AttributeError:
        output = None
    if not keras.utils.is_keras_tensor(output) or len(output.shape) != 4:
        raise errors.ConfigError(
            f"the layer {name} of {model.name} cannot be exposed: expected one output of shape "
            "(batch, height, width, channels), and a layer that is used once."
        )
    return output


def _run(
    model: keras.Model, inputs: Sequence[keras.KerasTensor], copies: dict[int, Any]
) -> dict[int, keras.KerasTensor]:
    """Returns the tensors of a copy, by the ids of those that they stand for."""
    tensors = dict(zip(map(id, model.inputs), inputs, strict=True))
    for node in nodes(model):
        arguments, settings = node.arguments.fill_in(tensors)
        operation = node.operation
        if isinstance(operation, keras.Model) and getattr(operation, "inputs", None):
            inner = _run(operation, keras.tree.flatten(arguments), copies)
            outputs: Sequence[Any] = [inner[id(tensor)] for tensor in operation.outputs]
        else:
            outputs = _called(operation, copies, arguments, settings)
        tensors |= zip(map(id, node.outputs), outputs, strict=True)
    return tensors


def _called(
    operation: Any, copies: dict[int, Any], arguments: Any, settings: Any
) -> Sequence[keras.KerasTensor]:
    """Returns the outputs of an operation's copy, which has its weights."""
    copy = copies.get(id(operation)) or _copy(operation)
    outputs = keras.tree.flatten(copy(*arguments, **settings))
    if id(operation) not in copies and isinstance(operation, keras.layers.Layer):
        copy.set_weights(operation.get_weights())
    copies[id(operation)] = copy
    return outputs


def _copy(operation: Any) -> Any:
    if isinstance(operation, keras.layers.Lambda):  # Keras copies no function of a program's own.
        return keras.layers.Lambda(
            operation.function, arguments=operation.arguments, name=operation.name
        )
    if not isinstance(operation, keras.layers.Layer):
        return operation
    try:
        return type(operation).from_config(operation.get_config())
    except Exception as error:
        raise errors.ConfigError(
            f"the layer {operation.name} ({type(operation).__name__}) cannot be copied "
            f"({errors.reason(error)}); expected one with get_config and from_config."
        ) from error
