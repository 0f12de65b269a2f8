"""How much memory a stylisation takes, how much there is, and the tiles that follow from it."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil
import tensorflow as tf

from nst_tf import backbones, backend, errors, layers, optimizers, pyramid, shelf
from nst_tf import config as configs
from nst_tf import tiles as tile_plans

Costs = Sequence[backbones.LayerCost]
"""What the layers of a network take, as `Backbone.costs` returns it."""

_PROGRAM_BYTES = 1_000_000_000  # TensorFlow, the package, the weights, the graphs of ten levels.
_ONEDNN_BYTES = 150_000_000  # Of oneDNN beside: kernels that it has compiled, and scratch space.
_SAFE_SHARE = 0.8  # Of what is free, where no limit is given.
_SIDES = (4096, 3072, 2048, 1536, 1024, 768, 512, 384, 256, 128)
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
_MMAP_THRESHOLD, _HANDED_BACK = -3, 4 << 20  # The option of mallopt(3), and its bytes.
_ON_THE_WAY_BACK = 2  # Times the largest layer: its gradient, and what that is computed with.
_REORDERED = 2.6  # Times the largest layer: copies in the layout that oneDNN's kernels want.
_LAYER = 3.5  # Times the largest layer: its input, its output, and what is computed with.
_LAYER_POOLED = 6.5  # The same, and what TensorFlow's pool holds beside.
_KEPT = 0.7  # Times the activations: a byte for each switch, and the layers that are looked at.
_PADDED = 1.5  # Times the activations, which are kept with what is around them and without.
_STYLE_LOSSES = {"swd": 6, "histogram": 6, "remd": 5}  # Times the largest layer, of their own.
_PICTURES = 42  # Bytes a pixel: picture, gradient, the photo at its size, two pictures in 8 bits.
_STEP = 96  # The same, and what a step on the whole picture computes with beside the network.
_FILED = 600  # Bytes a pixel of the largest picture, in files.
_COMPARED = 4  # Times the photo's activations: read, as a tensor, the difference, its gradient.


@dataclasses.dataclass(frozen=True)
class _Section:
    """A section of the network, in pixels of the picture.

    Attributes:
        costs: of its layers.
        stride: of its deepest layer.
        halo: around a tile, that its activations depend on.
        bytes: of its activations, a pixel.
        widest: bytes of the largest of them, a pixel.
        held: bytes of all down to the largest, which are there while that is gone back through.
        products: multiplications of a forward pass, a pixel.
    """

    costs: Costs
    stride: int
    halo: int
    bytes: float
    widest: float
    held: float
    products: float

    def spans(self, length: int, side: int) -> list[tile_plans.Span]:
        """Returns the spans of one side of a picture."""
        return tile_plans.spans(length, side, self.halo, self.stride)


def _sections(costs: Costs, cut: str) -> list[_Section]:
    names = [cost.name for cost in costs]
    ends = [names.index(cut) + 1, len(names)] if cut else [len(names)]
    found: list[_Section] = []
    begin = below = 0
    for end in ends:
        part = costs[begin:end]  # Empty where only the picture itself is looked at.
        widest = max((cost.bytes for cost in part), default=0.0)
        last = max((i for i, cost in enumerate(part) if cost.bytes == widest), default=0)
        found.append(
            _Section(
                part,
                max((cost.stride for cost in part), default=1),
                max((cost.halo for cost in part), default=1) - below,
                sum(cost.bytes for cost in part),
                widest,
                sum(cost.bytes for cost in part[: last + 1]),
                sum(cost.products for cost in part),
            )
        )
        begin, below = end, found[-1].halo + below
    return found


def expected(
    config: configs.StyleTransferConfig,
    costs: Costs,
    level: pyramid.Level,
    plan: tile_plans.Plan,
) -> int:
    """Returns about how many bytes a level takes, the program included.

    Args:
        config: the settings.
        costs: of the layers of the network.
        level: of the pyramid.
        plan: how the level is looked at.
    """
    most = 0.0
    for section, side in zip(_sections(costs, plan.cut), plan.sides, strict=True):
        rows, columns = (
            max(span.length for span in section.spans(length, side))
            for length in (level.height, level.width)
        )
        padded = 1.0 if config.padding == "zeros" else _PADDED
        shown = _in_layers(section, padded, plan) if plan.tiled else _at_once(section, padded)
        shown += _COMPARED * _content_bytes(config, section)
        shown += max(_STYLE_LOSSES.get(name, 0) for name in config.style_losses) * section.widest
        most = max(most, shown * rows * columns)
    program = _PROGRAM_BYTES + (_ONEDNN_BYTES if backbones.reorders() else 0)
    pixels = level.height * level.width
    return round(program + most + _state_bytes(config, level, plan) * pixels)


def _at_once(section: _Section, padded: float) -> float:
    """Returns the bytes a pixel of what is shown, where all activations are kept in memory."""
    shown = padded * section.bytes
    if backbones.reorders():
        shown = max(shown, padded * section.held + _REORDERED * section.widest)
    return shown + _ON_THE_WAY_BACK * section.widest


def _in_layers(section: _Section, padded: float, plan: tile_plans.Plan) -> float:
    """Returns the bytes a pixel of what is shown, gone through layer by layer."""
    pooled = backbones.reorders() and backend.keeps_pool()
    shown = padded * (_LAYER_POOLED if pooled else _LAYER) * section.widest
    return shown if plan.keeps else shown + _KEPT * section.bytes


def _state_bytes(
    config: configs.StyleTransferConfig, level: pyramid.Level, plan: tile_plans.Plan
) -> int:
    """Returns the bytes a pixel of the pictures and of what the optimiser keeps."""
    return _optimizer_bytes(config, level.steps) + (_PICTURES if plan.tiled else _STEP)


@functools.cache
def _optimizer_bytes(config: configs.StyleTransferConfig, steps: int) -> int:
    """Returns the bytes a pixel of what an optimiser keeps for a level."""
    optimizer = optimizers.Guarded.from_config(config)
    state = optimizer.initial_state(tf.zeros((1, 1, 1, 3)), steps)
    return sum(3 * value.dtype.size for value in state.values() if value.shape.rank == 4)


def _content_bytes(config: configs.StyleTransferConfig, section: _Section) -> float:
    """Returns the bytes a pixel of the photo's activations, those of one tile at a time."""
    kept = config.content_layers if config.balanced.content_weight else ()
    wanted = {layers.canonical(name, "vgg19") for name in kept}  # Which has the names of all.
    return sum(cost.bytes for cost in section.costs if cost.name in wanted)


