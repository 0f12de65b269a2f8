"""How much memory a stylisation takes, how much there is, and the tiles that follow from it."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import psutil
import tensorflow as tf

from nst_tf import backbones, errors, layers, optimizers, pyramid, shelf
from nst_tf import config as configs
from nst_tf import tiles as tile_plans

Costs = Sequence[backbones.LayerCost]
"""What the layers of a network take, as `Backbone.costs` returns it."""

_PROGRAM_BYTES = 1_000_000_000  # TensorFlow, the package, the weights, the graphs of ten levels.
_ONEDNN_BYTES = 250_000_000  # Of oneDNN beside: compiled kernels, scratch space, gaps in the pool.
_NUMBA_BYTES = 175_000_000  # Of Numba, and of the arrays that minimal filtering uses again.
_THREAD_BYTES = 7_000_000  # Of these arrays, for each thread.
_SPECTRUM = 16  # Bytes of a transformed kernel, for every value of the kernel.
_SAFE_SHARE = 0.8  # Of what is free, where no limit is given.
_SIDES = (4096, 3072, 2048, 1536, 1280, 1024, 896, 768, 640, 512, 448, 384, 320, 256, 192, 128)
_MOST_CUTS = 2  # A third would save nothing at 4096 pixels.
_LINKED = 800  # Multiplications in the time in which a byte at a cut is put aside and got back.
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
_MMAP_THRESHOLD, _HANDED_BACK = -3, 4 << 20  # The option of mallopt(3), and its bytes.
_ON_THE_WAY_BACK = 2  # Times the largest layer: its gradient, and what that is computed with.
_REORDERED = 2.6  # Times the largest layer: copies in the layout that oneDNN's kernels want.
_LAYER = 3.5  # Times the largest layer: its input, its output, and what is computed with.
_LAYER_POOLED = 6.5  # The same, and the gaps in the pool that TensorFlow with oneDNN has.
_KEPT = 0.7  # Times the activations: a byte for each switch, and the layers that are looked at.
_PADDED = 1.5  # Times the activations, which are kept with what is around them and without.
_STYLE_LOSSES = {"swd": 6, "histogram": 6, "remd": 5}  # Times the largest layer, of their own.
_PICTURES = 30  # Bytes a pixel: picture, gradient, two pictures in 8 bits.
_COARSER = 4  # Bytes a pixel of the gradient on coarser pictures, where it is smoothed.
_HOSTED = 40  # Bytes a pixel of these that are arrays of NumPy and parts of files, at most.
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


def _sections(costs: Costs, cuts: Sequence[str]) -> list[_Section]:
    names = [cost.name for cost in costs]
    found: list[_Section] = []
    begin = below = 0
    for end in [*(names.index(cut) + 1 for cut in cuts), len(names)]:
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
    for section, side in zip(_sections(costs, plan.cuts), plan.sides, strict=True):
        rows, columns = (
            max(span.length for span in section.spans(length, side))
            for length in (level.height, level.width)
        )
        padded = 1.0 if config.padding == "zeros" else _PADDED
        compared = _COMPARED * _content_bytes(config, section)
        if plan.tiled:
            shown = _in_layers(section, padded, compared, plan)
        else:
            shown = _at_once(section, padded) + compared
        shown += max(_STYLE_LOSSES.get(name, 0) for name in config.style_losses) * section.widest
        most = max(most, shown * rows * columns)
    program = _PROGRAM_BYTES + (_ONEDNN_BYTES if backbones.reorders() else 0)
    program += filtering_bytes(config, costs)
    pixels = level.height * level.width
    return round(program + most + _state_bytes(config, level, plan) * pixels)


def filtering_bytes(config: configs.StyleTransferConfig, costs: Costs) -> int:
    """Returns the bytes that minimal filtering takes beside TensorFlow, if it is done."""
    if config.jit_compile or not backbones.filters_minimally(config.precision):
        return 0
    kernels = sum(cost.products * cost.stride**2 for cost in costs)
    arrays = _THREAD_BYTES * backbones.filtering_threads()
    return _NUMBA_BYTES + arrays + round(_SPECTRUM * kernels)


def _at_once(section: _Section, padded: float) -> float:
    """Returns the bytes a pixel of what is shown, where all activations are kept in memory."""
    shown = padded * section.bytes
    if backbones.reorders():
        shown = max(shown, padded * section.held + _REORDERED * section.widest)
    return shown + _ON_THE_WAY_BACK * section.widest


def _in_layers(section: _Section, padded: float, compared: float, plan: tile_plans.Plan) -> float:
    """Returns the bytes a pixel of what is shown, gone through layer by layer.

    A layer is compared when no other one is computed with.
    """
    most = padded * (_LAYER_POOLED if backbones.reorders() else _LAYER) * section.widest
    shown = max(most, compared + _ON_THE_WAY_BACK * section.widest)
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
    kept = sum(3 * value.dtype.size for value in state.values() if value.shape.rank == 4)
    return kept + (_COARSER if optimizer.smoothing(state) else 0)


def _content_bytes(config: configs.StyleTransferConfig, section: _Section) -> float:
    """Returns the bytes a pixel of the photo's activations, those of one tile at a time."""
    kept = config.content_layers if config.balanced.content_weight else ()
    wanted = {layers.canonical(name, "vgg19") for name in kept}  # Which has the names of all.
    return sum(cost.bytes for cost in section.costs if cost.name in wanted)


