"""How the frames of a film follow each other."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Coherence:
    """The settings of later frames.

    Attributes:
        steps: most steps of a later frame, at full size.
        settled: least relative decrease of the loss in a step; a smaller one ends a frame in which
            nothing is new.
        coarse_steps: steps at a quarter and at half the size that paint what is new in a frame.
        least_new: least share of a frame that is new and painted so.
        previous_weight: weight of the difference from the frame before, along the flow.
        first_weight: weight of the difference from the first frame of the shot, along the flow.
        keyframe_every: paint each so-many-th frame, and fill in those between along the flow.
        loop: whether the end of a film of one shot goes over into its beginning.
        loop_frames: most frames at the beginning in which it does.
    """

    steps: int = 10
    settled: float = 0.002
    coarse_steps: tuple[int, ...] = (20, 15)
    least_new: float = 0.002
    previous_weight: float = 1000.0
    first_weight: float = 300.0
    keyframe_every: int = 1
    loop: bool = False
    loop_frames: int = 12
