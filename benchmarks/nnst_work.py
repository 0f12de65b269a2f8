"""The work of NNST at each scale, as this package and the published formulas in PyTorch do it.

NNST-Opt is the program of Kolkin et al. (2022), "Neural Neighbor Style Transfer". Content and style
have one size. Each scale begins at the content: a step takes as long from any picture.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import common
import h5py
import numpy as np
import work

from nst_tf import errors
from nst_tf.imaging import images, pyramid

LAYERS = tuple(
    f"block{block}_conv{number}"
    for block, count in enumerate((2, 2, 3, 3), 1)
    for number in range(1, count + 1)
)
FINAL = "final"
RUN_STEPS = 200  # Of each scale and of the last pass.
_CELL = 4  # Pixels from one column to the next.
_GRID = 64  # Intervals of the grid of the last pass along the longer side of a layer.
_POSITIONS = 128**2  # A part of the search has about this many cosines, squared.
_BANDS, _RATE = 8, 0.002
_TURNS = 4


class Scale(NamedTuple):
    """What one scale, or the last pass, costs a contender.

    Attributes:
        target_seconds: seconds until the targets were there.
        step: takes a step, and returns once it is done.
        evaluate: returns the loss of a picture `(height, width, 3)`, and its gradient.
    """

    target_seconds: float
    step: Callable[[], Any]
    evaluate: Callable[[np.ndarray], tuple[float, np.ndarray]]


def scales(size: str) -> dict[str, tuple[int, int]]:
    """Returns height and width of each scale and of the last pass, by its name.

    Args:
        size: WIDTHxHEIGHT of the picture.

    Raises:
        ConfigError: it is no size, or its longer side is not that of a scale.
    """
    try:
        width, height = map(int, size.split("x"))
    except ValueError:
        raise errors.ConfigError(f"size is {size!r}; expected WIDTHxHEIGHT.") from None
    sides = [side for side in (64, 128, 256, 512, 1024) if side <= max(width, height)]
    if max(width, height) not in sides or min(width, height) < 16:
        raise errors.ConfigError(
            f"size is {size}; expected a longer side of 64, 128, 256, 512 or 1024 pixels, and a "
            "shorter one of at least 16."
        )
    found = {str(side): pyramid.fit(height, width, side) for side in sides}
    return {**found, FINAL: (height, width)}


def rows_together(offered: int) -> int:
    """Returns how many columns of the content the program centres and searches together.

    Args:
        offered: number of columns of the style.
    """
    return _POSITIONS // max(1, offered // _POSITIONS)


def seconds_of_run(found: Mapping[str, Mapping[str, Any]]) -> float:
    """Returns the seconds of a run: the targets and 200 steps of each scale and the last pass.

    Args:
        found: by the name of a scale, `seconds` of a step, of which the `median` counts, and
            `target_seconds`.
    """
    return sum(
        each["target_seconds"] + RUN_STEPS * each["seconds"]["median"] for each in found.values()
    )


def weights() -> tuple[list[tuple[str, np.ndarray, np.ndarray]], np.ndarray]:
    """Returns the bundled weights, without TensorFlow.

    Returns:
        Name, kernel `(height, width, inputs, outputs)` and bias of each convolution; and the mean
        of blue, green and red in 0 to 255.
    """
    with h5py.File(common.ROOT / "nst_tf/backbones/vgg16_imagenet.h5") as file:
        convolutions = [
            (name, *(np.float32(file[f"{name}/{part}"]) for part in ("kernel", "bias")))
            for name in LAYERS
        ]
        return convolutions, np.float32(file.attrs["mean"])


def pictures(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns content and style, `(height, width, 3)`, float32, sRGB in [0, 1]."""
    content, style = (
        images.resize(images.load(common.ROOT / "assets" / name).rgb, height, width)
        for name in ("chelsea.png", "estuary.jpg")
    )
    return content, style


