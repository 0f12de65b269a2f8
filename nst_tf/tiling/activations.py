"""The network as losses of several references see it: pictures of any size, patch by patch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from nst_tf import backbones, losses
from nst_tf import objective as objectives
from nst_tf.kernels import arrays, graphs
from nst_tf.tiling import spill
from nst_tf.tiling.tiles import split_into_tiles

SIDE = 384  # Pixels of a patch. It is fixed: the activations depend on no memory limit.
_IN_MEMORY = 1 << 28  # Bytes of activations of a whole picture that stay in memory.


class TiledActivations(losses.Activations):
    """Activations of pictures at some layers, computed in tiles.

    Args:
        backbone: the network.
        layers: names of exposed layers.
        in_parts: whether a picture may be cut. A picture that wraps around may not.
        side: side of a patch, in pixels.
        run_eagerly: run without a graph, for debugging.
    """

    def __init__(
        self,
        backbone: backbones.Backbone,
        layers: Sequence[str],
        *,
        in_parts: bool = True,
        side: int = SIDE,
        run_eagerly: bool = False,
    ) -> None:
        self.layers = tuple(layers)
        self.strides = {name: backbone.cells(name)[0] for name in self.layers}
        self._backbone = backbone
        self._side = side if in_parts and not backbone.whole else 0

        def seen(image: tf.Tensor) -> dict[str, tf.Tensor]:
            found = backbone(image)
            return {name: found[name] for name in self.layers}

        self._seen = graphs.of_tensors(seen) if run_eagerly else graphs.traced(seen)

    def walk(self, picture: np.ndarray) -> Iterator[losses.Patch]:
        height, width = picture.shape[:2]
        side, halo, stride = 0, 0, 1
        if self._side:
            reaches = [self._backbone.reach(name) for name in self.layers]
            stride = int(np.lcm.reduce([each for each, _ in reaches]))
            side, halo = self._side, max(halo for _, halo in reaches) + stride
        for tile in split_into_tiles(height, width, side, halo, stride):
            rows, columns = tile.rows, tile.columns
            part = picture[rows.start : rows.stop, columns.start : columns.stop]
            yield losses.Patch(
                slice(rows.first, rows.last),
                slice(columns.first, columns.last),
                rows.start,
                columns.start,
                self._seen(np.ascontiguousarray(part)[np.newaxis]),
            )

    def whole(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        sizes = self.sizes(*picture.shape[:2])
        found: dict[str, np.ndarray] = {}
        for patch in self.walk(picture):
            for name, values in patch.features.items():
                shape = (1, *sizes[name], values.shape[-1])
                if name not in found:
                    found[name] = _array(shape)
                self._place(found[name], np.asarray(values), patch, self.strides[name])
        return found

    def _place(self, whole: np.ndarray, seen: np.ndarray, patch: losses.Patch, stride: int) -> None:
        """Writes the owned positions of a patch. The last patches own all that follow."""
        if not stride:
            whole[...] = seen
            return
        height, width = whole.shape[1:3]
        spans = []
        for own, origin, length, count in (
            (patch.rows, patch.top, height, seen.shape[1]),
            (patch.columns, patch.left, width, seen.shape[2]),
        ):
            first, stop = own.start // stride, -(-own.stop // stride)
            stop = min(length, origin // stride + count, stop)
            spans.append(
                (slice(first, stop), slice(first - origin // stride, stop - origin // stride))
            )
        (rows, from_rows), (columns, from_columns) = spans
        whole[:, rows, columns] = seen[:, from_rows, from_columns]

    def weights(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        seen = tf.constant(np.ascontiguousarray(pixels)[np.newaxis, :, :, np.newaxis])
        sizes = self.sizes(*pixels.shape)
        return {
            name: objectives.averaged(
                seen, tf.constant(sizes[name]), *self._backbone.cells(name)
            ).numpy()
            for name in self.layers
        }

    def sizes(self, height: int, width: int) -> dict[str, tuple[int, int]]:
        shapes = self._backbone.compute_output_shape((1, height, width, 3))
        return {name: tuple(shapes[name][1:3]) for name in self.layers}


def _array(shape: tuple[int, ...]) -> np.ndarray:
    if 4 * np.prod(shape) > _IN_MEMORY:
        return spill.SpilledArray(shape, np.float32).mapped()
    return arrays.empty(shape, np.float32)
