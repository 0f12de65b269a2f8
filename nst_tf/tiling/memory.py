"""How much memory a stylisation takes, how much there is, and the tiles that follow from it."""

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
from nst_tf.config import vgg_layers
from nst_tf.imaging import inputs, pyramid, sources
from nst_tf.kernels import convolution
from nst_tf.runtime import limits
from nst_tf.tiling import spill
from nst_tf.tiling.tiles import Span, TilePlan, spans

Costs = Sequence[backbones.LayerCost]
"""What the layers of a network take, as `Backbone.costs` returns it."""


class Coefficients(NamedTuple):
    """What a run takes, as `benchmarks/memory.py` measures it.

    Attributes:
        program: bytes of TensorFlow, the package, the weights, graphs and compiled kernels.
        whole: bytes for each byte of activations, where a picture is looked at as a whole.
        tile: bytes for each byte of the largest layer of a tile, or of a painting.
        statistics: bytes for each byte of the largest layer, with other style losses than `gram`.
        padding: bytes for each byte of activations, where padding is other than zeros.
        picture: bytes a pixel of a level, beside what the optimiser keeps.
        decoded: bytes a pixel of a picture while it is brought to another size.
        recolored: bytes a pixel of photo and paintings while their colours are changed.
        safety: factor of all of them, with which no case of the benchmark exceeds its estimate.
    """

    program: float
    whole: float
    tile: float
    statistics: float
    padding: float
    picture: float
    decoded: float
    recolored: float
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
    safety=1.07,
)
"""Of two cores of an Intel Xeon with AVX-512 and oneDNN, by `python benchmarks/memory.py --fit`;
benchmarks/results/memory.md has the cases."""

_SPECTRUM = 16  # Bytes of a transformed kernel, for every value of the kernel.
_FLOATS = 12  # Bytes a pixel of a picture in float32.
_CARRIED = 0.5  # Pixels of the level below, for every one of a level.
_FILED = 600  # Bytes a pixel of the largest picture, in files.
_SAFE_SHARE = 0.8  # Of what is free, where no limit is given.
_SIDES = (4096, 3072, 2048, 1536, 1280, 1024, 896, 768, 640, 512, 448, 384, 320, 256, 192, 128)
_MOST_CUTS = 2  # A third would save nothing at 4096 pixels.
_LINKED = 800  # Multiplications in the time in which a byte at a cut is written and read.
_MUCH = 0.25  # Of what is needed, from which on the given pictures are named.
_MMAP_THRESHOLD, _HANDED_BACK = -3, 4 << 20  # The option of mallopt(3), and its bytes.


