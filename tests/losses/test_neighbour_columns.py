"""Neighbour matching of hypercolumns against its formula in float64, by brute force."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

import nst_tf
from nst_tf import errors, losses
from nst_tf.tiling import activations

LAYERS = ("block1_conv2", "block2_conv1", "block3_conv1", "block4_conv1")
NAME = "+".join(LAYERS)


def pixels(seed: int, height: int, width: int) -> np.ndarray:
    """Returns a smooth random picture, which has distinct places."""
    coarse = np.random.default_rng(seed).random((1, height // 4 + 2, width // 4 + 2, 3), np.float32)
    return tf.image.resize(coarse, (height, width), "bicubic").numpy()[0].clip(0, 1)


PHOTO, START, PAINTING = pixels(0, 44, 52), pixels(1, 44, 52), pixels(2, 57, 45)
HERE, THERE = (11, 13), (14, 11)  # The places of photo and painting.


@pytest.fixture(scope="module")
def network() -> nst_tf.Backbone:
    settings = nst_tf.StyleTransferConfig(
        backbone="vgg16",
        precision="float32",
        style_loss="neighbour_columns",
        match_layers=LAYERS,
        device="cpu",
    )
    return nst_tf.StyleTransfer(settings).backbone


def references(network, *, content_weights=None, style_weights=None, known=1.0):
    look = activations.TiledActivations(network, LAYERS)

    def reference(picture, weights=None, share=1.0):
        weights = np.ones(picture.shape[:2], np.float32) if weights is None else weights
        return losses.Reference(picture, weights, look, share)

    return {
        "content": [reference(PHOTO, content_weights)],
        "start": [reference(START, content_weights, known)],
        "style": [reference(PAINTING, style_weights)],
    }


def between(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Returns a layer on a grid whose corners are those of the layer, by SciPy."""
    places = (
        np.linspace(0, values.shape[0] - 1, rows),
        np.linspace(0, values.shape[1] - 1, columns),
    )
    grid = np.meshgrid(*places, indexing="ij")
    channels = np.moveaxis(values.astype(np.float64), -1, 0)
    return np.stack([scipy.ndimage.map_coordinates(each, grid, order=1) for each in channels], -1)


def columns(network: nst_tf.Backbone, picture: np.ndarray) -> np.ndarray:
    found = network(np.ascontiguousarray(picture, np.float32)[np.newaxis])
    rows, across = (side // 4 for side in picture.shape[:2])
    layers = [found[layer].numpy()[0] for layer in LAYERS]
    return np.concatenate([between(each, rows, across) / each.shape[-1] for each in layers], -1)


def coarse(picture: np.ndarray) -> np.ndarray:
    """Returns what remains of a picture at half its even size, enlarged linearly."""
    height, width = picture.shape[:2]
    halved = picture.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3), dtype=np.float64)
    places = [(np.arange(side) + 0.5) / 2 - 0.5 for side in (height, width)]
    grid = np.meshgrid(*places, indexing="ij")
    enlarged = [
        scipy.ndimage.map_coordinates(halved[..., each], grid, order=1, mode="nearest")
        for each in range(3)
    ]
    return np.stack(enlarged, -1)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize(("orientations", "known"), [("upright", 1), ("turned", 1), ("turned", 0)])
def test_the_loss_is_that_of_the_published_formula(network, orientations, known):
    loss = losses.NeighbourColumns(layers=LAYERS, share=0.3, orientations=orientations)
    target = dict(loss.joint_target(references(network, known=known))[NAME])
    # The query: the content, and the start with the content's finest band.
    start = coarse(START) + PHOTO - coarse(PHOTO)
    sought = columns(network, PHOTO + 0.3 * known * (start - PHOTO)).reshape(HERE[0] * HERE[1], -1)
    turns = range(4 if orientations == "turned" else 1)
    offered = [columns(network, np.rot90(PAINTING, turn)) for turn in turns]
    offered = np.concatenate([each.reshape(THERE[0] * THERE[1], -1) for each in offered])
    cosines = unit(sought - sought.mean(0)) @ unit(offered - offered.mean(0)).T
    wanted = offered[cosines.argmax(1)]
    # Places whose second best is as good to float32 may have either.
    clear = np.diff(np.sort(cosines, 1)[:, -2:])[:, 0] > 1e-5
    assert clear.mean() > 0.95
    found = np.asarray(target["columns"]).reshape(len(sought), -1)
    np.testing.assert_allclose(found[clear], unit(wanted)[clear], atol=1e-4)
    picture = pixels(3, 44, 52)
    expected = 1 - np.sum(unit(columns(network, picture).reshape(found.shape)) * unit(found), 1)
    weights = target.pop("weights")
    seen = network(picture[np.newaxis])
    stacked = loss.stack([seen[layer] for layer in LAYERS], tf.constant(picture.shape[:2]))
    value = loss.value(loss.statistics(stacked, weights, target), target)
    np.testing.assert_allclose(value, expected.mean(), rtol=1e-5)


def test_masks_leave_places_out(network):
    """The left of the photo is matched with the top of the painting, and counts alone."""
    left, top = np.zeros(PHOTO.shape[:2], np.float32), np.zeros(PAINTING.shape[:2], np.float32)
    left[:, :26], top[:28] = 1, 1
    loss = losses.NeighbourColumns(layers=LAYERS, orientations="upright")
    given = references(network, content_weights=left, style_weights=top)
    target = loss.joint_target(given)[NAME]
    weights = np.asarray(target["weights"])[0, ..., 0]
    np.testing.assert_array_equal(weights[:, :6], 1)
    np.testing.assert_array_equal(weights[:, 8:], 0)
    own = unit(columns(network, PAINTING))[:7].reshape(7 * THERE[1], -1)
    used = np.asarray(target["columns"])[0][weights > 0]
    assert (1 - used @ own.T).min(1).max() < 1e-4


def test_a_sample_stands_for_more_places(network):
    loss = losses.NeighbourColumns(layers=LAYERS, most_places=9)
    found = np.asarray(loss.joint_target(references(network))[NAME]["columns"])
    found = found.reshape(-1, found.shape[-1])
    same = found @ found.T > 1 - 1e-5
    assert 2 <= len(np.unique(same.argmax(1))) <= 9


def test_a_mask_without_places_is_refused(network):
    nothing = np.zeros(PAINTING.shape[:2], np.float32)
    with pytest.raises(errors.ConfigError, match="no place of any style"):
        losses.NeighbourColumns(layers=LAYERS).joint_target(
            references(network, style_weights=nothing)
        )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"orientations": "all"}, "orientations.*turned"),
        ({"share": 1.5}, "share is 1.5"),
        ({"most_places": 0}, "most_places 0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, said):
    with pytest.raises(errors.ConfigError, match=said):
        losses.NeighbourColumns(**arguments)