def columns(maps: Sequence[Any], height: int, width: int) -> Any:
    """Returns the hypercolumns of a picture, `(positions, channels of all)`.

    Args:
        maps: activations of each layer, `(1, channels, rows, columns)`.
        height: height of the picture, in pixels.
        width: width of the picture, in pixels.
    """
    import torch

    size = max(1, height // _CELL), max(1, width // _CELL)
    found = [
        torch.nn.functional.interpolate(
            each / each.shape[1], size, mode="bilinear", align_corners=True
        )
        for each in maps
    ]
    return torch.cat(found, dim=1)[0].flatten(1).T


def unit(vectors: Any) -> Any:
    """Returns vectors `(number, channels)` with length 1."""
    import torch

    return torch.nn.functional.normalize(vectors, dim=1)


def matched(sought: Any, offered: Any) -> Any:
    """Returns, for each column, the offered one of the largest cosine once both are centred.

    Args:
        sought: columns of the content, `(number, channels)`.
        offered: columns of the style, `(number, channels)`.
    """
    import torch

    choices = unit(offered - offered.mean(0)).T
    parts = sought.split(rows_together(len(offered)))
    return offered[torch.cat([(unit(part - part.mean(0)) @ choices).argmax(1) for part in parts])]


def samples(maps: Sequence[Any], fault: bool) -> list[Any]:
    """Returns the activations of each layer on a grid with random offsets, `(places, channels)`.

    Args:
        maps: activations of each layer, `(1, channels, rows, columns)`, the lowest first.
        fault: cut a layer of at most 64 positions along each side from the values of the layer
            before it, as the program does.
    """
    import torch

    found: list[Any] = []
    for each in maps:
        longer = max(each.shape[2:])
        stride = max(1, longer // _GRID)
        top, left = torch.randint(stride, (2,)).tolist()
        if not (fault and found and longer <= _GRID):
            values = each[0, :, top::stride, left::stride].flatten()
        found.append(values.view(each.shape[1], -1).T)
    return found


def least_distances(found: Sequence[Any], offered: Sequence[Any]) -> Any:
    """Returns the sum over layers of the mean least cosine distance, both sides centred.

    Args:
        found: activations of each layer of the picture, `(places, channels)`.
        offered: those of the style.
    """
    total = 0.0
    for own, choices in zip(found, offered, strict=True):
        cosines = unit(own - own.mean(0)) @ unit(choices - choices.mean(0)).T
        total = total + (1 - cosines).min(dim=1).values.mean()
    return total


def resized(picture: Any, size: Sequence[int]) -> Any:
    """Returns a picture `(1, 3, height, width)` of another size, by linear interpolation."""
    import torch

    return torch.nn.functional.interpolate(picture, tuple(size), mode="bilinear")


def bands_of(picture: Any) -> list[Any]:
    """Returns the Laplacian pyramid of a picture `(1, 3, height, width)`, the finest band first."""
    bands = []
    for _ in range(_BANDS):
        smaller = resized(picture, [max(1, side // 2) for side in picture.shape[2:]])
        bands.append(picture - resized(smaller, picture.shape[2:]))
        picture = smaller
    return [*bands, picture]


def picture_of(bands: Sequence[Any]) -> Any:
    """Returns the picture of a Laplacian pyramid."""
    *finer, picture = bands
    for band in reversed(finer):
        picture = band + resized(picture, band.shape[2:])
    return picture


def torch_loss(height: int, width: int, final: bool, fault: bool) -> Callable[[Any], Any]:
    """Returns the loss as a function of the picture, `(1, 3, height, width)`."""
    import torch

    convolutions, mean = weights()
    convolutions = [
        (name, torch.tensor(kernel), torch.tensor(bias)) for name, kernel, bias in convolutions
    ]
    network = work.torch_features(convolutions, torch.tensor(mean), LAYERS)

    def features(picture: Any) -> list[Any]:
        return list(network(picture).values())

    content, style = map(_planes, pictures(height, width))
    with torch.no_grad():
        turned = [features(style.rot90(turn, (2, 3))) for turn in range(_TURNS)]
        if not final:
            sizes = [(height, width), (width, height)] * 2
            offered = [columns(maps, *size) for maps, size in zip(turned, sizes, strict=True)]
            target = matched(columns(features(content), height, width), torch.cat(offered))

    def columns_apart(picture: Any) -> Any:
        found = columns(features(picture), height, width)
        return (1 - torch.nn.functional.cosine_similarity(found, target)).mean()

    def layers_apart(picture: Any) -> Any:
        parts = [samples(maps, fault) for maps in turned]
        offered = [torch.cat(part) for part in zip(*parts, strict=True)]
        return least_distances(samples(features(picture), fault), offered)

    return layers_apart if final else columns_apart


def torch_scale(height: int, width: int, final: bool, fault: bool) -> Scale:
    """Returns the work of a scale in PyTorch."""
    import torch

    begin = time.perf_counter()
    loss_at = torch_loss(height, width, final, fault)
    seconds = time.perf_counter() - begin
    bands = [band.requires_grad_(True) for band in bands_of(_planes(pictures(height, width)[0]))]
    optimizer = torch.optim.Adam(bands, lr=_RATE)

    def step() -> None:
        optimizer.zero_grad()
        loss_at(picture_of(bands)).backward()
        optimizer.step()

    def evaluate(picture: np.ndarray) -> tuple[float, np.ndarray]:
        at = _planes(picture).requires_grad_(True)
        loss = loss_at(at)
        loss.backward()
        return loss.item(), at.grad[0].numpy().transpose(1, 2, 0)

    return Scale(seconds, step, evaluate)


def _planes(picture: np.ndarray) -> Any:
    """Returns a picture `(height, width, 3)` as a tensor `(1, 3, height, width)`."""
    import torch

    return torch.tensor(np.ascontiguousarray(picture.transpose(2, 0, 1)[np.newaxis]))


def nst_tf_scale(height: int, width: int, final: bool, fault: bool) -> Scale:
    """Returns the work of a scale by this package."""
    import tensorflow as tf

    import nst_tf
    from nst_tf import objective
    from nst_tf.engine import steps
    from nst_tf.runtime import backend
    from nst_tf.tiling import activations

    backend.prefer_onednn()  # As the commands do.
    config = nst_tf.StyleTransferConfig.preset("nnst", final_fault=fault, precision="float32")
    config = config.final if final else config
    network = objective.build_backbone(config)
    whole = objective.Objective.from_config(config, network)
    content, style = pictures(height, width)
    everywhere = np.ones((1, 1, 1, 1), np.float32)
    views = {
        name: [objective.View(picture, everywhere)]
        for name, picture in (("content", content), ("start", content), ("style", style))
    }
    begin = time.perf_counter()
    targets = whole.join(
        views, [[1.0]], lambda layers, _: activations.TiledActivations(network, layers)
    )
    seconds = time.perf_counter() - begin
    targets = tf.nest.map_structure(tf.constant, targets)

    def evaluate(picture: np.ndarray) -> tuple[float, np.ndarray]:
        found = steps.value_and_gradient(whole, tf.constant(picture[np.newaxis]), targets)
        return float(found.loss), found.gradient[0].numpy()

    given = work.Setting(config, whole, tf.constant(content[np.newaxis]), targets)
    return Scale(seconds, work.step_of(given), evaluate)


CONTENDERS = {"nst_tf": nst_tf_scale, "torch": torch_scale}


def apart(final: bool, height: int = 48, width: int = 64) -> dict[str, float]:
    """Returns how far loss and gradient of PyTorch are from this package's, relatively.

    They are taken halfway from content to style. The figure of the gradient is the largest
    difference, relative to the largest value.
    """
    middle = sum(pictures(height, width)) / np.float32(2)
    (loss, gradient), (other_loss, other) = (
        contender(height, width, final, False).evaluate(middle)
        for contender in (nst_tf_scale, torch_scale)
    )
    return {
        "loss": abs(other_loss - loss) / loss,
        "gradient": float(np.abs(other - gradient).max() / np.abs(gradient).max()),
    }
