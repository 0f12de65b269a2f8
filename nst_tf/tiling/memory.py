"""Memory estimate of a stylisation, memory that is available, and the tile plans that fit."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import psutil
import tensorflow as tf

from nst_tf import backbones, errors, optimizers
from nst_tf import config as configs
from nst_tf import objective as objectives
from nst_tf.config import vgg_layers
from nst_tf.imaging import inputs, pyramid, sources
from nst_tf.kernels import convolution
from nst_tf.losses import neighbours
from nst_tf.runtime import limits
from nst_tf.tiling import activations, spill
from nst_tf.tiling.tiles import Span, TilePlan, spans

Costs = Sequence[backbones.LayerCost]
"""Memory and work of the layers of a network, as `Backbone.costs` returns them."""


class Coefficients(NamedTuple):
    """Coefficients of the memory estimate, as `benchmarks/memory.py` measures them.

    Attributes:
        program: bytes of TensorFlow, the package, the weights, graphs and compiled kernels.
        whole: bytes per byte of activations, for a picture without tiles.
        tile: bytes per byte of the largest layer of a tile, or of a style picture.
        statistics: additional bytes per byte of the largest layer, for style losses other than
            `gram`.
        padding: factor of the activations' bytes, for padding other than zeros.
        picture: bytes per pixel of a level, without the optimiser's state.
        decoded: bytes per pixel of a picture while it is resized.
        recolored: bytes per pixel of content and style while their colours are changed.
        patch: bytes per byte of activations of a patch, while places are matched.
        columns: bytes per byte of the columns of the style, while places are matched.
        matched: additional bytes per byte of the matched layers, for a picture without tiles.
        safety: common factor with which no case of the benchmark exceeds its estimate.
    """

    program: float
    whole: float
    tile: float
    statistics: float
    padding: float
    picture: float
    decoded: float
    recolored: float
    patch: float
    columns: float
    matched: float
    safety: float = 1.0


MEASURED = Coefficients(
    program=1.1e9,
    whole=1.5,
    tile=5.5,
    statistics=3.5,
    padding=1.5,
    picture=32.0,
    decoded=6.0,
    recolored=54.0,
    patch=2.0,
    columns=1.5,
    matched=0.8,
    safety=1.07,
)
"""Coefficients of two cores of an Intel Xeon with AVX-512 and oneDNN, by
`python benchmarks/memory.py --fit`; benchmarks/results/memory.md has the cases."""

_SPECTRUM = 16  # Bytes of a transformed kernel per value of the kernel.
_FLOATS = 12  # Bytes per pixel of a picture in float32.
_NUMBER = 4  # Bytes of the number of a matched place.
_VIEW = 16  # Bytes per pixel of a picture in float32 and its weights.
_VIEWS = 40  # The same of what is matched: content, the picture as it is, and the mixture of both.
_PROBE = 64  # Side of the picture whose optimiser's state is counted.
_UPDATE = 80  # Bytes per pixel of the gradient and the moves of a picture moved at once.
_FILED = 600  # Bytes in spill files per pixel of the largest picture.
_SAFE_SHARE = 0.8  # Share of the available memory to use without a limit.
_SIDES = (4096, 3072, 2048, 1536, 1280, 1024, 896, 768, 640, 512, 448, 384, 320, 256, 192, 128)
_MOST_CUTS = 2  # A third would save nothing at 4096 pixels.
_LINKED = 800  # Multiplications that take as long as writing and reading one byte at a cut.
_MUCH = 0.25  # Share of the memory from which on an error mentions the given pictures.
_MMAP_THRESHOLD, _HANDED_BACK = -3, 4 << 20  # M_MMAP_THRESHOLD of mallopt(3), in bytes.


class Given(NamedTuple):
    """Sizes of the pictures of a run, which stay in memory.

    Attributes:
        content: height and width of the content.
        styles: height and width of each style picture.
        bytes: bytes of all pictures in memory, masks and regions included.
    """

    content: tuple[int, int] = (0, 0)
    styles: Sequence[tuple[int, int]] = ()
    bytes: int = 0

    @classmethod
    def of(cls, pictures: sources.Pictures) -> Given:
        """Returns the sizes of pictures."""
        masks = [inputs.regions_of(mask, "style mask") for mask in pictures.style_masks]
        if pictures.content_mask:
            masks.append(inputs.regions_of(pictures.content_mask, "content mask"))
        arrays = [
            array for each in pictures.roles().values() for array in (each.pixels, each.alpha)
        ]
        kept = sum(array.nbytes for array in arrays if array is not None)
        kept += sum(2 * regions.maps.nbytes for regions in masks)  # As read, and in one order.
        sizes_ = [style.size for style in pictures.styles]
        return cls(pictures.content.size, sizes_, kept)


_NOTHING = Given()


@dataclasses.dataclass(frozen=True)
class _Segment:
    """Memory and work of a segment of the network; all lengths are in pixels of the picture.

    Attributes:
        costs: costs of its layers.
        stride: stride of its deepest layer.
        halo: halo of a tile.
        bytes: bytes of its activations per pixel.
        widest: bytes of its largest layer per pixel.
        products: multiplications of a forward pass per pixel.
        walked: whether its layers are a chain of `backbones.Layer`s.
    """

    costs: Costs
    stride: int
    halo: int
    bytes: float
    widest: float
    products: float
    walked: bool

    def spans(self, length: int, side: int) -> list[Span]:
        """Returns the spans of one side of a picture."""
        return spans(length, side, self.halo, self.stride)

    def shown_of(self, size: tuple[int, int], side: int) -> int:
        """Returns the pixels of a tile of a picture, halo included; all show as many."""
        return math.prod(self.spans(each, side)[0].length for each in size)


def _segments(costs: Costs, cuts: Sequence[str]) -> list[_Segment]:
    names = [cost.name for cost in costs]
    if not set(cuts) <= set(names):
        raise errors.ConfigError(
            f"the network is to be cut at {', '.join(cuts)}; it has {', '.join(names)}."
        )
    ends = [0, *(names.index(cut) + 1 for cut in cuts), len(names)]
    return [_segment(tuple(costs), *each) for each in itertools.pairwise(ends)]


@functools.lru_cache(64)
def _segment(costs: tuple[backbones.LayerCost, ...], begin: int, end: int) -> _Segment:
    part = costs[begin:end]  # Empty if all losses are at the picture itself.
    below = max((cost.halo for cost in costs[:begin]), default=0)
    widest = max((cost.bytes for cost in part), default=0.0)
    return _Segment(
        part,
        max((cost.stride for cost in part), default=1),
        max((cost.halo for cost in part), default=1) - below,
        sum(cost.bytes for cost in part),
        widest,
        sum(cost.products for cost in part),
        all(cost.walked for cost in part),
    )


def expected(
    config: configs.StyleTransferConfig,
    costs: Costs,
    level: pyramid.Level,
    plan: TilePlan,
    given: Given = _NOTHING,
    later: float = 0,
) -> int:
    """Returns an estimate of the bytes that a level takes, the program included.

    Args:
        config: the settings.
        costs: costs of the layers of the network.
        level: the level of the pyramid.
        plan: tile plan of the level.
        given: sizes of the pictures.
        later: additional bytes of a larger level. TensorFlow's pool does not give back what this
            level takes, so both have to fit.
    """
    segments = zip(_segments(costs, plan.cuts), plan.sides, strict=True)
    steps = max(
        _step_bytes(config, segment, side, level, plan.tiled, plan.keeps)
        for segment, side in segments
    )
    steps += _table_bytes(config, costs, level)
    before = _bytes_before(config, costs, level, plan, given, later)
    return round(_bytes_beside(config, costs, given) + max(steps + later, before))


def most_expected(
    config: configs.StyleTransferConfig,
    costs: Costs,
    levels: Sequence[pyramid.Level],
    plans: Sequence[TilePlan],
    pictures: sources.Pictures,
) -> int:
    """Returns an estimate of the bytes that a run takes: those of its largest level."""
    given, planned = Given.of(pictures), zip(levels, plans, strict=True)
    return max(expected(config, costs, *each, given) for each in planned)


def _bytes_beside(config: configs.StyleTransferConfig, costs: Costs, given: Given) -> float:
    """Returns the bytes of the program and of the pictures, as given and recoloured."""
    program = MEASURED.safety * MEASURED.program + filtering_bytes(config, costs)
    return program + given.bytes + _FLOATS * _recolored(config, given)


def _recolored(config: configs.StyleTransferConfig, given: Given) -> int:
    """Returns the pixels of the pictures whose colours are changed."""
    return sum(map(math.prod, [given.content, *given.styles])) if config.color != "style" else 0


def _step_bytes(
    config: configs.StyleTransferConfig,
    segment: _Segment,
    side: int,
    level: pyramid.Level,
    tiled: bool,
    keeps: bool,
) -> float:
    """Returns the bytes of a step while it computes a segment of the network."""
    shown = _layer_bytes(config, segment)
    kept = _bytes_of(config.content_layers if config.with_strength.content_weight else (), segment)
    if not (tiled and segment.walked):
        whole = MEASURED.whole * _padding(config) * segment.bytes
        matched = config.matched_layers if config.matched else ()
        whole += MEASURED.matched * _bytes_of(matched, segment)
        shown = kept + max(shown, whole + _statistics(config) * segment.widest)
    elif segment.walked and not keeps:  # One byte per switch, and the layers of the terms.
        names = {*config.content_layers, *config.style_layers}
        shown += segment.bytes / 4 + _bytes_of(names, segment)
    size = level.height, level.width
    most = max(shown * segment.shown_of(size, side), _update_bytes(config, level))
    return MEASURED.safety * most + _state_bytes(config, level)


def _table_bytes(config: configs.StyleTransferConfig, costs: Costs, level: pyramid.Level) -> float:
    """Returns the bytes of the targets of matched places, at most one for each cell."""
    if not config.matched:
        return 0.0
    (segment,) = _segments(costs, ())
    cells = _cells((level.height, level.width))
    matched = _costs_of(config.matched_layers, segment)
    place = sum(  # A layer coarser than the cells has one position for each.
        cost.bytes * max(neighbours.CELL, cost.stride) ** 2 for cost in matched
    )
    numbers = sum(_NUMBER / cost.stride**2 for cost in matched) * level.height * level.width
    return MEASURED.safety * (min(cells, config.match_places) * place + numbers)


def _cells(size: tuple[int, int]) -> int:
    """Returns the number of cells of a picture of some height and width."""
    return math.prod(-(-side // neighbours.CELL) for side in size)


def _matching_bytes(
    config: configs.StyleTransferConfig, costs: Costs, level: pyramid.Level, given: Given
) -> float:
    """Returns the bytes of matching the places of a level."""
    if not config.matched:
        return 0.0
    (segment,) = _segments(costs, ())
    patch = segment.shown_of((level.height, level.width), activations.SIDE)
    matched = _costs_of(config.matched_layers, segment)
    column = sum(cost.bytes * cost.stride**2 for cost in matched)
    sizes = [pyramid.style_size(config, style, level) for style in given.styles]
    turns = len(neighbours.TURNS[config.match_orientations])
    offered = turns * sum(map(_cells, sizes)) or config.match_places
    cells = _cells((level.height, level.width))
    sought = cells if cells <= neighbours.FEW else 0  # Others are computed patch by patch.
    columns = (MEASURED.columns * min(offered, config.match_places) + sought) * column
    seen = _VIEWS * level.height * level.width + _VIEW * sum(map(math.prod, sizes))
    searched = MEASURED.patch * segment.bytes * patch + columns + seen
    return MEASURED.safety * searched + _table_bytes(config, costs, level)


def _layer_bytes(config: configs.StyleTransferConfig, segment: _Segment) -> float:
    """Returns the bytes per pixel of a tile while it computes the largest layer."""
    return (MEASURED.tile * _padding(config) + _statistics(config)) * segment.widest


def _statistics(config: configs.StyleTransferConfig) -> float:
    return 0.0 if all(loss == "gram" for loss in config.style_losses) else MEASURED.statistics


def _padding(config: configs.StyleTransferConfig) -> float:
    return 1.0 if config.padding == "zeros" else MEASURED.padding


def _bytes_before(
    config: configs.StyleTransferConfig,
    costs: Costs,
    level: pyramid.Level,
    plan: TilePlan,
    given: Given,
    later: float,
) -> float:
    """Returns the bytes of the work before the first step, one picture after the other."""
    (segment,), size = _segments(costs, ()), (level.height, level.width)
    most = MEASURED.safety * MEASURED.recolored * _recolored(config, given)
    most = max(most, _resizing_bytes(given.content, size))
    for style in given.styles:
        shown = pyramid.style_size(config, style, level)
        tile = segment.shown_of(shown, plan.style_side)
        measured = MEASURED.safety * _layer_bytes(config, segment) * tile
        most = max(most, measured + max(_resizing_bytes(style, shown), later))
    most = max(most, _matching_bytes(config, costs, level, given) + later)
    return _carried(config) * _state_bytes(config, level) + most


def _carried(config: configs.StyleTransferConfig) -> float:
    """Returns the pixels of the picture carried to a level per pixel of that level."""
    again = config.passes > 1 or config.ends_apart  # Two levels in a row have the same size.
    return 1.0 if again else config.level_factor**-2


def _resizing_bytes(before: tuple[int, int], after: tuple[int, int]) -> float:
    """Returns the bytes that it takes to resize a picture, given both sizes."""
    decoded = 0 if before == after else MEASURED.safety * MEASURED.decoded * math.prod(before)
    return decoded + 2 * _FLOATS * math.prod(after)  # As an array and as a tensor.


def filtering_bytes(config: configs.StyleTransferConfig, costs: Costs) -> int:
    """Returns the bytes of the transformed kernels of minimal filtering, 0 where it is not used."""
    if not all(cost.walked for cost in costs):
        return 0
    if config.jit_compile or not convolution.filters_minimally(objectives.precision(config)):
        return 0
    kernels = sum(cost.products * cost.stride**2 for cost in costs)
    return round(_SPECTRUM * kernels)


def _state_bytes(config: configs.StyleTransferConfig, level: pyramid.Level) -> float:
    """Returns the bytes of a level's pictures and of the optimiser's state."""
    each = _optimizer_bytes(config, level.steps) + MEASURED.picture
    return MEASURED.safety * each * level.height * level.width


@functools.lru_cache(16)  # One entry per level.
def _optimizer_bytes(config: configs.StyleTransferConfig, steps: int) -> int:
    """Returns the bytes per pixel of the optimiser's state."""
    optimizer = optimizers.Guarded(optimizers.get(config.optimizer, config))
    state = optimizer.init(tf.zeros((1, _PROBE, _PROBE, 3)), steps)
    maps = [value for value in state.values() if value.shape.rank == 4]
    return sum(value.dtype.size * value.shape.num_elements() for value in maps) // _PROBE**2


