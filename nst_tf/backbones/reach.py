"""The receptive fields of layers, from the graph of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from nst_tf.backbones import graph
from nst_tf.backbones.convolution import FrozenConv2D
from nst_tf.backbones.pooling import FrozenAveragePooling2D, FrozenMaxPooling2D
from nst_tf.backbones.preprocessing import Applied, Preprocessing


class Reach(NamedTuple):
    """The receptive field of a layer, along a side of the picture.

    Position `p` depends on the pixels from `stride · p + first` to `stride · p + last`. A side of
    `length` pixels has `(length - least) // stride + 1` positions.

    Attributes:
        stride: pixels between two positions.
        first: offset of the first pixel.
        last: offset of the last pixel.
        least: shortest side with a single position, in pixels.
        whole: reason why the layer needs the whole picture, or an empty text.
    """

    stride: int = 1
    first: int = 0
    last: int = 0
    least: int = 1
    whole: str = ""

    @property
    def halo(self) -> int:
        """Most pixels of the receptive field on either side of the `stride` ones of a position."""
        return max(0, -self.first, self.last - self.stride + 1)

    def through(self, window: Window) -> Reach:
        """Returns the reach of a layer that moves a window over this one."""
        before, most = window.before
        return self._replace(
            stride=self.stride * window.stride,
            first=self.first - self.stride * most,
            last=self.last + self.stride * (window.size - 1 - before),
            least=self.least + self.stride * window.lost,
        )


class Window(NamedTuple):
    """A window that a layer moves over its inputs, along one side.

    Attributes:
        size: number of positions from its first to its last.
        stride: number of positions that it moves by.
        before: number of positions of padding before the inputs, at least and at most.
        lost: number of positions, at stride 1, that the outputs have less than the inputs.
    """

    size: int = 1
    stride: int = 1
    before: tuple[int, int] = (0, 0)
    lost: int = 0


def reaches(model: keras.Model) -> dict[str, Reach]:
    """Returns the reach of every layer of a functional model, by its name."""
    found, known = {}, {id(tensor): Reach() for tensor in model.inputs}
    for node in graph.nodes(model):
        reach = _reach(node, [known[id(tensor)] for tensor in node.input_tensors])
        found[node.operation.name] = reach
        known |= {id(tensor): reach for tensor in node.outputs}
    return found


def _reach(node: Any, inputs: Sequence[Reach]) -> Reach:
    """Returns the reach of an operation's outputs, given those of its inputs."""
    operation = node.operation
    first = max(inputs, key=lambda each: (bool(each.whole), each.stride))
    if first.whole:
        return first
    words = f"the layer {operation.name} ({type(operation).__name__})"
    if len({each.stride for each in inputs}) > 1:
        return first._replace(whole=f"{words} joins layers of different strides")
    joined = Reach(
        first.stride,
        min(each.first for each in inputs),
        max(each.last for each in inputs),
        max(each.least for each in inputs),
    )
    windows = _windows(node)
    if windows is None:
        return joined._replace(whole=f"{words} may depend on the whole picture")
    rows, columns = (joined.through(window) for window in windows)
    if rows.stride != columns.stride:
        return rows._replace(whole=f"{words} has different strides along the two sides")
    return Reach(
        rows.stride,
        min(rows.first, columns.first),
        max(rows.last, columns.last),
        max(rows.least, columns.least),
    )


def _windows(node: Any) -> Sequence[Window] | None:
    """Returns the windows of an operation along both sides, or None if they are unknown."""
    operation = node.operation
    if not all(len(tensor.shape) == 4 for tensor in (*node.input_tensors, *node.outputs)):
        return None
    if isinstance(operation, keras.layers.Layer):
        windows = _KNOWN.get(type(operation))
        return windows(operation) if windows else None
    arguments = [*node.arguments.args, *node.arguments.kwargs.values()]
    plain = all(
        _is_of_channels(each) for each in arguments if not keras.utils.is_keras_tensor(each)
    )
    return _POINT if type(operation).__name__ in _ARITHMETIC and plain else None


_POINT = (Window(), Window())
_ARITHMETIC = ("Add", "Subtract", "Multiply", "Maximum", "Minimum")  # Of `keras.ops`.


def _of_convolution(layer: Any) -> Sequence[Window] | None:
    if not _is_pointwise(layer.activation):
        return None
    sizes = [
        (size - 1) * dilation + 1
        for size, dilation in zip(layer.kernel_size, layer.dilation_rate, strict=True)
    ]
    return _moved(sizes, layer.strides, layer.padding)


