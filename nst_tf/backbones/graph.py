"""The graph of a functional Keras model: its operations in order, and a copy of it."""

from __future__ import annotations

import collections
import itertools
import random
from collections.abc import Sequence
from typing import Any

import keras

from nst_tf import errors
from nst_tf.kernels import autodiff


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
    """Returns the names of a model's layers, without its inputs."""
    inputs = keras.layers.InputLayer
    return [layer.name for layer in model.layers if not isinstance(layer, inputs)]


def copied(model: keras.Model, names: Sequence[str], inputs: keras.KerasTensor) -> dict[str, Any]:
    """Returns the outputs of a model's layers for other inputs, through copies of its layers.

    Models within the model become layers of the copy.

    Args:
        model: a functional or sequential model with one input.
        names: names of its layers.
        inputs: inputs of the copy.

    Raises:
        ConfigError: the model has no such layer, or a layer has no single output or cannot be
            copied.
    """
    valid = layer_names(model)
    names = [errors.known(f"layer of {model.name}", each, valid) for each in dict.fromkeys(names)]
    part = keras.Model(model.inputs, [_output(model, name) for name in names])
    state = random.getstate()  # Keras draws the seeds of initialisers from it.
    try:
        return dict(zip(names, _run(part, [inputs], {}), strict=True))
    finally:
        random.setstate(state)


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


class Copies(keras.layers.Layer):
    """Copies of a tensor by `autodiff.copies`, for the branches of a network."""

    def __init__(self, count: int) -> None:
        super().__init__(trainable=False, autocast=False)
        self.count = count

    def call(self, inputs: Any) -> Any:
        return autodiff.copies(inputs, self.count)


def _run(
    model: keras.Model, inputs: Sequence[keras.KerasTensor], copies: dict[int, Any]
) -> list[keras.KerasTensor]:
    """Returns the outputs of a copy of a model.

    Args:
        model: a functional or sequential model.
        inputs: inputs of the copy.
        copies: copies of layers, by the ids of the originals; new copies are added.
    """
    used = [{id(tensor) for tensor in node.input_tensors} for node in nodes(model)]
    used += [{id(tensor)} for tensor in model.outputs]
    uses = collections.Counter(itertools.chain(*used))
    tensors: dict[int, list[keras.KerasTensor]] = {}  # One for each remaining use.

    def add(before: Sequence[keras.KerasTensor], after: Sequence[keras.KerasTensor]) -> None:
        for old, new in zip(before, after, strict=True):
            count = uses[id(old)]
            tensors[id(old)] = list(Copies(count)(new)) if count > 2 else [new] * count

    add(model.inputs, inputs)
    for node in nodes(model):
        at_hand = {key: tensors[key].pop() for key in {id(each) for each in node.input_tensors}}
        arguments, settings = node.arguments.fill_in(at_hand)
        operation = node.operation
        if isinstance(operation, keras.Model) and getattr(operation, "inputs", None):
            outputs: Sequence[Any] = _run(operation, keras.tree.flatten(arguments), copies)
        else:
            outputs = _called(operation, copies, arguments, settings)
        add(node.outputs, outputs)
    return [tensors[id(tensor)].pop() for tensor in model.outputs]


def _called(
    operation: Any, copies: dict[int, Any], arguments: Any, settings: Any
) -> Sequence[keras.KerasTensor]:
    """Returns the outputs of an operation's copy, which has the same weights."""
    copy = copies.get(id(operation)) or _copy(operation)
    outputs = keras.tree.flatten(copy(*arguments, **settings))
    if id(operation) not in copies and isinstance(operation, keras.layers.Layer):
        copy.set_weights(operation.get_weights())
    copies[id(operation)] = copy
    return outputs


def _copy(operation: Any) -> Any:
    if isinstance(operation, keras.layers.Lambda):  # Keras does not copy its function.
        return keras.layers.Lambda(
            operation.function,
            arguments=operation.arguments,
            name=operation.name,
            dtype=operation.dtype_policy,
        )
    if not isinstance(operation, keras.layers.Layer):
        return operation
    try:
        return type(operation).from_config(operation.get_config())
    except Exception as error:  # Keras fills its messages with page-long configs.
        raise errors.ConfigError(
            f"the layer {operation.name} ({type(operation).__name__}) cannot be copied by its "
            "get_config and from_config. Its functions need names that Keras knows: see "
            "keras.saving.register_keras_serializable."
        ) from error
