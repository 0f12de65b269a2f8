"""Every preset against its published formula, written out once more in float64 NumPy.

Layer sizes are those of VGG19, so that the constants of each layer count. The activations are
small random ones: what is compared is the formulas, not the network.
"""

from __future__ import annotations

import logging
from pathlib import Path

import keras
import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import tensorflow as tf
from PIL import Image

import nst_tf
from nst_tf import backbones, config, errors, losses, objective, presets
from nst_tf.commands import flags
from nst_tf.config import vgg_layers
from nst_tf.engine import steps
from nst_tf.imaging import pyramid
from nst_tf.kernels import convolution

Config = config.StyleTransferConfig
ASSETS = Path(__file__).parents[2] / "assets"
HEIGHT, WIDTH = 35, 42  # No multiples of 16, as pictures are.
CHANNELS = (8, 12, 20, 24, 28)  # A block.
KERAS_STYLE = tuple(f"block{block}_conv1" for block in range(1, 6))


class Features:
    """Activations of a picture at every layer, and the picture, all `(height, width, n)`."""

    def __init__(self, seed: int, height: int = HEIGHT, width: int = WIDTH) -> None:
        random = np.random.default_rng(seed)
        self.image = random.random((height, width, 3)).astype(np.float32)
        self.layers = {}
        for name in vgg_layers.names("vgg19"):
            stride, block = vgg_layers.stride(name), int(name[5])
            shape = height // stride, width // stride, CHANNELS[block - 1]
            self.layers[name] = random.gamma(1, 2, shape).astype(np.float32)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.layers[name].astype(np.float64)