class Given(NamedTuple):
    """The pictures of a run, which stay in memory beside the network.

    Attributes:
        content: its height and width.
        styles: the height and width of each.
        bytes: of all pictures as they are kept, masks and regions included.
    """

    content: tuple[int, int] = (0, 0)
    styles: Sequence[tuple[int, int]] = ()
    bytes: int = 0

    @classmethod
    def of(cls, pictures: sources.Pictures) -> Given:
        """Returns what is to be known of pictures."""
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
    """A segment of the network, in pixels of the picture.

    Attributes:
        costs: of its layers.
        stride: of its deepest layer.
        halo: around a tile, that its activations depend on.
        bytes: of its activations, a pixel.
        widest: bytes of the largest of them, a pixel.
        held: bytes of all down to the largest, which are there while that is gone back through.
        products: multiplications of a forward pass, a pixel.
        walked: whether its layers are a chain of `backbones.Layer`s.
    """

    costs: Costs
    stride: int
    halo: int
    bytes: float
    widest: float
    held: float
    products: float
    walked: bool

    def spans(self, length: int, side: int) -> list[Span]:
        """Returns the spans of one side of a picture."""
        return spans(length, side, self.halo, self.stride)

    def most_shown(self, size: tuple[int, int], side: int) -> int:
        """Returns the pixels that the largest tile of a picture shows."""
        return math.prod(max(span.length for span in self.spans(each, side)) for each in size)


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
    part = costs[begin:end]  # Empty where only the picture itself is looked at.
    below = max((cost.halo for cost in costs[:begin]), default=0)
    widest = max((cost.bytes for cost in part), default=0.0)
    last = max((i for i, cost in enumerate(part) if cost.bytes == widest), default=0)
    return _Segment(
        part,
        max((cost.stride for cost in part), default=1),
        max((cost.halo for cost in part), default=1) - below,
        sum(cost.bytes for cost in part),
        widest,
        sum(cost.bytes for cost in part[: last + 1]),
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
    """Returns about how many bytes a level takes, the program included.

    Args:
        config: the settings.
        costs: of the layers of the network.
        level: of the pyramid.
        plan: how the level is looked at.
        given: the pictures.
        later: bytes that a larger level takes beside what this one has TensorFlow's pool take,
            which stays taken.
    """
    segments = zip(_segments(costs, plan.cuts), plan.sides, strict=True)
    steps = max(
        _step_bytes(config, segment, side, level, plan.tiled, plan.keeps)
        for segment, side in segments
    )
    before = _bytes_before(config, costs, level, plan, given, later)
    return round(_bytes_beside(config, costs, given) + max(steps + later, before))


def most_expected(
    config: configs.StyleTransferConfig,
    costs: Costs,
    levels: Sequence[pyramid.Level],
    plans: Sequence[TilePlan],
    pictures: sources.Pictures,
) -> int:
    """Returns about how many bytes a run takes, which is what its largest level takes."""
    given, planned = Given.of(pictures), zip(levels, plans, strict=True)
    return max(expected(config, costs, *each, given) for each in planned)


def _bytes_beside(config: configs.StyleTransferConfig, costs: Costs, given: Given) -> float:
    """Returns the bytes of the program and of the pictures, as given and as they are shown."""
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
    """Returns the bytes of a step while it is at a segment of the network."""
    shown = _layer_bytes(config, segment)
    kept = _bytes_of(config.content_layers if config.with_strength.content_weight else (), segment)
    if not (tiled and segment.walked):
        whole = MEASURED.whole * _padding(config) * segment.bytes
        shown = kept + max(shown, whole + _statistics(config) * segment.widest)
    elif segment.walked and not keeps:  # A byte for each switch, and the layers that are looked at.
        names = {*config.content_layers, *config.style_layers}
        shown += segment.bytes / 4 + _bytes_of(names, segment)
    size = level.height, level.width
    return MEASURED.safety * shown * segment.most_shown(size, side) + _state_bytes(config, level)


def _layer_bytes(config: configs.StyleTransferConfig, segment: _Segment) -> float:
    """Returns the bytes a pixel of what is shown, while it is at the largest layer."""
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
    """Returns the bytes of what is done before the first step, one picture after the other."""
    (segment,), size = _segments(costs, ()), (level.height, level.width)
    most = MEASURED.safety * MEASURED.recolored * _recolored(config, given)
    most = max(most, _resizing_bytes(given.content, size))
    for style in given.styles:
        shown = pyramid.style_size(config, style, level)
        tile = segment.most_shown(shown, plan.style_side)
        measured = MEASURED.safety * _layer_bytes(config, segment) * tile
        most = max(most, measured + max(_resizing_bytes(style, shown), later))
    return _CARRIED * _state_bytes(config, level) + most


def _resizing_bytes(before: tuple[int, int], after: tuple[int, int]) -> float:
    """Returns the bytes that it takes to bring a picture to a size."""
    decoded = 0 if before == after else MEASURED.safety * MEASURED.decoded * math.prod(before)
    return decoded + 2 * _FLOATS * math.prod(after)  # As an array and as a tensor.


def filtering_bytes(config: configs.StyleTransferConfig, costs: Costs) -> int:
    """Returns the bytes of the kernels that minimal filtering transforms, if it is done."""
    if not all(cost.walked for cost in costs):
        return 0
    if config.jit_compile or not convolution.filters_minimally(config.precision):
        return 0
    kernels = sum(cost.products * cost.stride**2 for cost in costs)
    return round(_SPECTRUM * kernels)


def _state_bytes(config: configs.StyleTransferConfig, level: pyramid.Level) -> float:
    """Returns the bytes of the pictures and of what the optimiser keeps."""
    each = _optimizer_bytes(config, level.steps) + MEASURED.safety * MEASURED.picture
    return each * level.height * level.width


@functools.lru_cache(16)  # Of a run's levels.
def _optimizer_bytes(config: configs.StyleTransferConfig, steps: int) -> int:
    """Returns the bytes a pixel of what an optimiser keeps for a level."""
    optimizer = optimizers.Guarded(optimizers.get(config.optimizer, config))
    state = optimizer.init(tf.zeros((1, 1, 1, 3)), steps)
    return sum(3 * value.dtype.size for value in state.values() if value.shape.rank == 4)


def _bytes_of(names: Iterable[str], segment: _Segment) -> float:
    """Returns the bytes a pixel of the activations of some layers."""
    wanted = {*names, *map(vgg_layers.spelled, names)}
    return sum(cost.bytes for cost in segment.costs if cost.name in wanted)


def _work(costs: Costs, level: pyramid.Level, plan: TilePlan) -> float:
    """Returns the multiplications of one step, or what takes as long, to tell plans apart by."""
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
    """Returns how each level is looked at: the least work that fits into memory.

    Args:
        config: the settings.
        costs: of the layers of the network.
        levels: of the pyramid.
        on_gpu: whether the steps run on a GPU, whose free memory is not known beforehand.
        given: the pictures.

    Raises:
        ConfigError: no tile is small enough for `memory_limit`.
    """
    limit = configs.read_bytes(config.memory_limit) or (0 if on_gpu else available())
    pixels = [level.height * level.width for level in levels]
    keeps = not on_gpu and spill.room() > _FILED * max(pixels)
    # The finest first: if anything is too large, it is.
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
    """Returns the plan of least work within a limit, 0 being none; see `expected`."""
    beside = _bytes_beside(config, costs, given)

    def within(taken: float) -> bool:
        return not limit or beside + taken <= limit

    def with_styles(plan: TilePlan) -> TilePlan:
        """Returns the plan with the largest tiles of paintings that fit, or the smallest."""
        for side in _style_sides(config, costs, level, given):
            plan = plan._replace(style_side=side)
            if within(_bytes_before(config, costs, level, plan, given, later)):
                break
        return plan

    @functools.cache
    def side_of(segment: _Segment, sides: tuple[int, ...], cut: bool, last: bool) -> int:
        """Returns the side of least work that fits, or the smallest."""
        fitting = [
            side
            for side in sides
            if within(later + _step_bytes(config, segment, side, level, cut or side > 0, keeps))
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
            return plan  # No other one takes less work.
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
    """Returns cuts, the fewest first, with the sides that each segment may have, largest first."""
    longest = max(level.height, level.width)
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
    """Returns the sides that the tiles of the paintings may have, the largest first."""
    styles = [pyramid.style_size(config, style, level) for style in given.styles]
    return _sides(config, costs, max(map(max, styles), default=0))


def _sides(config: configs.StyleTransferConfig, costs: Costs, longest: int) -> list[int]:
    """Returns the sides that tiles of pixels may have, the largest first; 0 is a single tile."""
    if config.whole or _whole(costs):
        return [0]
    if config.tile_size != "auto":
        side = int(config.tile_size)
        return [side if side < longest else 0]
    return [0, *(side for side in _SIDES if side < longest)]


def _whole(costs: Costs) -> str:
    """Returns why a network takes no tiles, or an empty text."""
    return next((cost.whole for cost in costs if cost.whole), "")


def available() -> int:
    """Returns a safe share of the memory that this process may take, in bytes."""
    used = psutil.Process().memory_info().rss
    free = min(psutil.virtual_memory().available, limits.free(used))
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
    room = max(0, round(min(needed, available()) - MEASURED.program))
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
