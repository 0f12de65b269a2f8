"""Sizes and step counts of the coarse-to-fine pyramid, as properties of any picture."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nst_tf import config as configs
from nst_tf import errors
from nst_tf.imaging import pyramid

SIDES = st.integers(1, 5000)
LARGE_SIDES = st.integers(32, 5000)
FACTORS = st.sampled_from([math.sqrt(2), 1.5, 2.0, 3.0])


def config(**settings: object) -> configs.StyleTransferConfig:
    """Returns a config whose layers and steps these tests know."""
    known = {
        "style_layers": ("block1_conv1", "block5_conv1"),
        "content_layers": ("block4_conv2",),
        "style_loss": "gram",
        "level_factor": math.sqrt(2),
        "coarsest": 181,
    }
    return configs.StyleTransferConfig(**{**known, "steps": (3,), **settings})


# pyramid.fit.


@given(height=SIDES, width=SIDES, long_side=SIDES)
def test_fit_has_the_long_side_and_the_aspect_ratio(height: int, width: int, long_side: int):
    fitted = pyramid.fit(height, width, long_side)
    assert max(fitted) == long_side
    assert min(fitted) >= 1
    short = long_side * min(height, width) / max(height, width)
    assert min(fitted) == pytest.approx(max(short, 1), abs=0.5)
    assert (fitted[0] - fitted[1]) * (height - width) >= 0


@given(height=SIDES, width=SIDES)
def test_fit_to_its_own_long_side_changes_nothing(height: int, width: int):
    assert pyramid.fit(height, width, max(height, width)) == (height, width)


# pyramid.levels.


@given(
    height=LARGE_SIDES,
    width=LARGE_SIDES,
    steps=st.integers(1, 1000),
    factor=FACTORS,
    growth=st.sampled_from([1.0, 1.5, 2.0]),
)
def test_automatic_pyramid_grows_to_the_asked_size(
    height: int, width: int, steps: int, factor: float, growth: float
):
    levels = pyramid.levels(height, width, [steps], factor=factor, growth=growth)
    assert levels[-1] == pyramid.Level(height, width, steps)
    assert min(levels[0].height, levels[0].width) >= 32
    for coarse, fine in itertools.pairwise(levels):
        assert coarse.height * factor == pytest.approx(fine.height, abs=factor)
        assert coarse.width * factor == pytest.approx(fine.width, abs=factor)
        assert coarse.steps == pytest.approx(fine.steps * growth, abs=growth)


@given(height=LARGE_SIDES, width=LARGE_SIDES)
def test_every_level_is_smaller_than_the_next_and_takes_no_fewer_steps(height: int, width: int):
    for coarse, fine in itertools.pairwise(pyramid.levels(height, width, [7])):
        assert coarse.height < fine.height and coarse.width < fine.width
        assert coarse.steps >= fine.steps


@given(height=LARGE_SIDES, width=LARGE_SIDES)
def test_every_level_keeps_the_aspect_ratio_within_a_pixel(height: int, width: int):
    for level in pyramid.levels(height, width, [1]):
        assert level.height == pytest.approx(level.width * height / width, abs=1 + height / width)
        assert level.width == pytest.approx(level.height * width / height, abs=1 + width / height)


@given(height=LARGE_SIDES, width=LARGE_SIDES, factor=FACTORS)
def test_automatic_pyramid_begins_near_the_coarsest_size(height: int, width: int, factor: float):
    coarsest = pyramid.levels(height, width, [1], factor=factor, coarsest=128)[0]
    long_side = max(coarsest.height, coarsest.width)
    if max(height, width) >= 128:
        assert long_side >= 128 / math.sqrt(factor) - 1
    if min(coarsest.height, coarsest.width) >= 33 * factor:  # Else the short side stops it.
        assert long_side <= 128 * math.sqrt(factor) + 1


@given(
    height=LARGE_SIDES,
    width=LARGE_SIDES,
    count=st.integers(1, 6),
    factor=FACTORS,
    minimum=st.integers(1, 64),
)
def test_asked_count_is_given_or_refused(
    height: int, width: int, count: int, factor: float, minimum: int
):
    assume(min(height, width) >= minimum)
    exact = min(height, width) / factor ** (count - 1)
    try:
        levels = pyramid.levels(height, width, [1], count=count, factor=factor, minimum=minimum)
    except errors.ConfigError:
        assert exact < minimum + 1e-6
    else:
        assert len(levels) == count
        assert min(levels[0].height, levels[0].width) >= minimum


@given(
    height=LARGE_SIDES,
    width=LARGE_SIDES,
    steps=st.lists(st.integers(1, 99), min_size=2, max_size=4),
)
def test_listed_steps_are_the_steps_of_the_levels(height: int, width: int, steps: list[int]):
    assume(min(height, width) >= 32 * 2 ** (len(steps) - 1))
    levels = pyramid.levels(height, width, steps, factor=2)
    assert [level.steps for level in levels] == steps
    assert pyramid.levels(height, width, steps, factor=2, count=len(steps)) == levels


def test_growth_is_the_ratio_of_the_steps():
    levels = pyramid.levels(256, 256, [10], count=3, factor=2, growth=1.5)
    assert [level.steps for level in levels] == [round(22.5), 15, 10]


def test_sizes_of_a_known_pyramid():
    levels = pyramid.levels(384, 512, [30], count=3, factor=2)
    assert [(level.height, level.width) for level in levels] == [(96, 128), (192, 256), (384, 512)]


def test_short_side_of_exactly_the_minimum_is_accepted():
    assert pyramid.levels(32, 500, [1]) == [pyramid.Level(32, 500, 1)]
    assert pyramid.levels(64, 64, [1], count=2, factor=2)[0].height == 32


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"height": 31, "width": 500, "steps": [1]}, ["500x31", "32", "image_size"]),
        ({"height": 64, "width": 64, "steps": [1, 2], "count": 3}, ["levels=3", "2 numbers"]),
        ({"height": 64, "width": 64, "steps": [1], "count": 9}, ["9 levels", "64x64", "at most"]),
        ({"height": 64, "width": 64, "steps": [1] * 9}, ["9 levels", "64x64", "at most"]),
    ],
)
def test_impossible_pyramid_is_refused(arguments: dict[str, object], words: list[str]):
    with pytest.raises(errors.ConfigError) as caught:
        pyramid.levels(**arguments)
    for word in words:
        assert word in str(caught.value)


# sizes.


@pytest.mark.parametrize(
    ("layers", "least"),
    [("block1_conv1", 2), ("block1_pool", 4), ("conv3_1", 8), ("relu5_4", 32), ("block5_pool", 64)],
)
def test_minimum_side_leaves_the_deepest_layer_two_positions(layers: str, least: int):
    settings = config(style_layers=("block1_conv1", layers)[layers == "block1_conv1" :],
                      content_layers=())  # fmt: skip
    assert pyramid.minimum_side(settings) == least


@given(height=LARGE_SIDES, width=LARGE_SIDES, image_size=st.integers(32, 2000))
def test_plan_ends_at_the_asked_size(height: int, width: int, image_size: int):
    expected = pyramid.fit(height, width, image_size)
    try:
        levels = pyramid.plan(config(image_size=image_size), (height, width), [(80, 64)])
    except errors.ConfigError:
        assert min(expected) < 32 or min(pyramid.fit(80, 64, image_size)) < 32
    else:
        assert (levels[-1].height, levels[-1].width) == expected
        assert min(levels[0].height, levels[0].width) >= 32


@pytest.mark.parametrize(
    ("settings", "sides"),
    [
        ({}, [181, 256, 362, 512]),
        ({"level_factor": 2, "coarsest": 64}, [64, 128, 256, 512]),
        ({"level_factor": 2}, [128, 256, 512]),
        ({"coarsest": 300}, [256, 362, 512]),
        ({"level_factor": 2, "levels": 2}, [256, 512]),
        ({"coarsest": 600}, [512]),
    ],
)
def test_the_levels_are_those_of_the_settings(settings: dict[str, object], sides: list[int]):
    levels = pyramid.plan(config(**settings), (384, 512), [(80, 64)])
    assert [level.width for level in levels] == sides
    for level in levels:
        assert level.height == round(0.75 * level.width) or level.width == 181


@pytest.mark.parametrize(
    ("settings", "sides", "steps"),
    [
        ({}, [64, 128, 256, 512], [150, 100, 60, 35]),
        ({"steps": (9,)}, [64, 128, 256, 512], [9] * 4),
        ({"matches": 2, "levels": 2}, [256, 256, 512, 512], [150, 150, 100, 100]),
        ({"image_size": 1024}, [64, 128, 256, 512, 1024], [150, 100, 60, 35, 20]),
    ],
)
def test_the_levels_of_matched_places(settings, sides, steps):
    found = pyramid.plan(configs.StyleTransferConfig(**settings), (384, 512), [(80, 64)])
    assert [level.width for level in found] == sides
    assert [level.steps for level in found] == steps


@given(height=LARGE_SIDES, width=LARGE_SIDES)
def test_image_size_0_keeps_the_size_of_the_photo(height: int, width: int):
    levels = pyramid.plan(config(image_size=0), (height, width), [(64, 64)])
    assert (levels[-1].height, levels[-1].width) == (height, width)


@pytest.mark.parametrize(
    ("settings", "photo", "painting", "words"),
    [
        ({}, (1, 1), (64, 64), ["content", "1x1", "32"]),
        ({}, (64, 64), (20, 400), ["style", "400x20", "32"]),
        ({"image_size": 64}, (40, 900), (64, 64), ["64x3", "32", "image_size"]),
        ({"image_size": 24}, (64, 64), (64, 64), ["24x24", "32", "image_size"]),
        ({"image_size": 64, "style_scale": 0.1}, (64, 64), (64, 64), ["style_scale", "32"]),
        ({"image_size": 64, "levels": 9}, (64, 64), (64, 64), ["9 levels", "at most"]),
        ({"image_size": 512, "style_scale": 1e308}, (64, 64), (64, 64), ["style_scale"]),
    ],
)
def test_plan_refuses_what_the_layers_cannot_use(
    settings: dict[str, object],
    photo: tuple[int, int],
    painting: tuple[int, int],
    words: list[str],
):
    with pytest.raises(errors.ConfigError) as caught:
        pyramid.plan(config(**settings), photo, [painting])
    for word in words:
        assert word in str(caught.value)


def test_every_painting_is_checked():
    with pytest.raises(errors.ConfigError, match="style"):
        pyramid.plan(config(), (64, 64), [(64, 64), (64, 8)])


@given(
    painting=st.tuples(LARGE_SIDES, LARGE_SIDES),
    level=st.builds(pyramid.Level, st.integers(32, 999), st.integers(32, 999), st.just(1)),
    scale=st.floats(0.25, 4),
)
def test_style_size_is_scaled_but_never_too_small(
    painting: tuple[int, int], level: pyramid.Level, scale: float
):
    height, width = pyramid.style_size(config(style_scale=scale), painting, level)
    assert min(height, width) >= 32
    wanted = max(level.height, level.width) * scale
    if min(painting) / max(painting) * wanted >= 33:
        assert max(height, width) == round(wanted)
    else:
        assert max(height, width) >= round(wanted)
    ratio = max(height, width) / max(painting)
    assert height == pytest.approx(painting[0] * ratio, abs=1)
    assert width == pytest.approx(painting[1] * ratio, abs=1)


def test_automatic_steps_fall_from_coarse_to_fine_but_not_below_the_least():
    steps = [level.steps for level in pyramid.levels(1024, 1024, ())]
    assert steps[0] == pyramid.MOST_STEPS
    assert steps == sorted(steps, reverse=True)
    assert pyramid.ENOUGH_STEPS in steps
    assert [level.steps for level in pyramid.levels(8192, 8192, ())][-1] == pyramid.LEAST_STEPS
    assert pyramid.levels(128, 128, ())[0].steps == pyramid.MOST_STEPS
