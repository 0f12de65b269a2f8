"""Cuts between shots, and the colours of a shot."""

from __future__ import annotations

import numpy as np
import pytest
from footage import another, moving, texture

from nst_tf import errors
from nst_tf.film import shots

ONE, OTHER = moving(6), another(6)


def test_a_cut_is_found_and_motion_is_none():
    assert shots.cuts([*ONE, *OTHER, *ONE]) == [6, 12]
    assert shots.cuts(moving(8, step=10)) == []


def test_frames_may_have_8_or_16_bits():
    for kind in (np.uint8, np.uint16):
        highest = np.iinfo(kind).max
        given = [np.rint(frame * highest).astype(kind) for frame in [*ONE, *OTHER]]
        assert shots.cuts(given) == [6]


def test_fast_changes_throughout_are_no_cuts():
    flicker = [texture(seed, 40, 60) for seed in range(8)]
    assert shots.cuts(flicker) == []


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_very_short_clip_is_one_shot(count):
    assert shots.cuts(ONE[:count]) == []
    assert shots.ranges(count, []) == [range(0, count)]


def test_given_cuts_make_the_shots():
    assert shots.ranges(9, [6, 2]) == [range(0, 2), range(2, 6), range(6, 9)]
    with pytest.raises(errors.ConfigError, match="frames 9, and the film has 9 frames"):
        shots.ranges(9, [9])


def test_samples_keep_the_contrast_of_a_frame():
    """A mean over pixels would lose it, and the colours would be spread too far."""
    noise = np.random.default_rng(0).random((300, 400, 3), np.float32)
    found = shots.colours([shots.sampled(noise) for _ in range(50)])
    assert found.std() == pytest.approx(noise.std(), rel=0.02)
    assert max(shots.sampled(noise).shape) <= 64
