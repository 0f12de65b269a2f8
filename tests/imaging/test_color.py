"""Colour spaces, palettes, and pictures that keep the photo's colours."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

import nst_tf
from nst_tf import config, errors
from nst_tf.imaging import color, images, inputs, pyramid

PICTURE = np.random.default_rng(0).random((40, 50, 3), np.float32)
PALETTE = PICTURE[:30, ::-1] ** 2 * np.float32([0.5, 0.3, 0.6]) + np.float32([0.2, 0.3, 0.1])
GREY = np.full((20, 30, 3), 0.5, np.float32)
QUICK = config.StyleTransferConfig(
    backbone="vgg16",
    image_size=64,
    levels=1,
    steps=3,
    color="style",
    style_layers=("block1_conv1", "block2_conv1"),
    style_loss="gram",
    style_weight=10.0,
    content_weight=1.0,
    init_noise=0.5,
    level_factor=2**0.5,
    content_layers=("block2_conv1",),
)


def flat(picture):
    return np.float64(picture).reshape(-1, 3)


# Spaces.


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1, 0, 0), (53.2408, 80.0925, 67.2032)),
        ((0, 1, 0), (87.7347, -86.1827, 83.1793)),
        ((0, 0, 1), (32.2970, 79.1875, -107.8602)),
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
    ],
)
def test_lab_of_the_primaries_is_the_published_one(rgb, lab):
    found = color.SPACES["lab"].encode(np.float64(rgb)[None, None])[0, 0]
    np.testing.assert_allclose(found, lab, atol=2e-4)


def test_yiq_of_the_primaries_is_the_published_one():
    found = color.SPACES["yiq"].encode(np.eye(3)[None])[0]
    expected = [(0.299, 0.5959, 0.2115), (0.587, -0.2746, -0.5227), (0.114, -0.3213, 0.3112)]
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("space", color.SPACES)
def test_spaces_lead_back(space):
    kind = color.SPACES[space]
    encoded = kind.encode(PICTURE)
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(kind.decode(encoded), PICTURE, atol=2e-5)


def test_names_are_those_of_the_settings():
    assert tuple(color.SPACES) == config.COLOR_SPACES
    assert tuple(color.METHODS) == config.COLOR_METHODS


# Palettes.


@pytest.mark.parametrize("space", color.SPACES)
def test_covariance_takes_over_mean_and_covariance(space):
    palette = 0.4 + 0.2 * PALETTE  # So soft that no colour is clipped.
    found = color.match(PICTURE, palette, "covariance", space)
    encode, scale = color.SPACES[space].encode, color.SPACES[space].scale
    one, other = (flat(encode(each)) / scale for each in (found, palette))
    np.testing.assert_allclose(one.mean(0), other.mean(0), atol=1e-4)
    np.testing.assert_allclose(np.cov(one.T), np.cov(other.T), atol=1e-4)


def test_covariance_is_the_map_that_moves_colours_least():
    # By SciPy's Schur method, from the formula for the optimal transport of Gaussians.
    source, target = (np.cov(flat(each).T, bias=True) for each in (PICTURE, PALETTE))
    root = scipy.linalg.sqrtm(source)
    inverse = np.linalg.inv(root)
    matrix = inverse @ scipy.linalg.sqrtm(root @ target @ root) @ inverse
    expected = (flat(PICTURE) - flat(PICTURE).mean(0)) @ matrix + flat(PALETTE).mean(0)
    found = color.match(PICTURE, PALETTE, "covariance", "rgb")
    np.testing.assert_allclose(flat(found), expected.clip(0, 1), atol=1e-3)


def test_histogram_takes_over_each_histogram():
    found = color.match(PICTURE, PALETTE, "histogram", "rgb")
    for channel in range(3):
        one, other = (np.sort(flat(each)[:, channel]) for each in (found, PALETTE))
        np.testing.assert_allclose(np.quantile(one, [0.1, 0.5, 0.9]),
                                   np.quantile(other, [0.1, 0.5, 0.9]), atol=2e-3)  # fmt: skip
        order = flat(PICTURE)[:, channel].argsort()
        assert (np.diff(flat(found)[order, channel]) >= -1e-6).all()


@pytest.mark.parametrize("method", color.METHODS)
def test_a_picture_in_its_own_palette_stays(method):
    found = color.match(PICTURE, PICTURE, method, "lab")
    np.testing.assert_allclose(found, PICTURE, atol=2e-3)


@pytest.mark.parametrize("method", color.METHODS)
@pytest.mark.parametrize(("one", "other"), [(GREY, PICTURE), (PICTURE, GREY), (GREY, GREY)])
def test_one_colour_is_no_trouble(method, one, other):
    found = color.match(one, other, method, "lab")
    assert np.isfinite(found).all()
    if other is GREY:
        assert np.abs(found - 0.5).max() < 0.02


@pytest.mark.parametrize("method", color.METHODS)
def test_weights_leave_pixels_out(method):
    weights = np.zeros(PICTURE.shape[:2], np.float32)
    weights[:20] = 1
    found = color.match(PICTURE, PALETTE, method, "rgb", weights)
    alone = color.match(PICTURE[:20], PALETTE, method, "rgb")
    np.testing.assert_allclose(found[:20], alone, atol=1e-4)


# Lightness.


@pytest.mark.parametrize("space", ["lab", "yiq"])
def test_a_picture_takes_the_colours_of_another(space):
    other = 0.5 + 0.2 * (PICTURE[::-1] - 0.5)
    found = color.with_colors_of(0.5 + 0.2 * (PICTURE - 0.5), other, space)
    encode, scale = color.SPACES[space].encode, color.SPACES[space].scale
    kept, lightness = encode(other) / scale, encode(0.5 + 0.2 * (PICTURE - 0.5)) / scale
    np.testing.assert_allclose(encode(found)[..., 0] / scale, lightness[..., 0], atol=1e-4)
    np.testing.assert_allclose(encode(found)[..., 1:] / scale, kept[..., 1:], atol=1e-4)


def test_lightness_is_grey():
    found = color.lightness(PICTURE, "lab")
    assert np.ptp(found, axis=-1).max() < 1e-3
    encode = color.SPACES["lab"].encode
    np.testing.assert_allclose(encode(found)[..., 0], encode(PICTURE)[..., 0], atol=1e-2)


def test_lightness_takes_over_mean_and_deviation():
    found = color.match_lightness(PICTURE, PALETTE, "yiq")
    values = color.SPACES["yiq"].encode(PALETTE)[..., 0]
    assert found.mean() == pytest.approx(values.mean(), abs=1e-3)
    assert found.std() == pytest.approx(values.std(), abs=1e-3)
    assert np.isfinite(color.match_lightness(GREY, PALETTE, "lab")).all()


def test_rgb_has_no_lightness():
    with pytest.raises(errors.ConfigError, match="lab, yiq"):
        color.lightness(PICTURE, "rgb")
    with pytest.raises(errors.ConfigError, match="lab or yiq"):
        config.StyleTransferConfig(color="content", color_space="rgb")


# The photo's colours in the painting's palette.

_LMS = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
_OKLAB = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]


def oklab(rgb):
    return np.cbrt(np.float64(rgb) @ np.transpose(_LMS)) @ np.transpose(_OKLAB)


def sqrt_cov(colours):
    channels = colours.shape[-1]
    spread = np.cov(colours.reshape(-1, channels).T, bias=True) + 1e-4 * np.eye(channels)
    return scipy.linalg.sqrtm(spread)


def recoloured(colours, wanted):
    """Whitens by the inverse root of one covariance, colours by the root of the other."""
    moved = (colours - colours.mean((0, 1))) @ np.linalg.inv(sqrt_cov(colours)) @ sqrt_cov(wanted)
    return moved + wanted.mean((0, 1))


def test_the_colours_of_oklab_are_the_published_ones():
    """Red and blue of sRGB, which is linear there, by Ottosson's own converter."""
    found = color._to_oklab(np.float64([[1, 0, 0], [0, 0, 1], [1, 1, 1]]))
    expected = [(0.62796, 0.22486, 0.12585), (0.45201, -0.03246, -0.31153), (1, 0, 0)]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(color._from_oklab(found)[2], 1, atol=1e-6)


