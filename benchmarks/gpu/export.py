"""Exports one whole step as StableHLO, to be run where TensorFlow is not.

    python benchmarks/gpu/export.py --size=512 --folder=FOLDER

A step is the forward pass, the losses, the backward pass and the optimiser's update, of the work
that `benchmarks/step.py` describes. The folder gets `step.mlir`; `arguments.npz`, the arguments in
order; `expected.npz`, the results as TensorFlow computes them here; `network.npz`, the weights,
for contenders; and `about.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import work

_SIZE = flags.DEFINE_integer("size", 512, "side of the picture, in pixels")
_OPTIMIZER = flags.DEFINE_string("optimizer", "adam", "optimiser of the step")
_PRECISION = flags.DEFINE_string("precision", "float32", "of the convolutions: or bfloat16")
_FOLDER = flags.DEFINE_string("folder", None, "where the files go", required=True)


def _captured(concrete: Any) -> list[np.ndarray]:
    """Returns what the function captured, which the exported one takes as its last arguments."""
    import tensorflow as tf

    found = []
    for tensor in concrete.captured_inputs:
        if tensor.dtype == tf.resource:
            tensor = next(
                variable for variable in concrete.variables if variable.handle is tensor
            ).value()
        found.append(tensor.numpy())
    return found


def main(argv: list[str]) -> None:
    del argv
    import tensorflow as tf

    from nst_tf import optimizers
    from nst_tf.engine import steps

    given = work.setting("vgg16", _SIZE.value, _OPTIMIZER.value, _PRECISION.value)
    optimizer = optimizers.Guarded(optimizers.get(given.config.optimizer, given.config))
    state = optimizer.init(given.photo, 100)

    def step(image: Any, state: Any, targets: Any) -> Any:
        def evaluate(at: Any) -> optimizers.Evaluation:
            return steps.value_and_gradient(given.objective, at, targets)

        moved, after, evaluation = optimizers.step(optimizer, image, state, evaluate)
        return moved, after, evaluation.loss, evaluation.gradient

    arguments = (given.photo, state, given.targets)
    compiled = tf.function(step, jit_compile=True, autograph=False)
    concrete = compiled.get_concrete_function(*arguments)
    text = compiled.experimental_get_compiler_ir(*arguments)(stage="stablehlo")
    values = [each.numpy() for each in tf.nest.flatten(arguments)] + _captured(concrete)
    results = [each.numpy() for each in tf.nest.flatten(step(*arguments))]

    folder = Path(_FOLDER.value)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "step.mlir").write_text(text)
    np.savez(folder / "arguments.npz", *values)
    np.savez(folder / "expected.npz", *results)
    weights = {
        f"{layer}/{key}": array
        for layer, kernel, bias in work.layers(given.objective.backbone)
        for key, array in (("kernel", kernel), ("bias", bias))
    }
    photo, painting = work.pictures(_SIZE.value)
    mean = [255 * each for each in given.objective.backbone.mean_colour][::-1]
    np.savez(folder / "network.npz", mean=mean, photo=photo, painting=painting, **weights)
    about = {
        "size": _SIZE.value,
        "precision": _PRECISION.value,
        "optimizer": _OPTIMIZER.value,
        "moved": len(tf.nest.flatten((given.photo, state))),  # Results that are the next arguments.
        "operations": 2 * work.products("vgg16", _SIZE.value),
    }
    (folder / "about.json").write_text(json.dumps(about) + "\n")
    print(f"{folder}: {len(text) / 1e6:.1f} MB of StableHLO, {len(values)} arguments")


if __name__ == "__main__":
    app.run(main)