def _update_bytes(config: configs.StyleTransferConfig, level: pyramid.Level) -> float:
    """Returns the bytes beside the state while an optimiser moves a whole picture at once."""
    if not optimizers.get(config.optimizer, config).whole:
        return 0.0
    each = 2 * _optimizer_bytes(config, level.steps) + _UPDATE  # As read, and as computed.
    return each * level.height * level.width


def _bytes_of(names: Iterable[str], segment: _Segment) -> float:
    """Returns the bytes per pixel of the activations of some layers."""
    return sum(cost.bytes for cost in _costs_of(names, segment))


def _costs_of(names: Iterable[str], segment: _Segment) -> list[backbones.LayerCost]:
    """Returns the costs of some layers, in any spelling, that are in a segment."""
    names = [*names]
    wanted = {*names, *map(vgg_layers.spelled, names)}
    return [cost for cost in segment.costs if cost.name in wanted]


def _work(costs: Costs, level: pyramid.Level, plan: TilePlan) -> float:
    """Returns the work of one step, in multiplications, for comparing plans.

    The time that a cut takes counts as multiplications.
    """
    linked = sum(cost.bytes for cost in costs if cost.name in plan.cuts)
    segments = _segments(costs, plan.cuts)
    return _LINKED * linked * level.height * level.width + sum(
        _segment_work(segment, side, level, plan.keeps, segment is segments[-1])
        for segment, side in zip(segments, plan.sides, strict=True)
    )