def test_in_palette_is_the_published_formula():
    random = np.random.default_rng(4)
    picture, photo = random.random((2, 6, 7, 3))
    painting = 0.2 + 0.5 * random.random((5, 8, 3)) ** 2
    found = color.in_palette(picture, photo, painting.reshape(-1, 3), np.ones(40))
    wanted = oklab(painting)
    low, high = wanted.min((0, 1)), wanted.max((0, 1))
    lightness = oklab(picture)[..., 0].clip(low[0], high[0])
    colours = recoloured(oklab(photo)[..., 1:], wanted[..., 1:])
    for _ in range(5):
        before = colours.copy()
        for y, x in np.ndindex(6, 7):
            places = [(y + down, x + across) for down in (-1, 0, 1) for across in (-1, 0, 1)]
            near = [(min(max(i, 0), 5), min(max(j, 0), 6)) for i, j in places]
            weights = [np.exp(-10 * abs(lightness[at] - lightness[y, x])) for at in near]
            colours[y, x] = np.average([before[at] for at in near], axis=0, weights=weights)
    expected = np.concatenate([lightness[..., np.newaxis], colours], -1).clip(low, high)
    np.testing.assert_allclose(oklab(found), expected, atol=2e-3)
    decoded = (expected @ np.linalg.inv(_OKLAB).T) ** 3 @ np.linalg.inv(_LMS).T
    np.testing.assert_allclose(found, decoded.clip(0, 1), atol=1e-5)