class Network:
    """Stands for a backbone: it knows the activations of three pictures."""

    def __init__(self, *pictures: Features) -> None:
        self.pictures = pictures

    def __call__(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {**self.seen(image[0].numpy()), "image": image}

    def seen(self, image: np.ndarray) -> dict[str, tf.Tensor]:
        """Returns the activations of a picture, turned like the picture."""
        (found,) = (
            {name: np.rot90(array, turns) for name, array in features.layers.items()}
            for features in self.pictures
            for turns in range(4)
            if np.array_equal(np.rot90(features.image, turns), image)
        )
        return {name: tf.constant(array[None].copy()) for name, array in found.items()}

    def reach(self, name: str) -> tuple[int, int]:
        return (1 if name == "image" else vgg_layers.stride(name)), 0


class Look(losses.Activations):
    """Stands for a backbone as losses of several references see it."""

    def __init__(self, network: Network, layers: tuple[str, ...]) -> None:
        self.network, self.layers = network, layers
        self.strides = {name: network.reach(name)[0] for name in layers}

    def walk(self, picture: np.ndarray):
        raise NotImplementedError

    def whole(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        seen = self.network.seen(picture)
        return {name: seen[name].numpy() for name in self.layers}

    def weights(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        sizes = self.sizes(*pixels.shape)
        return {name: np.ones((1, *sizes[name], 1), np.float32) for name in self.layers}

    def sizes(self, height: int, width: int) -> dict[str, tuple[int, int]]:
        return {name: (height // each, width // each) for name, each in self.strides.items()}


PHOTO, PAINTING, PICTURE = Features(1), Features(2), Features(3)


def found_terms(settings: Config) -> dict[str, float]:
    """Returns the weighted terms that the package computes, by the groups of their names."""
    terms = objective.terms(settings, "vgg19")
    network = Network(PHOTO, PAINTING, PICTURE)
    whole = objective.Objective(network, terms)  # type: ignore[arg-type]
    everywhere = tf.ones((1, 1, 1, 1))
    targets = {
        **whole.targets(tf.constant(PHOTO.image[None]), everywhere, "content"),
        **whole.targets(tf.constant(PAINTING.image[None]), everywhere, "style"),
    }
    if whole.joint:  # The first step of a run.
        views = {
            "content": [objective.View(PHOTO.image, everywhere.numpy())],
            "start": [objective.View(PHOTO.image, everywhere.numpy(), 0.0)],
            "style": [objective.View(PAINTING.image, everywhere.numpy())],
        }
        joint = whole.join(views, [[1.0]], lambda layers, _: Look(network, layers))
        targets |= tf.nest.map_structure(tf.convert_to_tensor, joint)
    statistics = whole.statistics(tf.constant(PICTURE.image[None]), targets)
    pixels = PICTURE.image[..., 0].size
    return {
        name: float(value) for name, value in whole.value(statistics, targets, pixels)[1].items()
    }


# The published formulas.


def flat(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1, array.shape[-1]).T  # (channels, positions), as in the papers.


def gram(array: np.ndarray) -> np.ndarray:
    return flat(array) @ flat(array).T


def squares(array: np.ndarray) -> float:
    return float(np.sum(array**2))


def both(name: str) -> tuple[np.ndarray, np.ndarray]:
    return PICTURE[name], PAINTING[name]


def gatys_style(name: str) -> float:
    found, wanted = both(name)
    m, n = flat(found).shape
    return squares(gram(wanted) - gram(found)) / (2 * m * n) ** 2


def mean_of_sums(name: str) -> float:
    found, wanted = both(name)
    return float(np.mean((gram(found) - gram(wanted)) ** 2))


def mean_of_means(name: str) -> float:
    found, wanted = both(name)
    n = flat(found).shape[1]
    return float(np.mean((gram(found) / n - gram(wanted) / n) ** 2))


def sums_by_sizes(name: str) -> float:
    found, wanted = both(name)
    height, width, count = found.shape
    error = np.sum((gram(found) - gram(wanted)) ** 2)
    return float(error / (count * width * height) / count**2)


def keras_io_style(name: str) -> float:
    found, wanted = both(name)
    channels, size = 3, HEIGHT * WIDTH
    return squares(gram(wanted) - gram(found)) / (4 * channels**2 * size**2)


def neural_style_pt_style(name: str) -> float:
    found, wanted = both(name)
    return float(np.mean((gram(found) / found.size - gram(wanted) / wanted.size) ** 2))


def wasserstein(name: str) -> float:
    def moments(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = flat(array)
        mean = rows.mean(1)
        centred = rows - mean[:, None]
        return mean, centred @ centred.T / rows.shape[1] + 1e-4 * np.eye(len(rows))

    (mean, covariance), (wanted_mean, wanted) = map(moments, both(name))
    root = scipy.linalg.sqrtm(wanted)
    middle = scipy.linalg.sqrtm(root @ covariance @ root).real
    return float(
        np.mean((mean - wanted_mean) ** 2)
        + np.mean(np.diag(covariance) + np.diag(wanted) - 2 * np.diag(middle))
    )


def content_error(name: str) -> float:
    return squares(PICTURE[name] - PHOTO[name])


def content_mean(name: str) -> float:
    return content_error(name) / PHOTO[name].size


def image_differences(scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    image = PICTURE.image.astype(np.float64) * scale
    return image[1:] - image[:-1], image[:, 1:] - image[:, :-1]


def squared_variation() -> float:
    return sum(map(squares, image_differences()))


def absolute_variation(scale: float) -> float:
    return sum(float(np.abs(part).sum()) for part in image_differences(scale))


def keras_io_variation() -> float:
    down, right = image_differences(255.0)
    return float(np.sum((down[:, :-1] ** 2 + right[:-1] ** 2) ** 1.25))


def nine_point_variation() -> float:
    image = np.pad(PICTURE.image.astype(np.float64), ((1, 1), (1, 1), (0, 0)), "edge")
    inner = image[1:-1, 1:-1]
    right = np.mean((image[1:-1, 2:] - inner) ** 2) / 3
    down = np.mean((image[2:, 1:-1] - inner) ** 2) / 3
    falling = np.mean((image[1:, 1:] - image[:-1, :-1]) ** 2) / 12
    rising = np.mean((image[1:, :-1] - image[:-1, 1:]) ** 2) / 12
    return float(2 * (right + down + falling + rising))


STROTSS = (
    *("block1_conv1", "block1_conv2", "block2_conv1", "block2_conv2", "block3_conv1"),
    *("block3_conv2", "block3_conv3", "block4_conv3", "block5_conv3"),
)


def columns(picture: Features, names, height: int, width: int) -> np.ndarray:
    """Returns activations on a grid, by Pillow's triangle filter, as rows."""
    channels = [each for name in names for each in np.moveaxis(picture.layers[name], -1, 0)]
    images = [Image.fromarray(each) for each in channels]
    found = [each.resize((width, height), Image.Resampling.BILINEAR) for each in images]
    return np.stack(list(map(np.float64, found)), axis=-1).reshape(height * width, -1)


def angles(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Returns the cosine distance of each two rows."""
    found, wanted = (each / np.linalg.norm(each, axis=1)[:, None] for each in (found, wanted))
    return 1 - found @ wanted.T


def relaxed_emd(costs: np.ndarray) -> float:
    return float(max(costs.min(1).mean(), costs.min(0).mean()))


def strotss(alpha: float) -> dict[str, float]:
    """The program's terms without the pixels in its columns, on grids of at most 1024 and 2048."""

    def pattern(picture: Features) -> np.ndarray:
        distances = angles(*[columns(picture, STROTSS, 29, 35)] * 2)
        return distances / (distances + 1e-5).sum(0)  # Without the 1e-5 in the program.

    found, wanted = (columns(each, STROTSS, HEIGHT, WIDTH) for each in (PICTURE, PAINTING))
    mean = np.abs(found.mean(0) - wanted.mean(0)).mean()
    spread = np.abs(np.cov(found.T, ddof=0) - np.cov(wanted.T, ddof=0)).mean()
    # Rows: a rotation of the grey axis and two across it, to the program's six digits.
    axes = [(0.577350,) * 3, (-0.577350, 0.788675, -0.211325), (-0.577350, -0.211325, 0.788675)]
    here, there = (
        each.image.reshape(-1, 3).astype(np.float64) @ np.transpose(axes)
        for each in (PICTURE, PAINTING)
    )
    apart = np.linalg.norm(here[:, None] - there, axis=-1) / np.sqrt(3)
    return {
        "content/self_similarity": alpha * np.abs(pattern(PICTURE) - pattern(PHOTO)).mean() * 1015,
        "style/remd": relaxed_emd(angles(found, wanted)) + mean + spread,
        "style/palette": relaxed_emd(angles(here, there) + apart) / max(alpha, 1),
    }


NNST = (*STROTSS[:7], "block4_conv1", "block4_conv2", "block4_conv3")


def nnst_columns(picture: Features, turns: int = 0) -> np.ndarray:
    """Returns the columns of a picture, a quarter as many along each side, by SciPy."""
    found = []
    for name in NNST:
        values = np.rot90(picture[name], turns) / picture[name].shape[-1]
        sides = np.rot90(picture.image, turns).shape
        places = [np.linspace(0, values.shape[axis] - 1, sides[axis] // 4) for axis in (0, 1)]
        grid = np.meshgrid(*places, indexing="ij")
        channels = np.moveaxis(values, -1, 0)
        found += [scipy.ndimage.map_coordinates(each, grid, order=1).ravel() for each in channels]
    return np.stack(found, axis=-1)


def nnst() -> dict[str, float]:
    """The first phase of the program at the first step: the query is the photo."""
    sought = nnst_columns(PHOTO)
    offered = np.concatenate([nnst_columns(PAINTING, turns) for turns in range(4)])
    matches = angles(sought - sought.mean(0), offered - offered.mean(0)).argmin(1)
    error = np.diag(angles(nnst_columns(PICTURE), offered[matches]))
    return {"style/neighbour_columns": float(error.mean())}


def nnst_final() -> dict[str, float]:
    """The last phase, whose grid is every place of a small picture; without the fault."""
    total = 0.0
    for name in NNST:
        found = flat(PICTURE[name]).T
        offered = np.concatenate([flat(np.rot90(PAINTING[name], turns)).T for turns in range(4)])
        total += angles(found - found.mean(0), offered - offered.mean(0)).min(1).mean()
    return {"style/nearest_features": total}


def five(layer_loss, weights, names=KERAS_STYLE) -> dict[str, float]:
    return {
        f"style/{name}": weight * layer_loss(name)
        for name, weight in zip(names, weights, strict=True)
    }


def published(preset: str) -> dict[str, float]:
    """Returns the terms of a recipe, from its own formulas and constants."""
    if preset in ("gatys2015", "gatys2016"):
        alpha, beta = 1.0, 1000.0
        return {
            "content/block4_conv2": alpha * content_error("block4_conv2") / 2,
            **five(gatys_style, [beta / 5] * 5),
        }
    if preset == "vgg16":
        return {
            **{f"content/{name}": content_mean(name) for name in KERAS_STYLE},
            **five(mean_of_sums, [0.01] * 5),
        }
    if preset == "tv_regularized":
        names = ("block1_conv2", "block2_conv2", "block3_conv4", "block4_conv4", "block5_conv4")
        given = Config.preset("tv_regularized")
        falling = list(given.style_layer_weights)
        assert falling == sorted(set(falling), reverse=True)
        return {
            "content/block3_conv4": given.content_weight * content_mean("block3_conv4"),
            **five(sums_by_sizes, [given.style_weight * weight for weight in falling], names),
            "tv": given.tv_weight * squared_variation(),
        }
    if preset == "eager_notebook":
        return {
            "content/block5_conv2": 1e3 * content_mean("block5_conv2"),
            **five(mean_of_means, [1e-2 / 5] * 5),
        }
    if preset == "tf_tutorial":
        return {
            "content/block5_conv2": 1e4 * content_mean("block5_conv2"),
            **five(mean_of_means, [1e-2 / 5] * 5),
            "tv": 30 * absolute_variation(1.0),
        }
    if preset == "keras_io":
        return {
            "content/block5_conv2": 2.5e-8 * content_error("block5_conv2"),
            **five(keras_io_style, [1e-6 / 5] * 5),
            "tv": 1e-6 * keras_io_variation(),
        }
    if preset == "neural_style_pt":
        return {
            "content/block4_conv2": 5 * content_mean("block4_conv2"),
            **five(neural_style_pt_style, [100.0] * 5),
            "tv": 1e-3 * absolute_variation(255.0),
        }
    if preset == "strotss":
        return strotss(16.0)
    if preset == "nnst":
        return nnst()
    assert preset == "style_transfer_pytorch"
    total = 256 + 64 + 16 + 4 + 1
    return {
        "content/block4_conv2": 0.015 * content_mean("block4_conv2"),
        **five(wasserstein, [weight / total for weight in (256, 64, 16, 4, 1)]),
        "tv": 2.0 * nine_point_variation(),
    }


every_preset = pytest.mark.parametrize("name", presets.names())


@pytest.mark.parametrize("name", [name for name in presets.names() if name != "gram"])
def test_the_losses_are_those_of_the_published_formula(name):
    """`gram` is no published recipe: its losses are the relative ones of tests/losses."""
    found = found_terms(Config.preset(name, backbone="vgg19"))
    expected = published(name)
    assert found.keys() == expected.keys()
    for term, value in expected.items():
        np.testing.assert_allclose(found[term], value, rtol=1e-5, err_msg=term)


@pytest.mark.parametrize(("level", "alpha"), [*enumerate((16.0, 8.0, 4.0, 2.0, 1.0, 0.5))])
def test_the_content_of_strotss_counts_half_as_much_at_each_finer_level(level, alpha):
    found = found_terms(Config.preset("strotss", backbone="vgg19").at_level(64 * 2**level))
    for term, value in strotss(alpha).items():
        np.testing.assert_allclose(found[term], value, rtol=1e-5, err_msg=term)


def test_the_levels_of_strotss_are_those_of_the_program():
    settings = Config.preset("strotss")
    levels = pyramid.plan(settings, (384, 512), [(300, 200)])
    assert [(level.width, level.steps) for level in levels] == [
        (side, 250) for side in (64, 128, 256, 512)
    ]


def test_the_last_pass_of_nnst_is_the_published_one():
    settings = Config.preset("nnst", backbone="vgg19", final_fault=False)
    assert found_terms(settings.final) == pytest.approx(nnst_final(), rel=1e-5)
    assert Config.preset("nnst").final.final_fault


def test_the_levels_of_nnst_are_those_of_the_program():
    levels = pyramid.plan(Config.preset("nnst"), (384, 512), [(300, 200)])
    assert [(level.width, level.steps) for level in levels] == [
        (side, 200) for side in (64, 128, 256, 512, 512)
    ]


@pytest.mark.parametrize(
    ("name", "facts"),
    {
        "gatys2015": {"init": "noise", "optimizer": "steepest_descent", "pooling": "avg"},
        "vgg16": {"backbone": "vgg16", "steps": (6000,), "image_size": 1400, "init": "content"},
        "gatys2016": {"init": "content", "optimizer": "lbfgs", "content_style_ratio": 1e-3},
        "tv_regularized": {"init": "content"},
        "eager_notebook": {
            "learning_rate": 5,
            "adam_beta_1": 0.99,
            "adam_epsilon_hat": 0.1,
            "pixel_range": 255,
            "steps": (1000,),
            "clip_pixels": True,
        },
        "tf_tutorial": {"learning_rate": 0.02, "adam_beta_1": 0.99, "pixel_range": 1},
        "keras_io": {"learning_rate": 100, "steps": (4000,), "clip_pixels": False},
        "neural_style_pt": {"lbfgs_history": 100, "steps": (999,), "image_size": 512},
        "strotss": {
            "backbone": "vgg16",
            "pooling": "max",
            "init_noise": 0,
            "learning_rate": 2e-3,
            "finest_rate": 0.5,
            "laplacian_bands": 5,
            "final_rate": 1,
            "clip_pixels": False,
        },
        "nnst": {
            "backbone": "vgg16",
            "pooling": "max",
            "init": "content",
            "init_noise": 0,
            "content_weight": 0,
            "match_share": 0.25,
            "matches": 1,
            "learning_rate": 2e-3,
            "laplacian_bands": 8,
            "final_rate": 1,
            "average": 0,
            "clip_pixels": False,
            "color": "tint",
        },
        "style_transfer_pytorch": {"steps": (1000, 500, 500, 500, 500), "average": 0.99},
    }.items(),
)
def test_the_settings_are_the_published_ones(name, facts):
    settings = Config.preset(name)
    assert {key: getattr(settings, key) for key in facts} == facts


# The first steps of the optimisers, on a small function of the pixels.


def steps_of(name: str, start: np.ndarray, evaluate, count: int) -> np.ndarray:
    """Returns the picture after some steps of the optimiser of a preset, in [0, 1]."""
    optimizer = nst_tf.optimizers.get(Config.preset(name).optimizer, Config.preset(name))
    image = tf.constant(start, tf.float32)
    state = optimizer.init(image, sum(Config.preset(name).steps))
    for _ in range(count):
        image, state, _ = nst_tf.optimizers.step(optimizer, image, state, evaluate)
    return image.numpy()


def wave(image: np.ndarray) -> np.ndarray:
    """Returns the gradient of a wavy function of pixels in [0, 1]."""
    return 40 * np.cos(7 * image) + 3 * (image - 0.5)


def evaluate(image: tf.Tensor) -> nst_tf.optimizers.Evaluation:
    gradient = tf.constant(wave(image.numpy().astype(np.float64)), tf.float32)
    loss = tf.reduce_sum(40 / 7 * tf.sin(7 * image) + 1.5 * (image - 0.5) ** 2)
    return nst_tf.optimizers.Evaluation(loss, gradient, {"wave": loss})


START = np.random.default_rng(5).uniform(0.05, 0.95, (1, 4, 5, 3))


@pytest.mark.parametrize(
    ("name", "arguments", "white"),
    [
        ("eager_notebook", {"learning_rate": 5.0, "beta_1": 0.99, "epsilon": 0.1}, 255.0),
        ("tf_tutorial", {"learning_rate": 0.02, "beta_1": 0.99, "epsilon": 0.1}, 1.0),
    ],
)
def test_adam_takes_the_steps_of_plain_keras_adam(name, arguments, white):
    adam = keras.optimizers.Adam(**arguments)
    plain = tf.Variable(START * white, dtype=tf.float32)
    for _ in range(3):
        adam.apply([tf.constant(wave(plain.numpy() / white) / white, tf.float32)], [plain])
        plain.assign(tf.clip_by_value(plain, 0.0, white))
    found = steps_of(name, START, evaluate, 3)
    assert np.abs(found - START).max() > 0.003
    np.testing.assert_allclose(white * found, plain.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "rate", "beta_2"),
    [("vgg16", 0.001, 0.999), ("style_transfer_pytorch", 0.02, 0.99)],
)
def test_adam_takes_the_steps_of_pytorch(name, rate, beta_2):
    """Algorithm 1 of Kingma and Ba (2015), in float64."""
    image, first, second = START, 0.0, 0.0
    average, share = 0.01 * START, 0.99
    for step in range(1, 4):
        gradient = wave(image)
        first = 0.9 * first + 0.1 * gradient
        second = beta_2 * second + (1 - beta_2) * gradient**2
        root = np.sqrt(second / (1 - beta_2**step)) + 1e-8
        image = image - rate * first / (1 - 0.9**step) / root
        image = image if name == "vgg16" else image.clip(0, 1)
        average, share = 0.99 * average + 0.01 * image, 0.99 * share
    np.testing.assert_allclose(steps_of(name, START, evaluate, 3), image, atol=1e-6)
    if name == "style_transfer_pytorch":
        optimizer = nst_tf.optimizers.get("adam", Config.preset(name))
        moved, state = tf.constant(START, tf.float32), None
        state = optimizer.init(moved, 500)
        for _ in range(3):
            moved, state, _ = nst_tf.optimizers.step(optimizer, moved, state, evaluate)
        np.testing.assert_allclose(optimizer.result(moved, state), average / (1 - share), atol=1e-5)


def test_gradient_descent_takes_the_steps_of_keras_io():
    schedule = keras.optimizers.schedules.ExponentialDecay(100.0, decay_steps=100, decay_rate=0.96)
    descent = keras.optimizers.SGD(schedule)
    plain = tf.Variable(START * 255, dtype=tf.float32)
    for _ in range(40):
        descent.apply([tf.constant(wave(plain.numpy() / 255) / 255, tf.float32)], [plain])
    found = steps_of("keras_io", START, evaluate, 40)
    assert np.abs(found - START).max() > 0.01
    np.testing.assert_allclose(255 * found, plain.numpy(), atol=2e-4)


@pytest.mark.parametrize("name", ["gatys2015", "gatys2016", "tv_regularized"])
def test_a_search_begins_down_the_gradient(name):
    """The first step looks at the start; the next moves along its gradient, by 0.01 on average."""
    np.testing.assert_array_equal(steps_of(name, START, evaluate, 1), np.float32(START))
    move = steps_of(name, START, evaluate, 2) - START
    gradient = wave(START)
    np.testing.assert_allclose(move, -0.01 * gradient / np.sqrt(np.mean(gradient**2)), atol=1e-6)


def test_neural_style_pt_takes_the_first_steps_of_pytorch_lbfgs():
    """In 0 to 255: a move of 1 / |g|₁ along the gradient, then a full quasi-Newton step."""
    first = wave(START) / 255
    scale = min(1, 1 / np.abs(first).sum())
    move = -scale * first
    second = wave(START + move / 255) / 255
    change = second - first
    rho = 1 / np.sum(move * change)
    gamma = np.sum(move * change) / squares(change)
    alpha = rho * np.sum(move * second)
    inner = gamma * (second - alpha * change)
    direction = -(inner + (alpha - rho * np.sum(change * inner)) * move)
    found = steps_of("neural_style_pt", START, evaluate, 1)
    np.testing.assert_allclose(255 * (found - START), move, rtol=1e-2, atol=1e-5)
    exact = [255 * START + move, 255 * START + move + direction]
    found = steps_of("neural_style_pt", START, evaluate, 2)
    # The first move is tiny, so the curvature of float32 gradients is known to few digits.
    np.testing.assert_allclose(255 * found - exact[0], exact[1] - exact[0], rtol=0.1, atol=0.05)


# Runs.


@every_preset
def test_a_run_of_a_few_steps_lowers_the_loss(name):
    """Several recipes leave the photo with a leap, so the loss counts from the second step."""
    settings = Config.preset(name, backbone="vgg16", image_size=96, levels=1, steps=(15,))
    settings = settings.replace(final_steps=0)
    history = nst_tf.callbacks.History()
    photo, painting = ASSETS / "chelsea.png", ASSETS / "estuary.jpg"
    picture = nst_tf.stylize(photo, painting, settings, [history]).numpy()
    assert max(picture.shape[:2]) == 96
    assert np.isfinite(picture).all()
    assert picture.min() >= 0
    assert picture.max() <= 1
    values = [entry["loss"] for entry in history.entries]
    assert len(values) == 15
    assert values[-1] < values[1]


# By name, with changes.


def test_a_change_wins_over_the_preset():
    settings = Config.preset("eager_notebook", learning_rate=2.0, backbone="vgg16", steps=(3,))
    assert (settings.learning_rate, settings.steps, settings.adam_beta_1) == (2.0, (3,), 0.99)


def test_a_ratio_of_content_to_style_sets_the_content_weight():
    settings = Config.preset("gatys2016", content_style_ratio=0.1, style_weight=50.0)
    assert settings.content_weight == pytest.approx(5.0)
    assert settings.replace(style_weight=20.0).content_weight == pytest.approx(2.0)
    assert Config.from_dict(settings.to_dict()) == settings


def test_a_content_weight_takes_the_place_of_the_ratio():
    settings = Config.preset("gatys2016", content_weight=7.0)
    assert (settings.content_weight, settings.content_style_ratio) == (7.0, 0.0)
    values = flags.define(*flags.ALL)
    flags.parse(values, ["", "--content_weight=7"])
    assert flags.to_config(values, "gatys2016") == settings
    provenance = Config.preset("gatys2016").to_dict()
    assert flags.to_config(values, settings=provenance) == settings
    with pytest.raises(errors.ConfigError, match=r"content_weight=7.0 and content_style_ratio=0.5"):
        Config.preset("gatys2016", content_weight=7.0, content_style_ratio=0.5)


def test_layers_that_vgg16_lacks_are_mapped_and_named(caplog):
    with caplog.at_level(logging.INFO, "nst_tf"):
        settings = Config.preset("tv_regularized", backbone="vgg16")
    assert settings.content_layers == ("block3_conv3",)
    assert settings.style_layers[2:] == ("block3_conv3", "block4_conv3", "block5_conv3")
    assert "vgg16 has no block3_conv4; block3_conv3 stands for it" in caplog.text
    assert "block1_conv2" not in caplog.text


def test_a_layer_of_the_callers_own_is_not_mapped():
    with pytest.raises(errors.ConfigError, match="block3_conv4"):
        Config.preset("tv_regularized", backbone="vgg16", content_layers=("conv3_4",))


def test_an_unknown_preset_lists_the_presets():
    with pytest.raises(errors.ConfigError, match=r"gatys2015.*Did you mean 'gatys2016'"):
        Config.preset("gatys16")


@every_preset
def test_a_preset_names_its_source_its_command_and_what_to_expect(name):
    description = presets.get(name).description
    assert presets.get(name).summary.endswith(".")
    assert "Source: " in description
    assert f"nst-stylize --preset={name} --content=" in description
    assert "Expect" in description
    named = {
        word.removeprefix("--").partition("=")[0]
        for word in description.replace(",", " ").split()
        if word.startswith("--")
    }
    known = {field for owner in flags.ALL for field in owner.__dataclass_fields__}
    assert {word.rstrip(".;:") for word in named} <= known


def test_the_table_has_a_row_for_each_preset():
    rows = presets.table().splitlines()[1:]
    assert [row.split()[0] for row in rows] == presets.names()
    for row, name in zip(rows, presets.names(), strict=True):
        settings = presets.get(name).settings
        steps = sum(settings["steps"]) + settings.get("final_steps", 0)
        assert (str(steps) if steps else "by size") in row
        assert row.endswith(presets.get(name).summary)


# The scale of activations.


def test_activations_are_brought_to_the_scale_of_other_weights():
    """Pixels of 0 to 255 against pixels over their standard deviation, 0.226 on average."""
    image = tf.constant(PHOTO.image[None])
    own, caffe, torchvision, unit = (
        backbones.build("vgg16", ("block2_conv1",), activation_scale=scale)(image)["block2_conv1"]
        for scale in ("own", "caffe", "torchvision", "unit")
    )
    np.testing.assert_array_equal(torchvision, own)
    np.testing.assert_allclose(caffe, own.numpy() * 255 * 0.226, rtol=1e-4)
    np.testing.assert_allclose(unit, own.numpy() * 0.226, rtol=1e-4)


def test_the_mean_colour_is_that_of_the_training_pictures():
    backbone = backbones.build("vgg16", ("block1_conv1",))
    np.testing.assert_allclose(backbone.mean_colour, (0.485, 0.456, 0.406), atol=1e-6)


def test_a_step_of_a_preset_is_the_optimiser_on_the_gradient(monkeypatch):
    """The whole step of `eager_notebook` on a network: Keras Adam in 0 to 255, to 1e-4."""
    # Adam moves by the sign of a gradient however small, so both round it in one way.
    monkeypatch.setattr(convolution, "minimal_filters", lambda: None)
    settings = Config.preset(
        "eager_notebook", backbone="vgg16", content_layers=("conv2_1",), style_layers=("conv1_1",),
        precision="float32",
    )  # fmt: skip
    backbone = nst_tf.StyleTransfer(settings).backbone
    whole = objective.Objective(backbone, objective.terms(settings, "vgg16"))
    photo, painting = (tf.constant(each.image[None]) for each in (PHOTO, PAINTING))
    everywhere = tf.ones((1, 1, 1, 1))
    targets = {
        **whole.targets(photo, everywhere, "content"),
        **whole.targets(painting, everywhere, "style"),
    }
    optimizer = nst_tf.optimizers.get("adam", settings)
    image = tf.Variable(photo)
    state = {name: tf.Variable(value) for name, value in optimizer.init(photo, 1000).items()}
    step = steps.compile_step(whole, optimizer)
    adam = keras.optimizers.Adam(5.0, beta_1=0.99, epsilon=0.1)
    plain = tf.Variable(255 * photo)
    for _ in range(3):
        step(image, state, targets)
        with tf.GradientTape() as tape:
            statistics = whole.statistics(plain / 255, targets)
            loss, _ = whole.value(statistics, targets, plain.shape[1] * plain.shape[2])
        adam.apply([tape.gradient(loss, plain)], [plain])
        plain.assign(tf.clip_by_value(plain, 0.0, 255.0))
    np.testing.assert_allclose(255 * image.numpy(), plain.numpy(), atol=2e-2)
    np.testing.assert_allclose(image.numpy(), plain.numpy() / 255, atol=1e-4)
