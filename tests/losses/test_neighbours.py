"""Neighbour matching against its formula in float64, by brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

import nst_tf
from nst_tf import errors, losses
from nst_tf.kernels import nearest
from nst_tf.tiling import activations

LAYERS = ("block1_conv2", "block2_conv1", "block3_conv1", "block4_conv1")
STRIDES = dict(zip(LAYERS, (1, 2, 4, 8), strict=True))
CELL = 4
TURNS = {"upright": 1, "turned": 4, "mirrored": 8}


def pixels(seed: int, height: int, width: int) -> np.ndarray:
    """Returns a smooth random picture, which has distinct places."""
    coarse = np.random.default_rng(seed).random((1, height // 4 + 2, width // 4 + 2, 3), np.float32)
    return tf.image.resize(coarse, (height, width), "bicubic").numpy()[0].clip(0, 1)


PHOTO, START, PAINTING = pixels(0, 43, 50), pixels(1, 43, 50), pixels(2, 57, 45)


@pytest.fixture(scope="module")
def network() -> nst_tf.Backbone:
    settings = nst_tf.StyleTransferConfig(
        backbone="vgg16",
        precision="float32",
        style_loss="neighbours",
        match_layers=LAYERS,
        device="cpu",
    )
    return nst_tf.StyleTransfer(settings).backbone


def references(
    network: nst_tf.Backbone,
    styles=(PAINTING,),
    *,
    side: int = 512,
    content_weights: np.ndarray | None = None,
    style_weights: np.ndarray | None = None,
    known: float = 1.0,
) -> dict[str, list[losses.Reference]]:
    look = activations.TiledActivations(network, LAYERS, side=side)

    def reference(picture, weights=None, share=1.0):
        weights = np.ones(picture.shape[:2], np.float32) if weights is None else weights
        return losses.Reference(picture, weights, look, share)

    return {
        "content": [reference(PHOTO, content_weights)],
        "start": [reference(START, content_weights, known)],
        "style": [reference(each, style_weights, 1 / len(styles)) for each in styles],
    }


def seen_in(network: nst_tf.Backbone, picture: np.ndarray) -> dict[str, np.ndarray]:
    found = network(np.ascontiguousarray(picture)[np.newaxis])
    return {layer: found[layer].numpy()[0].astype(np.float64) for layer in LAYERS}


def column(features: dict[str, np.ndarray], row: int, across: int) -> np.ndarray:
    """Returns the column of a cell, layer by layer, from its definition."""
    parts = []
    for layer, stride in STRIDES.items():
        values = features[layer]
        height, width, channels = values.shape
        if stride <= CELL:
            n = CELL // stride
            places = itertools.product(
                range(row * n, row * n + n), range(across * n, across * n + n)
            )
            mean = [values[min(y, height - 1), min(x, width - 1)] for y, x in places]
            parts.append(np.mean(mean, axis=0) / channels)
            continue
        total = np.zeros(channels)
        y, x = (
            np.clip((cell + 0.5) * CELL / stride - 0.5, 0, limit - 1)
            for cell, limit in ((row, height), (across, width))
        )
        for yy, xx in itertools.product((int(y), int(y) + 1), (int(x), int(x) + 1)):
            share = (1 - abs(y - yy)) * (1 - abs(x - xx))
            if share > 0:
                total += share * values[yy, xx]
        parts.append(total / channels)
    return np.concatenate(parts)


def columns(features: dict[str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    rows, across = (-(-length // CELL) for length in shape[:2])
    return np.array([[column(features, y, x) for x in range(across)] for y in range(rows)])


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def oriented(picture: np.ndarray, turns: int) -> list[np.ndarray]:
    mirrored = picture[:, ::-1]
    return [np.rot90(picture, k) for k in range(min(turns, 4))] + [
        np.rot90(mirrored, k) for k in range(turns - 4)
    ]


@pytest.mark.parametrize(
    ("orientations", "known"), [("upright", 1.0), ("turned", 1.0), ("mirrored", 0.0)]
)
def test_the_target_is_copied_from_the_most_similar_place(network, orientations, known):
    loss = losses.Neighbours(layers=LAYERS, share=0.3, orientations=orientations)
    found = loss.joint_target(references(network, known=known))
    share = np.float32(0.3 * known)
    sought = columns(seen_in(network, PHOTO + share * (START - PHOTO)), PHOTO.shape)
    pictures = oriented(PAINTING, TURNS[orientations])
    features = [seen_in(network, each) for each in pictures]
    offered = [columns(f, p.shape) for f, p in zip(features, pictures, strict=True)]
    places = [(k, y, x) for k, each in enumerate(offered) for y, x in np.ndindex(each.shape[:2])]
    flat = np.concatenate([each.reshape(-1, each.shape[-1]) for each in offered])
    cosines = unit(sought - sought.mean((0, 1))) @ unit(flat - flat.mean(0)).T
    best = cosines.argmax(-1)
    # Cells whose second best is as good to float32 may have either.
    clear = np.diff(np.sort(cosines, -1)[..., -2:])[..., 0] > 1e-5
    assert clear.mean() > 0.95
    for layer, stride in STRIDES.items():
        height, width = PHOTO.shape[0] // stride, PHOTO.shape[1] // stride
        rows = found[layer]["places"]
        assert rows.shape == (1, height, width, 1)
        table = np.asarray(found[layer]["table"])[0, 0]
        for y, x in itertools.product(range(0, height, 3), range(0, width, 2)):
            cell = y * stride // CELL, x * stride // CELL
            if not clear[cell]:
                continue
            picture, row, across = places[best[cell]]
            values = features[picture][layer]
            at = [
                min((place * CELL + (p * stride - c * CELL)) // stride, limit - 1)
                for place, p, c, limit in zip(
                    (row, across), (y, x), cell, values.shape, strict=False
                )
            ]
            wanted = unit(values[at[0], at[1]])
            np.testing.assert_allclose(table[int(rows[0, y, x, 0])], wanted, atol=2e-4)


def test_the_value_is_the_mean_of_one_minus_the_cosine(network):
    loss = losses.Neighbours(layers=LAYERS)
    targets = loss.joint_target(references(network))
    features = seen_in(network, START)
    for layer in LAYERS:
        values = features[layer]
        weights = np.random.default_rng(3).random((1, *values.shape[:2], 1))
        target = {name: tf.convert_to_tensor(each) for name, each in targets[layer].items()}
        seen = tf.constant(values[np.newaxis], tf.float32)
        sums = loss.statistics(seen, tf.constant(weights, tf.float32), target)
        rows = target["places"].numpy()[0, :, :, 0].astype(int)
        wanted = target["table"].numpy()[0, 0].astype(np.float64)[rows]
        errors_ = 1 - (unit(values) * wanted).sum(-1)
        expected = (weights[0, :, :, 0] * errors_).sum() / weights.sum()
        np.testing.assert_allclose(loss.value(sums, target), expected, rtol=1e-5)


def test_the_gradient_is_that_of_differences():
    """In float64, including a position without activations."""
    random = np.random.default_rng(5)
    features = random.random((1, 3, 4, 6))
    features[0, 1, 2] = 0
    loss = losses.Neighbours()
    target = {
        "table": tf.constant(unit(random.random((1, 1, 5, 6)))),
        "places": tf.constant(random.integers(0, 5, (1, 3, 4, 1)).astype(np.float64)),
    }
    weights = tf.constant(random.random((1, 3, 4, 1)))

    def value(at: tf.Tensor) -> tf.Tensor:
        return loss.value(loss.statistics(at, weights, target), target)

    at = tf.constant(features)
    with tf.GradientTape() as tape:
        tape.watch(at)
        found = value(at)
    gradient = tape.gradient(found, at).numpy()
    for place in [(0, 0, 0, 0), (0, 2, 3, 5), (0, 1, 1, 2)]:
        step = np.zeros_like(features)
        step[place] = 1e-5
        difference = (value(at + step) - value(at - step)) / 2e-5
        np.testing.assert_allclose(gradient[place], difference, rtol=1e-5)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("side", [16, 24])
def test_patches_have_the_matches_of_the_whole(network, side):
    loss = losses.Neighbours(layers=LAYERS)
    whole, parts = (loss.joint_target(references(network, side=each)) for each in (512, side))
    for layer in LAYERS:
        taken = [
            np.asarray(each[layer]["table"])[0, 0, each[layer]["places"][0, :, :, 0].astype(int)]
            for each in (whole, parts)
        ]
        same = np.isclose(*taken, atol=1e-3).all(-1)
        assert same.mean() > 0.99  # Ties within rounding may fall either way.


def test_masks_restrict_the_places_of_both(network):
    """The style gives only its left, and the content asks only with its top."""
    left = np.zeros(PAINTING.shape[:2], np.float32)
    left[:, :20] = 1
    top = np.zeros(PHOTO.shape[:2], np.float32)
    top[:16] = 1
    loss = losses.Neighbours(layers=LAYERS, orientations="upright")
    found = loss.joint_target(references(network, content_weights=top, style_weights=left))
    allowed = unit(seen_in(network, PAINTING)["block3_conv1"][:, :5].reshape(-1, 256))
    distances = 1 - np.asarray(found["block3_conv1"]["table"])[0, 0] @ allowed.T
    assert distances.min(axis=1).max() < 1e-4
    assert len(distances) <= 4 * 13  # No more places than cells of the top.


def test_a_style_without_a_place_is_refused(network):
    nothing = np.zeros(PAINTING.shape[:2], np.float32)
    with pytest.raises(errors.ConfigError, match=r"no cell.*larger region"):
        losses.Neighbours(layers=LAYERS).joint_target(references(network, style_weights=nothing))


def test_each_style_gives_its_share_of_the_places(network):
    """Of 40 places, a quarter of them another painting's."""
    other = pixels(7, 48, 48)
    given = references(network, (PAINTING, other))
    given["style"] = [
        losses.Reference(each.picture, each.pixel_weights, each.activations, share)
        for each, share in zip(given["style"], (0.75, 0.25), strict=True)
    ]
    loss = losses.Neighbours(layers=LAYERS, orientations="upright", most_places=40, evenness=0.2)
    table = np.asarray(loss.joint_target(given)["block3_conv1"]["table"])[0, 0]
    own = [
        unit(seen_in(network, each)["block3_conv1"].reshape(-1, 256)) for each in (PAINTING, other)
    ]
    counts = [int(((1 - table @ each.T).min(axis=1) < 1e-4).sum()) for each in own]
    assert len(table) <= 40
    assert counts[0] <= 30 and counts[1] <= 10 and sum(counts) == len(table)
    assert min(counts) >= 1


