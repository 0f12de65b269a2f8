"""Resident memory of a process that stylises again and again.

    python benchmarks/growth.py [--calls=50]

Photos of ten sizes and ten masks go through one `StyleTransfer`, then the same number of calls of
`nst_tf.stylize` build a network each. Prints the memory after the second call, the most and the
last.
"""

from __future__ import annotations

import argparse
import gc
import os
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import psutil

import nst_tf

SETTINGS = nst_tf.StyleTransferConfig(backbone="vgg16", image_size=0, levels=1, steps=2)
RANDOM = np.random.default_rng(0)
PAINTING = RANDOM.random((64, 48, 3), np.float32)


def photo(number: int) -> np.ndarray:
    """Returns a photo of one of ten sizes."""
    return RANDOM.random((64 + 2 * (number % 10), 64 + number % 10, 3), np.float32)


def mask(number: int) -> np.ndarray:
    """Returns one of ten masks."""
    found = np.zeros((64, 64, 3), np.uint8)
    found[:, : 20 + 2 * (number % 10)] = 255
    return found


def measured(name: str, calls: int, call: Callable[[int], object]) -> None:
    """Prints what some calls take."""
    resident = []
    for number in range(calls):
        call(number)
        gc.collect()
        resident.append(psutil.Process().memory_info().rss / 1e6)
    second, most, last = resident[1], max(resident), resident[-1]
    print(
        f"{name}: {calls} calls; {second:.0f} MB after the second, at most {most:.0f} MB, "
        f"{last:.0f} MB after the last ({last / second - 1:+.1%})",
        flush=True,
    )


def main() -> None:
    """Runs both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=50)
    calls = parser.parse_args().calls
    transfer = nst_tf.StyleTransfer(SETTINGS)
    measured(
        "one StyleTransfer, ten sizes, ten masks",
        calls,
        lambda number: transfer.stylize(photo(number), PAINTING, content_mask=mask(number)),
    )
    measured(
        "nst_tf.stylize", calls, lambda number: nst_tf.stylize(photo(number), PAINTING, SETTINGS)
    )


if __name__ == "__main__":
    main()