def _work(costs: Costs, level: pyramid.Level, plan: tile_plans.Plan) -> float:
    """Returns the multiplications of one step, which tell how long it takes."""
    total = 0.0
    sections = _sections(costs, plan.cut)
    for section, side in zip(sections, plan.sides, strict=True):
        rows, columns = (section.spans(length, side) for length in (level.height, level.width))
        at_once = section is sections[-1] and len(rows) * len(columns) == 1
        passes = 2 if plan.keeps or at_once else 3
        shown = sum(span.length for span in rows) * sum(span.length for span in columns)
        total += passes * section.products * shown
    return total


def plans(
    config: configs.StyleTransferConfig,
    costs: Costs,
    levels: Sequence[pyramid.Level],
    on_gpu: bool,
) -> list[tile_plans.Plan]:
    """Returns how each level is looked at: the least work that fits into memory.

    Args:
        config: the settings.
        backbone: the network.
        levels: of the pyramid.
        on_gpu: whether the steps run on a GPU, whose free memory is not known beforehand.

    Raises:
        ConfigError: no tile is small enough for `memory_limit`.
    """
    if config.tile_size == "0":
        return [tile_plans.WHOLE for _ in levels]
    limit = configs.read_bytes(config.memory_limit) or (0 if on_gpu else available())
    keeps = not on_gpu and shelf.room() > _FILED * max(each.height * each.width for each in levels)
    # The finest first: if anything is too large, it is.
    return [_best(config, costs, level, limit, keeps) for level in reversed(levels)][::-1]


def _best(
    config: configs.StyleTransferConfig,
    costs: Costs,
    level: pyramid.Level,
    limit: int,
    keeps: bool,
) -> tile_plans.Plan:
    """Returns the plan of least work within a limit, 0 being none."""
    candidates = [plan._replace(keeps=keeps) for plan in _candidates(config, costs, level)]
    within = [
        plan for plan in candidates if not limit or expected(config, costs, level, plan) <= limit
    ]
    if within:
        return min(within, key=lambda plan: _work(costs, level, plan))
    least = min(candidates, key=lambda plan: expected(config, costs, level, plan))
    if config.memory_limit == "auto":
        return least
    needed = expected(config, costs, level, least)
    how = " even in tiles"
    if config.whole:
        how = f", and {config.whole} keeps them from being cut into tiles"
    raise errors.ConfigError(
        f"memory_limit={config.memory_limit} is too little for {level.width}x{level.height} "
        f"pixels: they take about {needed / 1e9:.1f} GB{how}. Raise it, lower image_size, "
        "or take an optimiser that keeps less: a smaller lbfgs_history, or adam."
    )


def _candidates(
    config: configs.StyleTransferConfig, costs: Costs, level: pyramid.Level
) -> Iterable[tile_plans.Plan]:
    """Returns the ways in which a level can be looked at."""
    if config.whole:
        yield tile_plans.WHOLE
        return
    longest = max(level.height, level.width)
    smaller = [side for side in _SIDES if side < longest]
    first = [0, *smaller]
    if config.tile_size != "auto":
        side = int(config.tile_size)
        first = [side if side < longest else 0]
    names = [cost.name for cost in costs[:-1] if cost.products == 0]
    yield from (tile_plans.Plan("", (side,)) for side in first)
    if config.tile_size == "auto" or first[0]:
        for cut, *sides in itertools.product(names, first, [0, *smaller]):
            yield tile_plans.Plan(cut, tuple(sides))


def available() -> int:
    """Returns a safe share of the memory that this process may take, in bytes."""
    used = psutil.Process().memory_info().rss
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # Where there is no such limit.
        free = min(free, int(_CONTAINER_LIMIT.read_text()) - used)
    return round(_SAFE_SHARE * (used + free))


def hand_back_freed() -> None:
    """Has the C library hand freed tensors back to the system at once, where it can.

    GNU's keeps what is freed for a while, in pieces that larger tensors do not fit into, so that
    a long run takes more and more. Asking the system for every tensor of 4 MiB and more costs a
    few percent of time at 512 pixels and nothing at 1024. It holds for the whole process.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # Another C library.
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _HANDED_BACK)