def _segment_work(
    segment: _Segment, side: int, level: pyramid.Level, keeps: bool, last: bool
) -> float:
    rows, columns = (segment.spans(length, side) for length in (level.height, level.width))
    at_once = last and len(rows) * len(columns) == 1
    passes = 2 if (keeps and segment.walked) or at_once else 3
    shown = sum(span.length for span in rows) * sum(span.length for span in columns)
    return passes * segment.products * shown


def plans(
    config: configs.StyleTransferConfig,
    costs: Costs,
    levels: Sequence[pyramid.Level],
    on_gpu: bool,
    given: Given = _NOTHING,
) -> list[TilePlan]:
    """Returns the tile plan of each level: the one of least work that fits into memory.

    Args:
        config: the settings.
        costs: costs of the layers of the network.
        levels: levels of the pyramid.
        on_gpu: whether the steps run on a GPU, whose free memory is not known beforehand.
        given: sizes of the pictures.

    Raises:
        ConfigError: no tile is small enough for `memory_limit`.
    """
    limit = configs.read_bytes(config.memory_limit) or (0 if on_gpu else available())
    pixels = [level.height * level.width for level in levels]
    keeps = not on_gpu and spill.room() > _FILED * max(pixels)
    # The finest first, since it is the first to be too large.
    found = [
        _best(config, costs, level, limit, keeps, given, MEASURED.picture * (max(pixels) - each))
        for level, each in zip(levels[::-1], pixels[::-1], strict=True)
    ]
    return found[::-1]