def _of_pooling(layer: Any) -> Sequence[Window] | None:
    return _moved(layer.pool_size, layer.strides, layer.padding)


def _moved(sizes: Sequence[int], strides: Sequence[int], padding: str) -> Sequence[Window] | None:
    windows = {"valid": _valid, "same": _same}.get(padding)
    return windows and [windows(*each) for each in zip(sizes, strides, strict=True)]


def _valid(size: int, stride: int) -> Window:
    return Window(size, stride, lost=size - 1)


def _same(size: int, stride: int) -> Window:
    """Returns the window of TensorFlow's padding SAME, which depends on the length of the inputs.

    `n` windows need `size - rest` positions more than the inputs have, where
    `rest = length - (n - 1) · stride`. Half of these, rounded down, are before the inputs.
    """
    before = [max(size - rest, 0) // 2 for rest in range(1, stride + 1)]
    return Window(size, stride, (min(before), max(before)))


def _of_zero_padding(layer: Any) -> Sequence[Window]:
    return [
        Window(before=(before, before), lost=-before - after) for before, after in layer.padding
    ]


def _of_cropping(layer: Any) -> Sequence[Window]:
    """Returns windows that hold the cropped positions as well: in a tile, others are cropped."""
    return [_valid(before + after + 1, 1) for before, after in layer.cropping]


def _if(holds: Callable[[Any], bool]) -> Callable[[Any], Sequence[Window] | None]:
    """Returns a function of a layer: windows of one position if `holds` is true, else None."""
    return lambda layer: _POINT if holds(layer) else None


def _is_over_channels(layer: Any) -> bool:
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    return all(axis in (-1, 3) for axis in axes if axis is not None)


def _is_pointwise(activation: Any) -> bool:
    """Returns whether an activation is one of Keras, all of which use single positions."""
    if activation is None:
        return True
    return getattr(keras.activations, getattr(activation, "__name__", ""), None) is activation


def _is_of_channels(value: Any) -> bool:
    """Returns whether a constant is one number, or one for each channel."""
    return np.ndim(value) < 2


_ALWAYS = _if(lambda layer: True)
_LAYERS = keras.layers
_KNOWN: dict[type, Callable[[Any], Sequence[Window] | None]] = {
    **dict.fromkeys(
        (_LAYERS.Conv2D, _LAYERS.DepthwiseConv2D, _LAYERS.SeparableConv2D, FrozenConv2D),
        _of_convolution,
    ),
    **dict.fromkeys(
        (
            _LAYERS.MaxPooling2D,
            _LAYERS.AveragePooling2D,
            FrozenMaxPooling2D,
            FrozenAveragePooling2D,
        ),
        _of_pooling,
    ),
    _LAYERS.ZeroPadding2D: _of_zero_padding,
    _LAYERS.Cropping2D: _of_cropping,
    **dict.fromkeys(
        (_LAYERS.Activation, _LAYERS.Dense), _if(lambda x: _is_pointwise(x.activation))
    ),
    **dict.fromkeys(
        (
            _LAYERS.BatchNormalization,
            _LAYERS.LayerNormalization,
            _LAYERS.Normalization,
            _LAYERS.Softmax,
            _LAYERS.Concatenate,
        ),
        _if(_is_over_channels),
    ),
    _LAYERS.PReLU: _if(lambda layer: {1, 2} <= set(layer.shared_axes or ())),
    _LAYERS.Rescaling: _if(lambda x: _is_of_channels(x.scale) and _is_of_channels(x.offset)),
    Applied: _if(lambda layer: layer.pointwise),
    **dict.fromkeys(
        (
            _LAYERS.ReLU,
            _LAYERS.LeakyReLU,
            _LAYERS.ELU,
            _LAYERS.Identity,
            _LAYERS.Dropout,
            _LAYERS.SpatialDropout2D,
            _LAYERS.GaussianDropout,
            _LAYERS.GaussianNoise,
            _LAYERS.ActivityRegularization,
            _LAYERS.Add,
            _LAYERS.Subtract,
            _LAYERS.Multiply,
            _LAYERS.Average,
            _LAYERS.Maximum,
            _LAYERS.Minimum,
            Preprocessing,
            graph.Copies,
        ),
        _ALWAYS,
    ),
}
"""Windows of each known kind of layer. A subclass may do anything, and is unknown."""