def test_a_painting_without_colours_gives_the_picture_its_own_palette():
    random = np.random.default_rng(5)
    picture, photo = random.random((2, 6, 7, 3))
    painting = 0.5 + 0.1 * random.random((5, 8, 1)) + 0.005 * random.random((5, 8, 3))
    found = color.in_palette(picture, photo, painting.reshape(-1, 3), np.ones(40))
    wanted = oklab(painting)
    expected = recoloured(oklab(picture), wanted).clip(wanted.min((0, 1)), wanted.max((0, 1)))
    decoded = (expected @ np.linalg.inv(_OKLAB).T) ** 3 @ np.linalg.inv(_LMS).T
    np.testing.assert_allclose(found, decoded.clip(0, 1), atol=1e-5)


def test_colours_without_weight_are_no_part_of_a_palette():
    palette = np.concatenate([PALETTE.reshape(-1, 3), PICTURE.reshape(-1, 3)])
    weights = np.r_[np.ones(PALETTE[..., 0].size), np.zeros(PICTURE[..., 0].size)]
    found = color.in_palette(PICTURE, PICTURE[::-1], palette, weights)
    alone = color.in_palette(PICTURE, PICTURE[::-1], flat(PALETTE), np.ones(PALETTE[..., 0].size))
    np.testing.assert_allclose(found, alone, atol=1e-4)


# Stylisations.


def hues(picture):
    return color.SPACES["lab"].encode(np.asarray(picture))[..., 1:]


def test_content_keeps_the_colours_of_the_photo():
    photo = (0.3 + 0.3 * PICTURE).repeat(2, 0).repeat(2, 1)[:64, :64]
    seen = []

    class Watch(nst_tf.callbacks.Callback):
        def on_step_end(self, step):
            seen.append(step.picture().numpy())

    settings = QUICK.replace(color="content")
    found = nst_tf.stylize(photo, PALETTE, settings, [Watch()]).numpy()
    for picture in (found, seen[0]):
        inside = ((picture > 0) & (picture < 1)).all(axis=-1)
        assert inside.mean() > 0.9
        np.testing.assert_allclose(hues(picture)[inside], hues(photo)[inside], atol=0.05)
    assert np.abs(found - photo).mean() > 0.01, "the lightness is repainted"


@pytest.mark.parametrize("method", color.METHODS)
def test_match_shows_the_network_a_recoloured_painting(method):
    settings = QUICK.replace(color_method=method)
    photo = PICTURE.repeat(2, 0).repeat(2, 1)[:64, :64]
    matched = color.match(PALETTE, photo, method, "lab")
    expected = nst_tf.stylize(photo, matched, settings).numpy()
    found = nst_tf.stylize(photo, PALETTE, settings.replace(color="match")).numpy()
    np.testing.assert_array_equal(found, expected)


def test_tint_moves_the_colours_of_the_photo_at_the_end():
    photo = (0.3 + 0.3 * PICTURE).repeat(2, 0).repeat(2, 1)[:64, :64]
    plain = np.asarray(nst_tf.stylize(photo, PALETTE, QUICK))
    found = np.asarray(nst_tf.stylize(photo, PALETTE, QUICK.replace(color="tint")))
    size = pyramid.fit(*PALETTE.shape[:2], 64)
    palette = flat(images.resize(PALETTE, *size)).astype(np.float32)
    expected = color.in_palette(plain, photo, palette, np.ones(len(palette)))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_palette_of_several_styles_is_that_of_their_shares_and_of_what_is_seen():
    mask = np.zeros((*PALETTE.shape[:2], 3), np.float32)
    mask[:, :25] = 1
    settings = config.StyleTransferConfig(color="tint", style_blend=(3.0, 1.0))
    styles, masks = [PALETTE, PICTURE], [mask, np.ones_like(PICTURE)]
    shown = inputs.prepare(
        settings, images.load(GREY), list(map(images.load, styles)), None,
        list(map(images.load, masks)),
    )  # fmt: skip
    picture = PICTURE[::-1, ::-1]
    resized = [images.resize(each, *pyramid.fit(*each.shape[:2], 50)) for each in styles]
    seen = images.resize(mask, *resized[0].shape[:2])[..., 0].reshape(-1)
    every = np.ones(resized[1][..., 0].size)
    palette = np.concatenate([each.reshape(-1, 3) for each in resized])
    weights = np.concatenate([0.75 * seen / seen.sum(), 0.25 * every / every.sum()])
    photo = images.resize(GREY, *picture.shape[:2])
    expected = color.in_palette(picture, photo, palette, weights)
    np.testing.assert_allclose(shown.finished(picture), expected, atol=1e-5)


