"""Optical flow between two frames, where it holds, and pictures moved along it.

A flow is an array `(height, width, 2)`, float32: for each pixel of one frame, how far to the right
and how far down it lies in the other frame, in pixels.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

_LEAST_SIDE = 16  # Of a frame; DIS takes no smaller ones.
_BORDER = cv2.BORDER_REPLICATE  # Reflection never ends at a side of one pixel.


@dataclasses.dataclass(frozen=True)
class Flow:
    """The flow from a frame back to an earlier one.

    Attributes:
        back: for each pixel of the frame, its offset in the earlier frame.
        holds: 1 where the earlier frame shows the same thing, 0 where it was hidden or outside,
            float32 `(height, width)`, with soft edges.
    """

    back: np.ndarray
    holds: np.ndarray

    def carried(self, picture: np.ndarray) -> np.ndarray:
        """Returns a picture of the earlier frame, moved to where its content is in this one.

        Args:
            picture: `(height, width)` or `(height, width, channels)`, float32.
        """
        return sampled(picture, self.back)


def between(earlier: np.ndarray, later: np.ndarray) -> Flow:
    """Returns the flow from a frame back to an earlier one.

    It is that of Kroeger, Timofte, Dai and Van Gool (2016), "Fast Optical Flow using Dense Inverse
    Search", down to the full resolution.

    Args:
        earlier: a frame, `(height, width, 3)`, float32, sRGB in [0, 1].
        later: another one of the same size. If a side has fewer than 16 pixels, no flow holds.
    """
    height, width = later.shape[:2]
    if min(height, width) < _LEAST_SIDE:  # Nothing is known of it.
        return Flow(np.zeros((height, width, 2), np.float32), np.zeros((height, width), np.float32))
    first, second = _grey(earlier), _grey(later)
    back, forth = _dense(second, first), _dense(first, second)
    return Flow(back, consistency(back, forth))


def consistency(back: np.ndarray, forth: np.ndarray) -> np.ndarray:
    """Returns where a flow holds, as `Flow.holds`.

    ```
    u = forth at the end of back
    hidden, if |back + u|² >= .01 (|back|² + |u|²) + .5, or if the end is outside
    an edge of the motion, if |gradient of back|² > .01 |back|² + .002
    ```

    These are equations 5 and 6 of Ruder, Dosovitskiy and Brox (2016), "Artistic Style Transfer for
    Videos". As in their program, hidden places eat into their surroundings by a blur.

    Args:
        back: the flow from a frame to an earlier one.
        forth: the flow from that to the frame.
    """
    u = sampled(forth, back)
    squares = _squares(back)
    hidden = _squares(back + u) >= 0.01 * (squares + _squares(u)) + 0.5
    hidden |= _outside(back)
    edges = sum(_squares(np.gradient(back, axis=axis)) for axis in (0, 1)) > 0.01 * squares + 0.002
    holds = np.where(hidden, -1.0, np.where(edges, 0.0, 1.0)).astype(np.float32)
    return cv2.GaussianBlur(holds, (0, 0), 0.8, borderType=_BORDER).clip(0, 1)


def sampled(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Returns the values of a picture at the ends of a flow, bicubic, as an array like it.

    Beyond the border it repeats.

    Args:
        picture: `(height, width)` or `(height, width, channels)`, float32.
        flow: the flow to it, `(h, w, 2)`.
    """
    rows, columns = np.indices(flow.shape[:2], np.float32)
    across, down = columns + flow[..., 0], rows + flow[..., 1]
    return cv2.remap(picture, across, down, cv2.INTER_CUBIC, borderMode=_BORDER)


def resized(flow: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns a flow between frames of another size."""
    rows, columns = flow.shape[:2]
    found = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)
    return found * np.array((width / columns, height / rows), np.float32)


def _dense(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the flow from one grey frame to another, uint8 `(height, width)`."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    search.setPatchStride(3)
    search.setVariationalRefinementIterations(10)
    return search.calc(first, second, None)


def _grey(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.rint(frame * 255).clip(0, 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)


def _squares(vectors: np.ndarray) -> np.ndarray:
    return np.square(vectors).sum(axis=-1)


def _outside(flow: np.ndarray) -> np.ndarray:
    """Returns which ends of a flow lie outside of the frame."""
    rows, columns = np.indices(flow.shape[:2], np.float32)
    across, down = columns + flow[..., 0], rows + flow[..., 1]
    height, width = flow.shape[:2]
    return (across < 0) | (across > width - 1) | (down < 0) | (down > height - 1)
