"""One convolution and its gradient, directly and by minimal filtering, in turns.

    python benchmarks/convolution.py [--layers=64x64x512,128x128x256] [--turns=9] [--json=FILE]

A layer is CHANNELSxFILTERSxSIDE; with it goes what belongs to it, bias and ReLU forth, the ReLU's
gradient back. GFLOP/s count the multiplications and additions of direct convolutions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import common
from absl import app, flags

_LAYERS = flags.DEFINE_list(
    "layers",
    [
        *("64x64x512", "64x128x256", "128x128x256", "128x256x128", "256x256x128"),
        *("256x512x64", "512x512x64", "512x512x32", "512x512x11"),
    ],
    "CHANNELSxFILTERSxSIDE",
)
_TURNS = flags.DEFINE_integer("turns", 9, "times that each is computed")
_JSON = flags.DEFINE_string("json", "", "file for the results")


def _ways(channels: int, filters: int, side: int, minimal: bool) -> dict[str, Callable[[], object]]:
    """Returns functions that compute the layer forth, and back."""
    import tensorflow as tf

    from nst_tf.backbones.convolution import FrozenConv2D
    from nst_tf.kernels import convolution

    layer = FrozenConv2D(filters, 3, padding="same", activation="relu")
    layer.build((1, None, None, channels))
    random = functools.partial(tf.random.stateless_normal, seed=(1, 2))
    inputs, upstream = random((1, side, side, channels)), random((1, side, side, filters))
    outputs = layer(inputs)

    def graph(function: Callable[..., Any]) -> Callable[..., Any]:
        def traced(*given: Any) -> Any:
            with convolution.minimal_filtering(minimal):
                return function(*given)

        return tf.function(traced, autograph=False)

    switches, size = layer.switches(inputs, outputs), tf.constant([side, side])
    forth, back = graph(layer), graph(layer.backward)
    return {
        "forth": functools.partial(forth, inputs),
        "back": functools.partial(back, upstream, switches, size),
    }


def _measured(channels: int, filters: int, side: int) -> dict[str, dict[str, float]]:
    runs = {
        f"{kind}, {way}": run
        for kind in ("direct", "minimal")
        for way, run in _ways(channels, filters, side, kind == "minimal").items()
    }
    seconds = common.seconds_in_turns(runs, _TURNS.value)
    return {name: common.spread(each) for name, each in seconds.items()}


def main(argv: list[str]) -> None:
    del argv
    from nst_tf.runtime import backend

    backend.prefer_onednn()
    results = {}
    for layer in _LAYERS.value:
        channels, filters, side = (int(size) for size in layer.split("x"))
        results[layer] = found = _measured(channels, filters, side)
        work = 18 * channels * filters * side**2
        for name, each in found.items():
            print(
                f"{layer:12} {name:15} {1e3 * each['median']:7.1f} ms "
                f"({1e3 * each['least']:.1f} to {1e3 * each['greatest']:.1f}), "
                f"{work / each['median'] / 1e9:5.0f} GFLOP/s",
                flush=True,
            )
    common.write(_JSON.value, results)


if __name__ == "__main__":
    app.run(main)