def test_evenness_uses_more_places(network):
    used = {}
    for evenness in (0.0, 0.03):
        loss = losses.Neighbours(layers=LAYERS, orientations="upright", evenness=evenness)
        table = loss.joint_target(references(network))["block3_conv1"]["table"]
        used[evenness] = table.shape[2]
    assert used[0.0] < 0.9 * used[0.03]


def test_a_painting_that_is_the_photo_is_matched_with_itself(network):
    """And so leaves the photo as it is: the loss is 0."""
    loss = losses.Neighbours(layers=LAYERS, share=0.0, orientations="upright")
    targets = loss.joint_target(references(network, (PHOTO,)))
    features = seen_in(network, PHOTO)
    for layer in LAYERS:
        seen = tf.constant(features[layer][np.newaxis], tf.float32)
        target = {name: tf.convert_to_tensor(each) for name, each in targets[layer].items()}
        value = loss.value(loss.statistics(seen, tf.constant(1.0), target), target)
        assert abs(float(value)) < 1e-4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"orientations": "all"}, "orientations.*turned"),
        ({"share": 1.5}, "share is 1.5"),
        ({"most_places": 0}, "most_places 0"),
        ({"evenness": -1.0}, "evenness -1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, said):
    with pytest.raises(errors.ConfigError, match=said):
        losses.Neighbours(**arguments)


def test_a_large_search_costs_at_most_a_hundredth_more_than_an_exact_one():
    """Vectors like activations: few directions have most of their energy."""
    random = np.random.default_rng(0)
    energies = np.float32(1 / np.arange(1, 801))
    mixing = np.linalg.qr(random.standard_normal((800, 800)))[0].astype(np.float32)
    choices = (random.standard_normal((5000, 800)).astype(np.float32) * energies) @ mixing
    vectors = (random.standard_normal((4000, 800)).astype(np.float32) * energies) @ mixing
    choices -= choices.mean(0)
    found = nearest.Choices(choices.copy(), len(vectors)).nearest(tf.constant(vectors))
    cosines = unit(vectors.astype(np.float64)) @ unit(choices.astype(np.float64)).T
    cost = 1 - cosines[np.arange(len(vectors)), found].mean()
    assert cost <= 1.01 * (1 - cosines.max(axis=1).mean())
