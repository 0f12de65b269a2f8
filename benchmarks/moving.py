"""Clips with known flow, made of two photos: a moving background, and a disc over it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import common
import cv2
import numpy as np
from PIL import Image

_LARGER = 1.6  # Size of the background photo, by that of a frame.
_RADIUS = 0.22  # Of the disc, by the height of a frame.


@dataclasses.dataclass(frozen=True)
class Motion:
    """How a clip moves, by frame.

    Attributes:
        across: pixels that the background moves to the right, of a frame 512 wide.
        turn: degrees that it turns.
        zoom: factor by which it grows.
        object_across: pixels that the disc moves to the right.
        light: change of brightness.
        noise: deviation of the noise, independent in each frame.
    """

    across: float = 0.0
    turn: float = 0.0
    zoom: float = 1.0
    object_across: float = 0.0
    light: float = 0.0
    noise: float = 0.0


MOTIONS = {
    "still": Motion(),
    "pan": Motion(across=3.0, object_across=-4.0, noise=2 / 255),
    "zoom": Motion(zoom=1.01, object_across=5.0, noise=2 / 255),
    "turn": Motion(turn=0.7, object_across=4.0, noise=2 / 255),
    "light": Motion(across=1.0, light=0.004, object_across=3.0, noise=2 / 255),
}


class Clip:
    """A clip of known flow.

    Args:
        motion: how it moves.
        count: number of frames.
        height: height of a frame.
        width: width of a frame.
    """

    def __init__(self, motion: Motion, count: int, height: int, width: int) -> None:
        self._motion, self._size = motion, (height, width)
        self._ground = _photo("coffee.png", height, width)
        self._disc = _photo("chelsea.png", height, width)
        self.frames = [self._frame(number) for number in range(count)]

    def back(self, later: int, earlier: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the true flow from a frame to an earlier one, and where it holds.

        Returns:
            The flow, float32 `(height, width, 2)`; and whether the earlier frame shows the same
            thing there, bool `(height, width)`.
        """
        height, width = self._size
        now, before = self._over(later), self._over(earlier)
        rows, columns = np.indices(self._size, np.float32)
        ends = [
            _applied(np.linalg.inv(place(earlier)) @ place(later), columns, rows)
            for place in (self._ground_place, self._disc_place)
        ]
        across, down = (np.where(now, on, under) for under, on in zip(*ends, strict=True))
        inside = (across >= 0) & (across <= width - 1) & (down >= 0) & (down <= height - 1)
        at = across.round().clip(0, width - 1).astype(int), down.round().clip(0, height - 1)
        same = before[at[1].astype(int), at[0]] == now
        flow = np.stack([across - columns, down - rows], axis=-1).astype(np.float32)
        return flow, inside & same

    def _frame(self, number: int) -> np.ndarray:
        ground = _seen(self._ground, self._ground_place(number), self._size)
        disc = _seen(self._disc, self._disc_place(number), self._size)
        frame = np.where(self._over(number)[..., np.newaxis], disc, ground)
        frame = frame * (1 + self._motion.light * number)
        noise = np.random.default_rng(number).standard_normal(frame.shape, np.float32)
        return (frame + self._motion.noise * noise).clip(0, 1).astype(np.float32)

    def _ground_place(self, number: int) -> np.ndarray:
        """Returns the map from pixels of a frame to those of the background photo, 3x3."""
        motion, scale = self._motion, self._size[1] / 512
        middle = [side * _LARGER / 2 for side in reversed(self._size)]
        middle[0] -= motion.across * scale * number
        return self._map(middle, math.radians(motion.turn * number), motion.zoom**number)

    def _disc_place(self, number: int) -> np.ndarray:
        scale = self._size[1] / 512
        middle = [side * _LARGER / 2 for side in reversed(self._size)]
        middle[0] -= self._motion.object_across * scale * number
        return self._map(middle, 0.0, 1.0)

    def _map(self, middle: list[float], angle: float, zoom: float) -> np.ndarray:
        height, width = self._size
        cosine, sine = math.cos(angle) / zoom, math.sin(angle) / zoom
        found = np.array([[cosine, -sine, middle[0]], [sine, cosine, middle[1]], [0, 0, 1]])
        return found @ np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])

    def _over(self, number: int) -> np.ndarray:
        """Returns where the disc is in a frame."""
        height, width = self._size
        rows, columns = np.indices(self._size, np.float32)
        middle = width / 2 + self._motion.object_across * width / 512 * number
        return np.hypot(columns - middle, rows - height / 2) <= _RADIUS * height


def clip(name: str, count: int, height: int, width: int) -> Clip:
    """Returns a clip of one of `MOTIONS`."""
    return Clip(MOTIONS[name], count, height, width)


def warping_error(
    pictures: Sequence[np.ndarray],
    flows: Callable[[int, int], tuple[np.ndarray, np.ndarray]],
    apart: int,
) -> float:
    """Returns the root of the mean squared change along the flow, of frames so far apart.

    ```
    mean over frames of sum(holds (later - earlier, moved)²) / sum(holds)
    ```

    This is the warping error of Lai et al. (2018), "Learning Blind Video Temporal Consistency",
    equation 9, with the root that is mostly given.
    """
    found = []
    for later in range(apart, len(pictures)):
        flow, holds = flows(later, later - apart)
        moved = sampled(pictures[later - apart], flow)
        change = np.square(pictures[later] - moved).mean(axis=-1)
        found.append(float((holds * change).sum() / max(holds.sum(), 1)))
    return math.sqrt(float(np.mean(found)))


def sampled(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Returns a picture at the ends of a flow, bilinear."""
    rows, columns = np.indices(flow.shape[:2], np.float32)
    at = columns + flow[..., 0], rows + flow[..., 1]
    return cv2.remap(picture, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _photo(name: str, height: int, width: int) -> np.ndarray:
    photo = Image.open(common.ROOT / "assets" / name).convert("RGB")
    size = round(width * _LARGER), round(height * _LARGER)
    scale = max(size[0] / photo.width, size[1] / photo.height)
    photo = photo.resize([math.ceil(side * scale) for side in photo.size], Image.Resampling.LANCZOS)
    left, top = (photo.width - size[0]) // 2, (photo.height - size[1]) // 2
    photo = photo.crop((left, top, left + size[0], top + size[1]))
    return np.asarray(photo, np.float32) / 255


def _applied(
    matrix: np.ndarray, columns: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    across = matrix[0, 0] * columns + matrix[0, 1] * rows + matrix[0, 2]
    return across, matrix[1, 0] * columns + matrix[1, 1] * rows + matrix[1, 2]


def _seen(photo: np.ndarray, place: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rows, columns = np.indices(size, np.float32)
    at = [each.astype(np.float32) for each in _applied(place, columns, rows)]
    return cv2.remap(photo, *at, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