def _work(costs: Costs, level: pyramid.Level, plan: tile_plans.Plan) -> float:
    """Returns the multiplications of one step, or what takes as long, to tell plans apart by."""
    linked = sum(cost.bytes for cost in costs if cost.name in plan.cuts)
    total = _LINKED * linked * level.height * level.width
    sections = _sections(costs, plan.cuts)
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
        costs: of the layers of the network.
        levels: of the pyramid.
        on_gpu: whether the steps run on a GPU, whose free memory is not known beforehand.

    Raises:
        ConfigError: no tile is small enough for `memory_limit`.
    """
    if config.tile_size == "0":
        return [tile_plans.WHOLE for _ in levels]
    limit = configs.read_bytes(config.memory_limit) or (0 if on_gpu else available())
    pixels = [level.height * level.width for level in levels]
    keeps = not on_gpu and shelf.room() > _FILED * max(pixels)
    # What a level has TensorFlow's pool take stays taken, beside the arrays of the largest.
    limits = [limit and limit - _HOSTED * (max(pixels) - each) for each in pixels]
    # The finest first: if anything is too large, it is.
    found = [
        _best(config, costs, level, most, keeps)
        for level, most in zip(levels[::-1], limits[::-1], strict=True)
    ]
    return found[::-1]


def _best(
    config: configs.StyleTransferConfig,
    costs: Costs,
    level: pyramid.Level,
    limit: int,
    keeps: bool,
) -> tile_plans.Plan:
    """Returns the plan of least work within a limit, 0 being none."""

    def needed(plan: tile_plans.Plan) -> int:
        return expected(config, costs, level, plan)

    def fits(plan: tile_plans.Plan) -> bool:
        return not limit or needed(plan) <= limit

    def work(plan: tile_plans.Plan) -> float:
        return _work(costs, level, plan)

    candidates = [
        _widened(cuts, sides, keeps, fits, work)
        for cuts, sides in _candidates(config, costs, level)
    ]
    within = list(filter(fits, candidates))
    if within:
        return min(within, key=work)
    least = min(candidates, key=needed)
    if config.memory_limit == "auto":
        return least
    how = " even in tiles"
    if config.whole:
        how = f", and {config.whole} keeps them from being cut into tiles"
    raise errors.ConfigError(
        f"memory_limit={config.memory_limit} is too little for {level.width}x{level.height} "
        f"pixels: they take about {needed(least) / 1e9:.1f} GB{how}. Raise it, lower image_size, "
        "or take an optimiser that keeps less: a smaller lbfgs_history, or adam."
    )


def _candidates(
    config: configs.StyleTransferConfig, costs: Costs, level: pyramid.Level
) -> Iterable[tuple[tuple[str, ...], list[list[int]]]]:
    """Returns cuts, the fewest first, with the sides that each section may have, largest first."""
    longest = max(level.height, level.width)
    sides = [0, *(side for side in _SIDES if side < longest)]
    first = sides
    if config.tile_size != "auto":
        side = int(config.tile_size)
        first = [side if side < longest else 0]
    if config.whole or first == [0]:
        yield (), [[0]]
        return
    pools = [cost.name for cost in costs[:-1] if cost.products == 0]
    for count in range(_MOST_CUTS + 1):
        for cuts in itertools.combinations(pools, count):
            yield cuts, [first, *[sides] * count]


def _widened(
    cuts: tuple[str, ...],
    sides: Sequence[Sequence[int]],
    keeps: bool,
    fits: Callable[[tile_plans.Plan], bool],
    work: Callable[[tile_plans.Plan], float],
) -> tile_plans.Plan:
    """Returns the plan of least work with these cuts that fits, or the smallest tiles.

    Sections are gone through one after the other, so what one takes says nothing of the others.
    """
    plan = tile_plans.Plan(cuts, tuple(each[-1] for each in sides), keeps)
    for index, choices in enumerate(sides):
        before, after = plan.sides[:index], plan.sides[index + 1 :]
        wider = [plan._replace(sides=(*before, side, *after)) for side in choices]
        plan = min(filter(fits, wider), key=work, default=plan)
    return plan


def available() -> int:
    """Returns a safe share of the memory that this process may take, in bytes."""
    used = psutil.Process().memory_info().rss
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # Where there is no such limit.
        free = min(free, int(_CONTAINER_LIMIT.read_text()) - used)
    return round(_SAFE_SHARE * (used + free))


@functools.cache
def reserve(needed: int) -> None:
    """Has TensorFlow's pool of freed tensors, if it has one, begin with a single large region.

    With oneDNN on a CPU it pools them. The pool grows by regions, each of which has its own gaps,
    so that a few tensors of one large tile can take twice their memory. What is reserved here takes
    memory only where it is written to, and 3% for TensorFlow's accounts. It holds for the process.

    Args:
        needed: bytes that a run is expected to take, the program included, minimal filtering not.
    """
    room = max(0, min(needed, available()) - _PROGRAM_BYTES)
    with contextlib.suppress(tf.errors.ResourceExhaustedError), tf.device("CPU:0"):
        tf.raw_ops.Empty(shape=[room >> 10, 1 << 10], dtype=tf.uint8, init=False)


def hand_back_freed() -> None:
    """Has the C library hand freed tensors back to the system at once, where it can.

    GNU's keeps what is freed for a while, in pieces that larger tensors do not fit into, so that
    a long run takes more and more. Asking the system for every tensor of 4 MiB and more costs a
    few percent of time at 512 pixels and nothing at 1024. It holds for the whole process.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # Another C library.
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _HANDED_BACK)
