"""Colour spaces, palettes, and pictures that keep the photo's colours."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

import nst_tf
from nst_tf import config, errors
from nst_tf.imaging import color, images, inputs

PICTURE = np.random.default_rng(0).random((40, 50, 3), np.float32)
PALETTE = PICTURE[:30, ::-1] ** 2 * np.float32([0.5, 0.3, 0.6]) + np.float32([0.2, 0.3, 0.1])
GREY = np.full((20, 30, 3), 0.5, np.float32)
QUICK = config.StyleTransferConfig(
    backbone="vgg16",
    image_size=64,
    levels=1,
    steps=3,
    style_layers=("block1_conv1", "block2_conv1"),
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


@pytest.mark.parametrize("how", ["content", "match"])
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
