"""Optical flow, where it holds, and pictures moved along it."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
from footage import HEIGHT, WIDTH, moving, texture

from nst_tf.film import flow


def test_the_flow_of_a_moved_picture_is_its_motion():
    frames = moving(2, step=3)
    found = flow.between(*frames)
    ground = np.ones((HEIGHT, WIDTH), bool)
    ground[10:38, 16:48] = False  # Around the square, which stays.
    ground[:, -6:] = False  # New.
    error = np.hypot(found.back[..., 0] - 3, found.back[..., 1])
    assert np.median(error[ground]) < 0.2
    assert np.abs(found.back[20:28, 28:36]).max() < 0.5
    assert found.holds[ground].mean() > 0.85


def test_what_enters_or_was_hidden_does_not_hold():
    found = flow.between(*moving(2, step=4))
    assert found.holds[:, -3:].max() < 0.5
    behind = found.holds[18:30, 36:40]  # The ground that the square covered has come out.
    assert found.holds[:, -3:].mean() < 0.2 and behind.shape


def test_a_picture_is_carried_to_where_its_content_is():
    frames = moving(2, step=2)
    found = flow.between(*frames)
    kept = found.holds > 0.9
    assert np.abs(found.carried(frames[0]) - frames[1])[kept].mean() < 0.02
    assert np.abs(frames[0] - frames[1])[kept].mean() > 0.05


def test_consistency_is_the_published_check():
    """Against the formula of the paper, pixel by pixel, in float64."""
    random = np.random.default_rng(0)
    back, forth = (
        np.stack(
            [scipy.ndimage.gaussian_filter(random.normal(0, 8, (20, 24)), 3) for _ in range(2)], -1
        ).astype(np.float32)
        for _ in range(2)
    )
    wanted = np.zeros((20, 24))
    for y in range(20):
        for x in range(24):
            v = back[y, x].astype(float)
            ex, ey = x + v[0], y + v[1]
            at = [[ey], [ex]]
            u = np.array(
                [
                    scipy.ndimage.map_coordinates(
                        forth[..., c].astype(float), at, order=3, mode="nearest"
                    )[0]
                    for c in range(2)
                ]
            )
            outside = not (0 <= ex <= 23 and 0 <= ey <= 19)
            hidden = ((v + u) ** 2).sum() >= 0.01 * ((v**2).sum() + (u**2).sum()) + 0.5
            slopes = sum((np.gradient(back, axis=axis)[y, x] ** 2).sum() for axis in (0, 1))
            edge = slopes > 0.01 * (v**2).sum() + 0.002
            wanted[y, x] = -1 if hidden or outside else 0 if edge else 1
    wanted = scipy.ndimage.gaussian_filter(wanted, 0.8, mode="nearest").clip(0, 1)
    found = flow.consistency(back, forth)
    # Bicubic interpolation is not that of SciPy's spline, so a place at a threshold may differ.
    assert (np.abs(found - wanted) < 0.02).mean() > 0.93


def test_a_flow_of_nothing_moves_nothing():
    picture = texture(3, 30, 40)
    np.testing.assert_allclose(flow.sampled(picture, np.zeros((30, 40, 2), np.float32)), picture)


def test_resizing_a_flow_scales_its_lengths():
    found = flow.resized(np.full((10, 20, 2), 2, np.float32), 20, 60)
    np.testing.assert_allclose(found, np.broadcast_to([6, 4], (20, 60, 2)), rtol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (8, 8), (15, 33)])
def test_frames_too_small_for_the_search_do_not_move(size):
    found = flow.between(np.zeros((*size, 3), np.float32), np.ones((*size, 3), np.float32))
    assert not found.back.any() and not found.holds.any() and found.holds.shape == size