def _best(
    config: configs.StyleTransferConfig,
    costs: Costs,
    level: pyramid.Level,
    limit: int,
    keeps: bool,
    given: Given,
    later: float,
) -> TilePlan:
    """Returns the plan of least work within a limit in bytes, 0 for none; see `expected`."""
    beside, table = _bytes_beside(config, costs, given), _table_bytes(config, costs, level)

    def within(taken: float) -> bool:
        return not limit or beside + taken <= limit

    def with_styles(plan: TilePlan) -> TilePlan:
        """Returns the plan with the largest style tiles that fit, or the smallest of all."""
        for side in _style_sides(config, costs, level, given):
            plan = plan._replace(style_side=side)
            if within(_bytes_before(config, costs, level, plan, given, later)):
                break
        return plan

    @functools.cache
    def side_of(segment: _Segment, sides: tuple[int, ...], cut: bool, last: bool) -> int:
        """Returns the side of least work that fits, or the smallest of all."""
        fitting = [
            side
            for side in sides
            if within(
                table + later + _step_bytes(config, segment, side, level, cut or side > 0, keeps)
            )
        ]
        return min(
            fitting,
            key=lambda side: _segment_work(segment, side, level, keeps, last),
            default=sides[-1],
        )

    found = []
    for cuts, choices in _candidates(config, costs, level):
        segments = _segments(costs, cuts)
        sides = [
            side_of(segment, tuple(each), bool(cuts), segment is segments[-1])
            for segment, each in zip(segments, choices, strict=True)
        ]
        plan = with_styles(TilePlan(cuts, tuple(sides), keeps))
        needed = expected(config, costs, level, plan, given, later)
        fits = not limit or needed <= limit
        if fits and not plan.tiled:
            return plan  # No tiles take less work.
        found.append((not fits, _work(costs, level, plan) if fits else needed, plan))
    above, least, plan = min(found, key=lambda each: each[:2])
    if not above or config.memory_limit == "auto":
        return plan
    raise _too_little(config, costs, level, least, given)


