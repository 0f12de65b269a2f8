"""The nearest activations of each layer against the formula in float64, by brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

import nst_tf
from nst_tf import errors, losses
from nst_tf.kernels import nearest
from nst_tf.tiling import activations

LAYERS = ("block1_conv2", "block2_conv1", "block3_conv1")
"""Of a picture with a long side of 144 pixels, they have 144, 72 and 36 positions along it."""


def pixels(seed: int, height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).random((1, height // 4 + 2, width // 4 + 2, 3), np.float32)
    return tf.image.resize(coarse, (height, width), "bicubic").numpy()[0].clip(0, 1)


PHOTO, PAINTING, PICTURE = pixels(0, 144, 100), pixels(2, 92, 144), pixels(3, 144, 100)


@pytest.fixture(scope="module")
def network() -> nst_tf.Backbone:
    settings = nst_tf.StyleTransferConfig(
        backbone="vgg16",
        precision="float32",
        style_loss="nearest_features",
        match_layers=LAYERS,
        device="cpu",
    )
    return nst_tf.StyleTransfer(settings).backbone


def references(network, layers, photo=PHOTO, painting=PAINTING, weights=None, style_weights=None):
    look = activations.TiledActivations(network, layers)

    def reference(picture, weights):
        weights = np.ones(picture.shape[:2], np.float32) if weights is None else weights
        return losses.Reference(picture, weights, look)

    return {
        "content": [reference(photo, weights)],
        "style": [reference(painting, style_weights)],
    }


def value_of(network, loss, layers, picture=PICTURE, **masks) -> float:
    (target,) = loss.joint_target(references(network, layers, **masks)).values()
    target = {name: tf.convert_to_tensor(np.asarray(each)) for name, each in target.items()}
    seen = network(picture[np.newaxis])
    stacked = loss.stack([seen[layer] for layer in layers], tf.constant(picture.shape[:2]))
    return float(loss.value(loss.statistics(stacked, tf.constant(1.0), target), target))


def layer(network, picture: np.ndarray, name: str) -> np.ndarray:
    return network(np.ascontiguousarray(picture)[np.newaxis])[name].numpy()[0].astype(np.float64)


def rows(features: np.ndarray, stride: int = 1, top: int = 0, left: int = 0) -> np.ndarray:
    return features[top::stride, left::stride].reshape(-1, features.shape[-1])


def distance(own: np.ndarray, offered: np.ndarray, shares: np.ndarray | None = None) -> float:
    shares = np.ones(len(own)) if shares is None else shares
    own = own - np.average(own, axis=0, weights=shares)
    offered = offered - offered.mean(0)
    own, offered = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (own, offered))
    return float(np.average((1 - own @ offered.T).min(1), weights=shares))


@pytest.mark.parametrize(("orientations", "turns"), [("upright", 1), ("turned", 4)])
def test_small_layers_count_everywhere(network, orientations, turns):
    """A long side below 128 has a grid of stride 1, and the layers add up."""
    loss = losses.NearestFeatures(layers=LAYERS[1:], orientations=orientations)
    expected = sum(
        distance(
            rows(layer(network, PICTURE, name)),
            np.concatenate(
                [rows(layer(network, np.rot90(PAINTING, turn), name)) for turn in range(turns)]
            ),
        )
        for name in LAYERS[1:]
    )
    assert value_of(network, loss, LAYERS[1:]) == pytest.approx(expected, rel=1e-4)


def test_large_layers_count_on_a_grid_that_changes_with_the_picture(network):
    (name,) = layers = LAYERS[:1]
    loss = losses.NearestFeatures(layers=layers, orientations="upright")
    offered = rows(layer(network, PAINTING, name), 2, 1, 1)
    chosen = []
    for seed in range(6):
        picture = pixels(10 + seed, 144, 100)
        seen = layer(network, picture, name)
        grids = list(itertools.product(range(2), range(2)))
        expected = np.array([distance(rows(seen, 2, *grid), offered) for grid in grids])
        error = np.abs(expected - value_of(network, loss, layers, picture))
        assert error.min() < 1e-4 * expected.min()
        chosen.append(int(error.argmin()))
        assert value_of(network, loss, layers, picture) == value_of(network, loss, layers, picture)
    assert len(set(chosen)) > 1


def test_the_published_fault_cuts_the_layer_before(network):
    """As a view of the tensor (channels, places) of PyTorch with another number of channels."""
    loss = losses.NearestFeatures(layers=LAYERS[1:], orientations="turned", published_fault=True)
    before = LAYERS[1]

    def cut(picture: np.ndarray) -> np.ndarray:
        return rows(layer(network, picture, before)).T.reshape(256, -1).T

    turned = [np.rot90(PAINTING, turn) for turn in range(4)]
    expected = distance(
        rows(layer(network, PICTURE, before)),
        np.concatenate([rows(layer(network, each, before)) for each in turned]),
    ) + distance(cut(PICTURE), np.concatenate([cut(each) for each in turned]))
    assert value_of(network, loss, LAYERS[1:]) == pytest.approx(expected, rel=1e-4)
    sound = losses.NearestFeatures(layers=LAYERS[1:], orientations="turned")
    assert value_of(network, sound, LAYERS[1:]) != pytest.approx(expected, rel=1e-2)


def test_the_fault_leaves_large_layers_as_they_are(network):
    values = [
        value_of(
            network,
            losses.NearestFeatures(layers=LAYERS[:2], published_fault=fault),
            LAYERS[:2],
        )
        for fault in (True, False)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


@pytest.mark.parametrize(
    ("layers", "pictures"),
    [
        (LAYERS[2:], {}),  # No layer before it.
        (LAYERS[1:], {"painting": pixels(2, 60, 90)}),  # The painting has another such layer.
        (LAYERS[1:], {"photo": pixels(0, 142, 98), "painting": pixels(2, 142, 98)}),  # 71 x 49.
    ],
)
def test_a_fault_without_meaning_is_refused(network, layers, pictures):
    loss = losses.NearestFeatures(layers=layers, published_fault=True)
    with pytest.raises(errors.ConfigError, match="final_fault=False"):
        loss.joint_target(references(network, layers, **pictures))


def test_masks_leave_places_out(network):
    (name,) = layers = LAYERS[1:2]
    left, top = np.zeros(PHOTO.shape[:2], np.float32), np.zeros(PAINTING.shape[:2], np.float32)
    left[:, :50], top[:46] = 1, 1
    loss = losses.NearestFeatures(layers=layers, orientations="upright")
    shares = np.zeros((72, 50))
    shares[:, :25] = 1
    expected = distance(
        rows(layer(network, PICTURE, name)),
        rows(layer(network, PAINTING, name)[:23]),
        shares.reshape(-1),
    )
    found = value_of(network, loss, layers, weights=left, style_weights=top)
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_mask_without_places_is_refused(network):
    loss = losses.NearestFeatures(layers=LAYERS)
    nothing = np.zeros(PAINTING.shape[:2], np.float32)
    with pytest.raises(errors.ConfigError, match="no place of any style"):
        loss.joint_target(references(network, LAYERS, style_weights=nothing))


def test_numbers_are_those_of_the_largest_product(monkeypatch):
    monkeypatch.setattr(nearest, "_PRODUCTS", 100)
    random = np.random.default_rng(0)
    vectors, choices = (random.standard_normal((n, 5)).astype(np.float32) for n in (47, 31))
    expected = (np.float64(vectors) @ np.float64(choices).T).argmax(1)
    for given in (vectors, vectors[:1], vectors[:0]):
        found = tf.function(nearest.numbers)(tf.constant(given), tf.constant(choices))
        np.testing.assert_array_equal(found, expected[: len(given)])
