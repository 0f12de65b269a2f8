"""A frozen Keras network that exposes the activations of chosen layers."""

from __future__ import annotations

import functools
import hashlib
import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from nst_tf import errors
from nst_tf.backbones import graph
from nst_tf.backbones import reach as reaches
from nst_tf.backbones import weights as weight_files
from nst_tf.backbones.architecture import Architecture
from nst_tf.backbones.convolution import FrozenConv2D
from nst_tf.backbones.preprocessing import Applied, Preprocessing
from nst_tf.backbones.segment import exposing
from nst_tf.config import vgg_layers as layer_names
from nst_tf.kernels import convolution

IMAGE = "image"
"""Name of the output in which a backbone exposes its own input."""


class LayerCost(NamedTuple):
    """The cost of a layer for every pixel of a picture.

    Attributes:
        name: name of the layer.
        stride: pixels between two of its positions.
        halo: halo in pixels, as in `Backbone.reach`.
        bytes: bytes of its activations.
        products: multiplications of one forward pass.
        walked: whether its gradient needs neither its inputs nor its outputs.
        whole: reason why it cannot be computed in tiles, or an empty text.
    """

    name: str
    stride: int
    halo: int
    bytes: float
    products: float
    walked: bool = True
    whole: str = ""


class Backbone(keras.Model):
    """A functional Keras model from pictures to the activations of named layers.

    Preprocessing is inside: the input is `(1, height, width, 3)`, sRGB in [0, 1]. The output
    is a dict from layer name to a float32 tensor `(1, h, w, channels)`, taken after the ReLU;
    `image` is the input itself. The network ends at the deepest requested layer, and is not
    trainable.

    `from_keras` makes a backbone of any other functional Keras model.

    Args:
        layers: names of layers, in any spelling that `nst_tf.config.vgg_layers.canonical` knows.
        architecture: the network, an entry of `nst_tf.backbones`.
        weights: `imagenet` for the weights that `nst_tf.backbones.build` finds; the path of a
            Keras weight file; a result of `nst_tf.backbones.weights.locate`; or None for random
            weights.
        pooling: `max` or `avg`.
        precision: dtype of the convolutions: `float32`, `bfloat16`, or `auto` for the faster one on
            this machine. The outputs are float32.
        padding: values around the input of each convolution: `zeros`, as in the published
            networks, `reflect`, `replicate` or `circular`.
        activation_scale: `own`; or `caffe`, `torchvision` or `unit` to multiply all activations
            so that they have the scale of a network with that kind of input.

    Attributes:
        architecture: the network, or None for one of another kind.
        weight_file: its weight file, or None.
        mean_colour: mean colour of its training pictures: red, green and blue in [0, 1]; None
            if unknown.
        precision: dtype of the convolutions; None for a network of another kind.
        walked: whether its layers are a chain of `nst_tf.backbones.Layer`s.

    Raises:
        ConfigError: the network has no such layer.
        WeightsError: the weights are not available, or do not fit the network.
    """

    architecture: Architecture | None = None
    weight_file: weight_files.Weights | None = None
    mean_colour: tuple[float, ...] | None = None
    precision: str | None = None
    walked: bool = True

    def __init__(
        self,
        layers: Iterable[str],
        architecture: Architecture,
        weights: weight_files.Weights | str | os.PathLike[str] | None = "imagenet",
        *,
        pooling: str = "max",
        precision: str = "float32",
        padding: str = "zeros",
        activation_scale: str = "own",
    ) -> None:
        if weights is not None and not isinstance(weights, weight_files.Weights):
            path = "" if weights == "imagenet" else os.fspath(weights)
            weights = weight_files.locate([architecture], path)
        mean = weights.mean if weights else architecture.mean
        precision = convolution.precision(precision)
        with keras.RematScope(mode=None):  # A host may have a scope around it.
            image, outputs = _connected(
                [layer_names.canonical(name, architecture.name) for name in layers],
                architecture.layers(pooling),
                Preprocessing(mean, dtype="float32", name="preprocessing"),
                _exposed(activation_scale, weights.origin if weights else "caffe"),
                precision,
                padding,
            )
        super().__init__(image, outputs, name=architecture.name)
        self.trainable = False  # As an argument of Keras it would not reach the layers.
        self.architecture = architecture
        self.weight_file = weights
        self.precision = precision
        self.mean_colour = tuple(value / 255 for value in reversed(mean))
        if weights:
            self._assign(weights)

    @classmethod
    def from_keras(
        cls,
        model: keras.Model,
        layers: Iterable[str],
        preprocessing: Callable[[Any], Any] | None = None,
        mean_colour: Sequence[float] | None = None,
        name: str | None = None,
    ) -> Backbone:
        """Returns a backbone that exposes layers of a functional Keras model.

        It is a frozen copy in inference mode, with the model's current weights: batch normalisation
        uses its moving statistics. It ends at the deepest of the layers, and takes pictures of
        any size.

            model = keras.applications.MobileNetV2(include_top=False)
            preprocess = keras.applications.mobilenet_v2.preprocess_input
            layers = ["block_1_expand_relu", "block_3_expand_relu"]
            backbone = nst_tf.Backbone.from_keras(model, layers, lambda x: preprocess(255 * x))

        The halos of tiles follow from the graph. Convolutions, depthwise and separable ones too,
        poolings, padding, cropping, batch normalisation, activations, sums, products and
        concatenations may come in any order. A network with any other layer on the way needs whole
        pictures.

        Args:
            model: a functional or sequential model with one input `(batch, height, width,
                channels)`.
            layers: names of its layers; each has one output `(batch, h, w, channels)`.
            preprocessing: a function of tensors, or a Keras layer, from a tensor
                `(1, height, width, 3)`, sRGB in [0, 1], to the input of the model. None leaves the
                picture as it is.
            mean_colour: mean colour of the model's training pictures: red, green and blue in
                [0, 1]. It is the initial colour of a picture under `init="mean"`.
            name: name of the backbone, which recipes and checkpoints record; None for the name of
                the model.

        Returns:
            The backbone. Outputs are float32, or float64 if the input of the model is.

        Raises:
            ConfigError: the model is not functional, has no such layer, or one that cannot be
                exposed or copied, or its input does not fit.
        """
        if not isinstance(model, keras.Model) or len(getattr(model, "inputs", None) or ()) != 1:
            raise errors.ConfigError(
                f"the backbone is {model!r:.80}; expected a functional keras.Model with one input, "
                "such as those of keras.applications."
            )
        layers = [layers] if isinstance(layers, str) else list(layers)
        if not layers:
            raise errors.ConfigError("layers is empty; expected names of layers of the model.")
        dtype = "float64" if model.inputs[0].dtype == "float64" else "float32"
        with keras.RematScope(mode=None):
            image = keras.Input((None, None, 3), batch_size=1, name=IMAGE, dtype=dtype)
            prepared = Applied(preprocessing, dtype=dtype)(image) if preprocessing else image
            _check_input(model, prepared)
            features = graph.copied(model, layers, prepared)
            outputs = {
                each: keras.layers.Identity(dtype=dtype, name=exposing(each))(tensor)
                for each, tensor in {IMAGE: image, **features}.items()
            }
        backbone = cls.__new__(cls)
        super(Backbone, backbone).__init__(image, outputs, name=name or model.name)
        backbone.trainable = False
        backbone.walked = False
        if mean_colour is not None:
            backbone.mean_colour = tuple(float(value) for value in mean_colour)
        return backbone

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Returns the outputs, in inference mode whatever the mode of the host."""
        del training
        return super().call(inputs, training=False, mask=mask)

    def _assign(self, weights: weight_files.Weights) -> None:
        shapes = {
            layer.name: tuple(layer.kernel.shape)
            for layer in self.layers
            if isinstance(layer, keras.layers.Conv2D)
        }
        for name, arrays in weight_files.read(weights.path, shapes).items():
            self.get_layer(name).set_weights(arrays)

    @functools.cached_property
    def _reaches(self) -> dict[str, reaches.Reach]:
        return reaches.reaches(self)

    def _reach(self, name: str) -> reaches.Reach:
        return reaches.Reach() if name == IMAGE else self._reaches[name]

    def reach(self, name: str) -> tuple[int, int]:
        """Returns stride and halo of an exposed layer, from the layers on the way to it.

        Args:
            name: name of an exposed layer.

        Returns:
            The stride, in pixels between two positions of the layer, and the halo, in pixels: a
            position `p` depends on the pixels from `stride · p - halo` to
            `stride · (p + 1) - 1 + halo`.

        Raises:
            ConfigError: the receptive field is unknown; see `whole`.
        """
        found = self._reach(name)
        if found.whole:
            raise errors.ConfigError(f"{self.name}: {found.whole}.")
        return found.stride, found.halo

    def cells(self, name: str) -> tuple[int, int]:
        """Returns the pixels that the positions of an exposed layer stand for.

        Returns:
            Stride and shift: position `p` stands for the `stride` pixels from
            `stride · p + shift`, in the middle of its receptive field. A stride of 0 means that the
            receptive field is unknown.
        """
        found = self._reach(name)
        if found.whole:
            return 0, 0
        return found.stride, (found.first + found.last - found.stride + 1) // 2

    @property
    def whole(self) -> str:
        """Reason why the network needs whole pictures instead of tiles, or an empty text."""
        for name in self.output:
            found = self._reach(name)
            if found.whole:
                return found.whole
            if found.least < 1:
                return f"the layer {name} has positions beyond the border of the picture"
        return ""

    @property
    def least_side(self) -> int:
        """The shortest side, in pixels, that leaves every exposed layer 2x2 positions."""
        found = [self._reach(name) for name in self.output]
        return max(each.stride + max(1, each.least) for each in found)

    @property
    def digest(self) -> str:
        """SHA-256 of the kinds of all operations and of their weights, in hexadecimal."""
        state = hashlib.sha256()
        for node in graph.nodes(self):
            state.update(f"{type(node.operation).__name__}\n".encode())
            for array in getattr(node.operation, "get_weights", list)():
                state.update(f"{array.dtype} {array.shape}\n".encode())
                state.update(np.ascontiguousarray(array).data)
        return state.hexdigest()

    def costs(self) -> list[LayerCost]:
        """Returns the cost of each layer, the shallowest first, without preprocessing."""
        exposers = {exposing(name) for name in self.output}
        found = []
        for node in graph.nodes(self):
            layer, output = node.operation, node.outputs[0]
            if layer.name in exposers or isinstance(layer, _FREE):
                continue
            reach, shapes = self._reaches[layer.name], map(tuple, _kernel_shapes(layer))
            products = sum(map(math.prod, shapes)) / reach.stride**2
            channels = output.shape[-1] if len(output.shape) == 4 else 0
            # Losses see float32, so what bfloat16 saves is not counted: it is used up there.
            stored = channels * max(4, tf.as_dtype(output.dtype).size) / reach.stride**2
            whole = reach.whole
            found.append(
                LayerCost(
                    layer.name, reach.stride, reach.halo, stored, products, self.walked, whole
                )
            )
        return found


_FREE = (Preprocessing, Applied, graph.Copies)
"""Layers with next to no memory and work."""


def _kernel_shapes(operation: Any) -> list[Any]:
    """Returns the shapes of an operation's weights that multiply every position."""
    return [each.shape for each in getattr(operation, "weights", ()) if len(each.shape) > 1]


