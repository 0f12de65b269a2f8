"""A whole stylisation on the bundled weights and pictures, judged by what was not optimised.

Style is judged by Gram matrices of layers that no term uses and by colours, content by where
the edges of the photo are. The photo itself fails the first, the painting the second.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

import nst_tf

ASSETS = Path(__file__).parents[1] / "assets"
SIZE = (128, 192)
JUDGED_LAYERS = ("block1_conv2", "block2_conv2", "block3_conv2", "block4_conv3")


def picture(name: str) -> np.ndarray:
    return nst_tf.imaging.resize(nst_tf.imaging.load(ASSETS / name).rgb, *SIZE)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return picture("coffee.png")


@pytest.fixture(scope="module")
def painting() -> np.ndarray:
    return picture("estuary.jpg")


@pytest.fixture(scope="module")
def result(photo: np.ndarray, painting: np.ndarray) -> np.ndarray:
    config = nst_tf.StyleTransferConfig(backbone="vgg16", image_size=SIZE[1], steps=(60, 30))
    return nst_tf.stylize(photo, painting, config).numpy()


@pytest.fixture(scope="module")
def judge() -> nst_tf.Backbone:
    return nst_tf.backbones.build("vgg16", JUDGED_LAYERS, pooling="max")


def gram_matrices(judge: nst_tf.Backbone, image: np.ndarray) -> list[np.ndarray]:
    features = judge(image[np.newaxis])
    flat = [np.float64(features[name]).reshape(-1, features[name].shape[-1]) for name in features]
    return [activations.T @ activations / len(activations) for activations in flat]


def style_distance(judge: nst_tf.Backbone, image: np.ndarray, painting: np.ndarray) -> float:
    """Returns the mean relative distance of Gram matrices."""
    pairs = zip(gram_matrices(judge, image), gram_matrices(judge, painting), strict=True)
    return float(np.mean([np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs]))


def colour_distance(image: np.ndarray, painting: np.ndarray) -> float:
    """Returns the mean Wasserstein distance of the channels' values."""
    channels = zip(image.reshape(-1, 3).T, painting.reshape(-1, 3).T, strict=True)
    return float(np.mean([scipy.stats.wasserstein_distance(a, b) for a, b in channels]))


def edge_agreement(image: np.ndarray, photo: np.ndarray) -> float:
    """Returns the correlation of where two pictures have edges, details left out."""
    maps = [
        scipy.ndimage.gaussian_gradient_magnitude(np.float64(array.mean(-1)), 3).ravel()
        for array in (image, photo)
    ]
    return float(np.corrcoef(maps)[0, 1])


def moved_to_the_style(judge, image, photo, painting) -> bool:
    gain = 1 - style_distance(judge, image, painting) / style_distance(judge, photo, painting)
    colour = 1 - colour_distance(image, painting) / colour_distance(photo, painting)
    return gain > 0.5 and colour > 0.5


def kept_the_content(image, photo) -> bool:
    return edge_agreement(image, photo) > 0.5


def test_result_has_the_style_and_keeps_the_content(judge, result, photo, painting):
    assert moved_to_the_style(judge, result, photo, painting)
    assert kept_the_content(result, photo)


def test_photo_fails_for_style_and_painting_for_content(judge, photo, painting):
    assert not moved_to_the_style(judge, photo, photo, painting)
    assert not kept_the_content(painting, photo)


def test_result_has_no_grain(result, photo, painting):
    """High frequencies, which neither input has, would be grain or a checkerboard."""

    def grain(image: np.ndarray) -> float:
        luma = image.mean(-1) - image.mean()
        window = np.outer(np.hanning(SIZE[0]), np.hanning(SIZE[1]))
        power = np.abs(np.fft.fft2(luma * window)) ** 2
        rows, columns = np.meshgrid(*map(np.fft.fftfreq, SIZE), indexing="ij")
        return float(power[np.hypot(rows, columns) > 0.35].sum())

    assert grain(result) < 1.5 * max(grain(photo), grain(painting))


def test_result_is_not_clipped(result, photo, painting):
    def clipped(image: np.ndarray) -> float:
        return float(np.mean((image <= 0.002) | (image >= 0.998)))

    assert clipped(result) < 0.06 + max(clipped(photo), clipped(painting))
