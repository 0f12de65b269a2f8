"""Shots of a clip: where one ends and the next begins, and their colours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np

from nst_tf import errors
from nst_tf.imaging import images

_SIDE = 256  # Pixels of the long side of a frame that is compared.
_LEAST_CHANGE = 27.0  # Of 255, mean over hue, saturation and brightness.
_PEAK = 3.0  # Ratio of the change at a cut to that around it.
_SAMPLE_SIDE = 64  # Pixels of the long side of what is kept of each frame for its shot's colours.
_SAMPLED = 32  # Most frames of a shot that they are taken from.
_AROUND = 2  # Changes to either side that it is compared with.


def cuts(frames: Iterable[np.ndarray]) -> list[int]:
    """Returns the numbers of the frames that begin a new shot, the first frame left out.

    A cut is a change of hue, saturation and brightness from one frame to the next that is large,
    and three times those around it, so that fast motion is none. Both thresholds are those of
    PySceneDetect's adaptive detector.

    Args:
        frames: the frames, `(height, width, 3)`, uint8, uint16 or float32, sRGB.
    """
    changes, before = [0.0], None
    for frame in frames:
        now = _small(frame)
        if before is not None:
            changes.append(float(cv2.absdiff(now, before).mean()))
        before = now
    return [number for number in range(1, len(changes)) if _is_cut(changes, number)]


def _is_cut(changes: Sequence[float], number: int) -> bool:
    around = [
        changes[other]
        for other in range(max(1, number - _AROUND), min(len(changes), number + _AROUND + 1))
        if other != number
    ]
    # A change of nothing would make a peak of every other.
    usual = max(1.0, float(np.mean(around))) if around else 1.0
    return changes[number] >= _LEAST_CHANGE and changes[number] >= _PEAK * usual


def _small(frame: np.ndarray) -> np.ndarray:
    scale = min(1.0, _SIDE / max(frame.shape[:2]))
    highest = 1 if frame.dtype.kind == "f" else np.iinfo(frame.dtype).max
    values = np.rint(frame * np.float32(255 / highest)).clip(0, 255).astype(np.uint8)
    size = [max(1, round(side * scale)) for side in reversed(frame.shape[:2])]
    return cv2.cvtColor(cv2.resize(values, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2HSV)


def ranges(count: int, begins: Iterable[int]) -> list[range]:
    """Returns the frames of each shot.

    Args:
        count: number of frames.
        begins: the frames that begin a new shot; 0 begins one in any case.

    Raises:
        ConfigError: there is no such frame.
    """
    begins = sorted({0, *begins})
    if begins[0] < 0 or (count and begins[-1] >= count):
        raise errors.ConfigError(
            f"cuts name the frames {', '.join(map(str, begins[1:]))}, and the film has {count} "
            f"frames; expected numbers from 1 to {max(1, count - 1)}."
        )
    return [range(begin, end) for begin, end in zip(begins, [*begins[1:], count], strict=True)]


def survey(frames: Iterable[np.ndarray]) -> tuple[list[int], list[np.ndarray]]:
    """Returns `cuts` and the `sampled` pixels of each frame, from one pass through the frames."""
    samples: list[np.ndarray] = []

    def seen() -> Iterator[np.ndarray]:
        for frame in frames:
            samples.append(sampled(frame))
            yield frame

    return cuts(seen()), samples


def sampled(pixels: np.ndarray) -> np.ndarray:
    """Returns some pixels of a frame, as they are: an average would have less contrast."""
    stride = max(1, -(-max(pixels.shape[:2]) // _SAMPLE_SIDE))
    return pixels[stride // 2 :: stride, stride // 2 :: stride].copy()


def colours(samples: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the samples of some frames one above the other, float32, sRGB in [0, 1].

    Args:
        samples: what `sampled` returned for each frame of a shot.
    """
    chosen = np.linspace(0, len(samples) - 1, min(len(samples), _SAMPLED)).round().astype(int)
    return images.load(np.concatenate([samples[each] for each in chosen])).rgb