def test_tint_leaves_the_outside_of_a_mask_as_it_is():
    photo = (0.3 + 0.3 * PICTURE).repeat(2, 0).repeat(2, 1)[:64, :64]
    mask = np.zeros((64, 64, 3), np.float32)
    mask[:, :32] = 1
    settings = QUICK.replace(color="tint", outside="keep")
    found = np.asarray(nst_tf.stylize(photo, PALETTE, settings, content_mask=mask))
    np.testing.assert_allclose(found[:, 34:], photo[:, 34:], atol=1e-5)
    assert np.abs(found[:, :30] - photo[:, :30]).mean() > 0.01


@pytest.mark.parametrize("how", ["content", "match", "tint", "palette"])
def test_grey_pictures_give_finite_ones(how):
    for photo, painting in ((GREY, PALETTE), (PICTURE, GREY)):
        assert np.isfinite(nst_tf.stylize(photo, painting, QUICK.replace(color=how))).all()


# color=palette: content and result in the colours of the style.


def prepared(content, *styles, mask=None, style_masks=(), **settings):
    settings = config.StyleTransferConfig(color="palette", **settings)
    given = [images.load(each) for each in styles]
    content_mask = None if mask is None else images.load(mask)
    loaded = [images.load(each) for each in style_masks]
    return inputs.prepare(settings, images.load(content), given, content_mask, loaded)


def moderate(seed, height, width, mean=0.5, spread=0.06):
    """Returns colours that stay away from black and white, and so are never clipped."""
    random = np.random.default_rng(seed)
    mixing = random.standard_normal((3, 3)) * spread
    values = np.clip(random.standard_normal((height, width, 3)), -2, 2) @ mixing + mean
    return values.clip(0.05, 0.95).astype(np.float32)


def moments(rgb):
    flat = color.SPACES["rgb"].encode(rgb.astype(np.float64)).reshape(-1, 3)
    return flat.mean(0), np.cov(flat.T, bias=True)


def test_content_and_result_get_mean_and_covariance_of_the_style():
    content, style, result = moderate(0, 30, 40, 0.6), moderate(1, 32, 32, 0.4), moderate(2, 24, 32)
    shown = prepared(content, style, color_space="rgb")
    assert shown.changes_results
    for found in (shown.content.rgb, shown.finished(result)):
        for own, wanted in zip(moments(found), moments(style), strict=True):
            np.testing.assert_allclose(own, wanted, atol=3e-4)


def test_a_weaker_strength_moves_colours_less_far():
    content, style = moderate(0, 30, 40, 0.7), moderate(1, 32, 32, 0.3)
    means = [
        prepared(content, style, color_space="rgb", strength=strength).content.rgb.mean()
        for strength in (0.1, 0.25, 0.5, 1.0)
    ]
    whole = content.mean() - style.mean()
    np.testing.assert_allclose(
        (content.mean() - np.array(means)) / whole, [0.2, 0.5, 1, 1], atol=0.01
    )


def test_styles_give_colours_by_their_shares():
    dark, light = moderate(1, 32, 32, 0.3), moderate(2, 48, 40, 0.7)
    shown = prepared(moderate(0, 30, 40), dark, light, color_space="rgb", style_blend=(3, 1))
    wanted = 0.75 * dark.mean((0, 1)) + 0.25 * light.mean((0, 1))
    np.testing.assert_allclose(shown.content.rgb.mean((0, 1)), wanted, atol=0.02)


def test_a_region_gets_the_colours_of_its_own_part_of_the_style():
    content = moderate(0, 32, 40)
    style = np.concatenate([moderate(1, 32, 20, 0.3), moderate(2, 32, 20, 0.7)], axis=1)
    mask = np.zeros((32, 40, 3), np.uint8)
    mask[:, :20, 0] = mask[:, 20:, 2] = 255
    shown = prepared(content, style, mask=mask, style_masks=[mask], color_space="rgb")
    found = shown.finished(moderate(3, 32, 40))
    for part in (np.s_[:, :20], np.s_[:, 20:]):
        for own, wanted in zip(moments(found[part]), moments(style[part]), strict=True):
            np.testing.assert_allclose(own, wanted, atol=3e-3)


def test_a_painting_that_is_the_photo_changes_no_colour():
    content = moderate(0, 30, 40)
    shown = prepared(content, content)
    np.testing.assert_allclose(shown.content.rgb, content, atol=1e-3)
    np.testing.assert_allclose(shown.finished(content), content, atol=1e-3)
