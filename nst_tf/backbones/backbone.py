"""A frozen Keras network that exposes the activations of chosen layers."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Sequence

import keras

from nst_tf.backbones import weights as weight_files
from nst_tf.backbones.architecture import Architecture
from nst_tf.backbones.convolution import FrozenConv2D
from nst_tf.backbones.preprocessing import Preprocessing
from nst_tf.backbones.section import exposing
from nst_tf.config import vgg_layers as layer_names

IMAGE = "image"
"""Name under which a backbone exposes its own input."""


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """What a layer takes for every pixel of a picture.

    Attributes:
        name: of the layer.
        stride: pixels between two of its positions.
        halo: as `Backbone.reach` counts it.
        bytes: of its activations.
        products: multiplications of one forward pass.
    """

    name: str
    stride: int
    halo: int
    bytes: float
    products: float


class Backbone(keras.Model):
    """A functional Keras model from pictures to the activations of named layers.

    Preprocessing is inside: the input is `(1, height, width, 3)`, sRGB in [0, 1]. The output
    is a dict from layer name to a float32 tensor `(1, h, w, channels)`, taken after the ReLU;
    `image` is the input itself. The network ends at the deepest layer that is asked for, and
    is not trainable.

    Args:
        layers: names of layers, as `nst_tf.config.vgg_layers.canonical` understands them.
        architecture: the network, an entry of `nst_tf.backbones`.
        weights: a file that fits it, or None for random weights.
        pooling: `max` or `avg`.
        precision: `float32` or `bfloat16`, of the convolutions. The outputs are float32.
        padding: what each convolution takes to be around its input: `zeros`, as in the published
            networks, `reflect`, `replicate` or `circular`.
        activation_scale: `own`, or `caffe`, `torchvision` or `unit` to multiply all activations
            by what brings them to the scale of a network that is fed as these are.

    Attributes:
        architecture: the network.
        weight_file: its weights, or None.
        mean_colour: of the pictures that it was trained on: red, green and blue in [0, 1].

    Raises:
        ConfigError: the network has no such layer.
        WeightsError: the file does not fit the network.
    """

    def __init__(
        self,
        layers: Iterable[str],
        architecture: Architecture,
        weights: weight_files.Weights | None = None,
        *,
        pooling: str = "max",
        precision: str = "float32",
        padding: str = "zeros",
        activation_scale: str = "own",
    ) -> None:
        mean = weights.mean if weights else architecture.mean
        with keras.RematScope(mode=None):  # Around which may be that of a host.
            image, outputs = _connected(
                [layer_names.canonical(name, architecture.name) for name in layers],
                architecture.layers(pooling),
                Preprocessing(mean, dtype="float32", name="preprocessing"),
                _exposed(activation_scale, weights.origin if weights else "caffe"),
                precision,
                padding,
            )
        super().__init__(image, outputs, name=architecture.name)
        self.trainable = False  # Keras would not tell the layers if it were an argument.
        self.architecture = architecture
        self.weight_file = weights
        self.mean_colour = tuple(value / 255 for value in reversed(mean))
        if weights:
            self._assign(weights)

    def _assign(self, weights: weight_files.Weights) -> None:
        shapes = {
            layer.name: tuple(layer.kernel.shape)
            for layer in self.layers
            if isinstance(layer, keras.layers.Conv2D)
        }
        for name, arrays in weight_files.read(weights.path, shapes).items():
            self.get_layer(name).set_weights(arrays)

    def reach(self, name: str) -> tuple[int, int]:
        """Returns what an activation depends on, from the layers on the way to it.

        Args:
            name: of an exposed layer.

        Returns:
            The pixels between two positions of the layer, and the halo: a position `p` depends
            on the pixels from `stride · p - halo` to `stride · (p + 1) - 1 + halo`.
        """
        if name == IMAGE:
            return 1, 0
        stride, halo = 1, 0
        for layer in self.layers:
            if isinstance(layer, keras.layers.Conv2D):
                halo += layer.kernel_size[0] // 2 * stride
            elif isinstance(layer, (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)):
                stride *= layer.pool_size[0]
            if layer.name == name:
                break
        return stride, halo

    def costs(self) -> list[LayerCost]:
        """Returns what each convolution and pooling costs, from the picture to the depth."""
        found = []
        for layer in self.layers:
            stride, halo = self.reach(layer.name)
            if isinstance(layer, keras.layers.Conv2D):
                products = math.prod(layer.kernel.shape) / stride**2
            elif isinstance(layer, (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)):
                products = 0.0
            else:
                continue
            size = 2 if layer.compute_dtype == "bfloat16" else 4
            stored = layer.output.shape[-1] * size / stride**2
            found.append(LayerCost(layer.name, stride, halo, stored, products))
        return found


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
    # Keras lets no output of a model within a model be its input.
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
    """Returns what makes the output layer of an activation, given its name."""
    ranges = weight_files.INPUT_RANGES
    if activation_scale in ("own", origin):
        return functools.partial(keras.layers.Identity, dtype="float32")
    factor = ranges[activation_scale] / ranges[origin]
    return functools.partial(keras.layers.Rescaling, factor, dtype="float32")
