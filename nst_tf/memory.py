"""How much memory a stylisation takes, how much there is, and the tiles that follow from it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import psutil

from nst_tf import backbones, errors, layers, pyramid
from nst_tf import config as configs
from nst_tf import tiles as tile_plans

_PROGRAM_BYTES = 700_000_000  # TensorFlow, the package and the weights.
_SAFE_SHARE = 0.8  # Of what is free, where no limit is given.
_SIDES = (4096, 3072, 2048, 1536, 1024, 768, 512, 384, 256, 128)
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def cut(backbone: backbones.Backbone, height: int, width: int, side: int) -> list[tile_plans.Tile]:
    """Returns the tiles of a picture that suit the exposed layers of a network."""
    reaches = [backbone.reach(name) for name in backbone.output]
    stride, halo = (max(each) for each in zip(*reaches, strict=True))
    return tile_plans.cut(height, width, side, halo, stride)


def expected(
    config: configs.StyleTransferConfig,
    backbone: backbones.Backbone,
    level: pyramid.Level,
    side: int,
) -> int:
    """Returns about how many bytes a level takes, the program included.

    Args:
        config: the settings.
        backbone: the network.
        level: of the pyramid.
        side: of the tiles, or 0 where the level is looked at as a whole.
    """
    pixels = level.height * level.width
    history = 2 * config.lbfgs_history if "lbfgs" in config.optimizer else 0
    kept = (10 + 3 * history) * 12 * pixels
    shown = level.height, level.width
    if side:
        tiles = cut(backbone, *shown, side)
        shown = max(tile.rows.length for tile in tiles), max(tile.columns.length for tile in tiles)
        kept += _content_bytes(config, backbone, level)
    return round(_PROGRAM_BYTES + 2.2 * backbone.activation_bytes(*shown) + kept)


def _content_bytes(
    config: configs.StyleTransferConfig, backbone: backbones.Backbone, level: pyramid.Level
) -> int:
    """Returns the bytes of the photo's activations, which are kept for every tile."""
    total = 0
    for name in config.content_layers if config.content_weight else ():
        layer = layers.canonical(name, backbone.architecture.name)
        stride, _ = backbone.reach(layer)
        positions = (level.height // stride) * (level.width // stride)
        total += 4 * positions * backbone.output[layer].shape[-1]
    return total


def tile_sides(
    config: configs.StyleTransferConfig,
    backbone: backbones.Backbone,
    levels: Sequence[pyramid.Level],
    on_gpu: bool,
) -> list[int]:
    """Returns the side of the tiles of each level, 0 for a level that is looked at as a whole.

    Args:
        config: the settings.
        backbone: the network.
        levels: of the pyramid.
        on_gpu: whether the steps run on a GPU, whose free memory is not known beforehand.

    Raises:
        ConfigError: no tile is small enough for `memory_limit`.
    """
    if config.tile_size != "auto":
        side = int(config.tile_size)
        return [side if side < max(level.height, level.width) else 0 for level in levels]
    limit = configs.read_bytes(config.memory_limit) or (0 if on_gpu else _available())
    return [_largest(config, backbone, level, limit) if limit else 0 for level in levels]


def _largest(
    config: configs.StyleTransferConfig,
    backbone: backbones.Backbone,
    level: pyramid.Level,
    limit: int,
) -> int:
    """Returns the side of the largest tiles within a limit, or 0 where none are needed."""
    if expected(config, backbone, level, 0) <= limit:
        return 0
    sides = [side for side in _SIDES if side < max(level.height, level.width)]
    for side in sides:
        if expected(config, backbone, level, side) <= limit:
            return side
    if config.memory_limit == "auto":
        return sides[-1] if sides else 0
    least = min(expected(config, backbone, level, side) for side in (*sides[-1:], 0))
    raise errors.ConfigError(
        f"memory_limit={config.memory_limit} is too little for {level.width}x{level.height} "
        f"pixels: they take about {least / 1e9:.1f} GB even in tiles. Raise it, lower image_size, "
        "or take an optimiser that keeps less, such as adam."
    )


def _available() -> int:
    """Returns a safe share of the memory that this process may take, in bytes."""
    used = psutil.Process().memory_info().rss
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # Where there is no such limit.
        free = min(free, int(_CONTAINER_LIMIT.read_text()) - used)
    return round(_SAFE_SHARE * (used + free))