def _too_little(
    config: configs.StyleTransferConfig,
    costs: Costs,
    level: pyramid.Level,
    needed: float,
    given: Given,
) -> errors.ConfigError:
    how = " even in tiles"
    if config.whole or config.tile_size == "0":
        how = f", and {config.whole or 'tile_size=0'} keeps them from being cut into tiles"
    elif _whole(costs):
        how = f", and they cannot be cut into tiles, as {_whole(costs)}"
    pictures = max([given.content, *given.styles], key=math.prod)
    size = (level.height, level.width)
    held = given.bytes + _resizing_bytes(pictures, size) - _resizing_bytes(size, size)
    if held > _MUCH * needed:
        how += f", {held / 1e9:.1f} GB of it the pictures that are given, which could be smaller"
    advice = "Raise it, lower image_size" + (" or style_scale" if config.style_scale > 1 else "")
    return errors.ConfigError(
        f"memory_limit={config.memory_limit} is too little for {level.width}x{level.height} "
        f"pixels: they take about {needed / 1e9:.1f} GB{how}. {advice}, "
        "or take an optimiser that keeps less: a smaller lbfgs_history, or adam."
    )


def _candidates(
    config: configs.StyleTransferConfig, costs: Costs, level: pyramid.Level
) -> Iterable[tuple[tuple[str, ...], list[list[int]]]]:
    """Returns cuts, the fewest first, with the possible tile sides of each segment, largest first.

    A side of 0 is a single tile.
    """
    longest = level.long_side
    first = _sides(config, costs, longest)
    if first == [0]:
        yield (), [[0]]
        return
    pools = [cost.name for cost in costs[:-1] if cost.walked and cost.products == 0]
    further = [0, *(side for side in _SIDES if side < longest)]
    for count in range(_MOST_CUTS + 1):
        for cuts in itertools.combinations(pools, count):
            yield cuts, [first, *[further] * count]