def _check_input(model: keras.Model, prepared: keras.KerasTensor) -> None:
    expected, found = model.inputs[0].shape, prepared.shape
    if len(expected) != 4 or len(found) != 4 or expected[-1] not in (None, found[-1]):
        raise errors.ConfigError(
            f"{model.name} takes inputs of shape {tuple(expected)}, and preprocessing returns "
            f"{tuple(found)} for a picture; expected (batch, height, width, channels) of both."
        )


def _connected(
    wanted: Sequence[str],
    layers: Iterable[keras.layers.Layer],
    preprocessing: keras.layers.Layer,
    exposed: Callable[..., keras.layers.Layer],
    precision: str,
    padding: str,
) -> tuple[keras.KerasTensor, dict[str, keras.KerasTensor]]:
    """Returns the input of a network, and its activations at the wanted layers."""
    policy = keras.DTypePolicy("float32" if precision == "float32" else f"mixed_{precision}")
    image = keras.Input((None, None, 3), batch_size=1, name=IMAGE, dtype="float32")
    # Within another model, Keras does not allow an input as an output.
    outputs = {IMAGE: keras.layers.Identity(dtype="float32", name=exposing(IMAGE))(image)}
    activation = preprocessing(image)
    for layer in layers:
        if outputs.keys() >= set(wanted):
            break
        layer.dtype_policy = policy
        if isinstance(layer, FrozenConv2D):
            layer.padding_mode = padding
        activation = layer(activation)
        if layer.name in wanted:
            outputs[layer.name] = exposed(name=exposing(layer.name))(activation)
    return image, outputs


def _exposed(activation_scale: str, origin: str) -> Callable[..., keras.layers.Layer]:
    """Returns a function that makes the output layer of an activation, given its name."""
    ranges = weight_files.INPUT_RANGES
    if activation_scale in ("own", origin):
        return functools.partial(keras.layers.Identity, dtype="float32")
    factor = ranges[activation_scale] / ranges[origin]
    return functools.partial(keras.layers.Rescaling, factor, dtype="float32")