def _style_sides(
    config: configs.StyleTransferConfig, costs: Costs, level: pyramid.Level, given: Given
) -> list[int]:
    """Returns the possible tile sides of the style pictures, the largest first."""
    styles = [pyramid.style_size(config, style, level) for style in given.styles]
    return _sides(config, costs, max(map(max, styles), default=0))


def _sides(config: configs.StyleTransferConfig, costs: Costs, longest: int) -> list[int]:
    """Returns the possible tile sides of a picture, the largest first; 0 is a single tile."""
    if config.whole or _whole(costs):
        return [0]
    if config.tile_size != "auto":
        side = int(config.tile_size)
        return [side if side < longest else 0]
    return [0, *(side for side in _SIDES if side < longest)]


def _whole(costs: Costs) -> str:
    """Returns the reason why a network takes no tiles, or an empty text."""
    return next((cost.whole for cost in costs if cost.whole), "")


def available() -> int:
    """Returns the bytes that this process may safely take, including those that it has."""
    used = psutil.Process().memory_info().rss
    free = min(psutil.virtual_memory().available, limits.free(used))
    return round(_SAFE_SHARE * (used + free / limits.sharing()))


@functools.cache
def reserve(needed: int) -> None:
    """Makes TensorFlow's pool of freed tensors, if it has one, begin with a single large region.

    TensorFlow has such a pool with oneDNN on a CPU. The pool grows by regions, and each region has
    its own gaps, so a few tensors of one large tile can take twice their memory. The reserved
    region takes memory only where it is written to, and 3% for TensorFlow's bookkeeping. It lasts
    as long as the process.

    Args:
        needed: estimated bytes of a run, the program included, minimal filtering not.
    """
    room = max(0, round(min(needed, available()) - MEASURED.program))
    with contextlib.suppress(tf.errors.ResourceExhaustedError), tf.device("CPU:0"):
        tf.raw_ops.Empty(shape=[room >> 10, 1 << 10], dtype=tf.uint8, init=False)


def hand_back_freed() -> None:
    """Makes the C library return the memory of freed tensors to the system at once, where it can.

    The GNU C library keeps freed memory for a while, in pieces too small for larger tensors, so
    a long run takes more and more. With this setting every tensor of 4 MiB and more comes from the
    system, which costs a few percent of time at 512 pixels and nothing at 1024. It holds for the
    whole process.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # Another C library.
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _HANDED_BACK)
