"""Runs with the loss `neighbours`: levels with several matches, tiles, masks, resumed runs."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import nst_tf
from nst_tf import errors, objective
from nst_tf.records import snapshot as snapshots

SETTINGS = nst_tf.StyleTransferConfig(
    backbone="vgg16",
    precision="float32",
    device="cpu",
    image_size=64,
    levels=2,
    level_factor=2.0,
    steps=(3, 4),
    matches=2,
    style_loss="neighbours:1+gram:0.5",
    content_weight=0.1,
    style_weight=1.0,
    content_layers=("block4_conv2",),
    style_layers=("block1_conv1", "block3_conv1"),
    match_layers=("block1_conv1", "block2_conv2", "block3_conv1", "block4_conv3"),
    tile_size="0",
)


def pixels(seed: int, height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).random((1, height // 4 + 2, width // 4 + 2, 3), np.float32)
    return tf.image.resize(coarse, (height, width), "bicubic").numpy()[0].clip(0, 1)


PHOTO, PAINTING, OTHER = pixels(0, 52, 64), pixels(1, 66, 60), pixels(2, 48, 64)


def run(settings: nst_tf.StyleTransferConfig, *watchers, start=None, styles=PAINTING, **pictures):
    return np.asarray(transfer(settings).stylize(PHOTO, styles, watchers, start, **pictures))


@functools.cache
def transfer(settings: nst_tf.StyleTransferConfig) -> nst_tf.StyleTransfer:
    """Returns the transfer of some settings, whose steps are compiled once."""
    if settings == SETTINGS:
        return nst_tf.StyleTransfer(settings)
    return transfer(SETTINGS).with_config(settings)


class Keep(nst_tf.callbacks.Callback):
    """Keeps a snapshot and the loss of every step."""

    def on_begin(self, run: nst_tf.callbacks.Run) -> None:
        self.levels = run.levels
        self.snapshots, self.losses = [], []

    def on_step_end(self, step: nst_tf.callbacks.StepEnd) -> None:
        self.snapshots.append(step.snapshot())
        self.losses.append((step.level, float(step.loss)))


def halves(height: int, width: int) -> np.ndarray:
    """Returns a mask whose left is red and whose right is blue."""
    mask = np.zeros((height, width, 3), np.uint8)
    mask[:, : width // 2, 0] = 255
    mask[:, width // 2 :, 2] = 255
    return mask


class Plan(nst_tf.callbacks.Callback):
    """Notes the levels of a run, and ends it before its first step."""

    def on_begin(self, run: nst_tf.callbacks.Run) -> None:
        self.levels, run.stopping = run.levels, True


def levels_of(settings: nst_tf.StyleTransferConfig) -> list[nst_tf.imaging.pyramid.Level]:
    """Returns the levels of a run that is not made."""
    plan = Plan()
    run(settings, plan)
    return plan.levels


MASKS = {"content_mask": halves(52, 64), "style_masks": [halves(66, 60)]}


def test_each_level_is_matched_as_often_as_asked(monkeypatch):
    """By steps that are traced once, whatever the number of cells that match."""
    traced, value = [], objective.Objective.value
    monkeypatch.setattr(
        objective.Objective, "value", lambda *given: traced.append(1) or value(*given)
    )
    keep = Keep()
    np.asarray(nst_tf.StyleTransfer(SETTINGS).stylize(PHOTO, PAINTING, [keep]))
    assert len(traced) == 1
    sizes = [(level.height, level.width, level.steps) for level in keep.levels]
    assert sizes == [(26, 32, 3)] * 2 + [(52, 64, 4)] * 2
    for level in range(4):
        losses_ = [loss for at, loss in keep.losses if at == level]
        assert losses_[-1] < losses_[0]
    assert len(levels_of(SETTINGS.replace(matches=1))) == 2
    assert len(levels_of(SETTINGS.replace(style_loss="gram"))) == 2


@pytest.mark.parametrize(
    ("tile_size", "masks"), [("0", {}), ("32", MASKS)], ids=["whole", "tiles-masked"]
)
def test_a_run_goes_on_bit_by_bit(tile_size, masks):
    settings = SETTINGS.replace(tile_size=tile_size, steps=(2, 2))
    keep = Keep()
    expected = run(settings, keep, **masks)
    between, within = keep.snapshots[1], keep.snapshots[4]  # Two matches, and steps of one.
    np.testing.assert_array_equal(run(settings, start=between, **masks), expected)
    other = nst_tf.StyleTransfer(settings)  # As another process has it.
    found = other.stylize(PHOTO, PAINTING, start=within, **masks)
    np.testing.assert_array_equal(found, expected)


def test_in_tiles_it_makes_the_picture_of_the_whole():
    settings = SETTINGS.replace(levels=1, steps=(3,), matches=1)
    whole, tiled = (run(settings.replace(tile_size=size)) for size in ("0", "32"))
    assert np.abs(whole - PHOTO).mean() > 0.01
    np.testing.assert_allclose(tiled, whole, atol=2e-3)


def test_several_styles_are_chosen_from_by_their_shares():
    settings = SETTINGS.replace(levels=1, steps=(3,), matches=1)
    both = run(settings, styles=[PAINTING, OTHER])
    for style, blend in ((PAINTING, (1.0, 0.0)), (OTHER, (0.0, 1.0))):
        alone = run(settings.replace(style_blend=blend), styles=[PAINTING, OTHER])
        np.testing.assert_array_equal(alone, run(settings, styles=style))
        assert np.abs(alone - both).max() > 0.01


def test_a_painting_that_is_the_photo_gives_the_photo_back():
    settings = SETTINGS.replace(
        style_loss="neighbours", match_orientations="upright", init_noise=0.0, levels=1,
        steps=(20,), tv_weight=0.0,
    )  # fmt: skip
    found = run(settings, styles=PHOTO)
    assert np.abs(found - PHOTO).mean() < 0.02


def test_the_knobs_reach_the_loss():
    settings = SETTINGS.replace(
        match_share=0.1,
        match_orientations="mirrored",
        match_places=99,
        match_evenness=0.2,
        match_layers=("relu2_1",),
    )
    terms = objective.terms(settings, "vgg16")
    (term,) = [each for each in terms if each.name.startswith("style/neighbours")]
    assert term.layer == "block2_conv1" and term.weight == 1.0
    assert term.loss.get_config() == {
        "normalization": "relative",
        "layers": ("relu2_1",),
        "share": 0.1,
        "orientations": "mirrored",
        "most_places": 99,
        "evenness": 0.2,
    }


def test_layers_without_places_are_refused():
    """Those of a network that looks at the whole picture at once."""
    image = keras.Input((None, None, 3))
    stem = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(image)
    mean = keras.layers.GlobalAveragePooling2D(keepdims=True)(stem)
    deep = keras.layers.Multiply(name="deep")([stem, mean])
    network = nst_tf.Backbone.from_keras(keras.Model(image, deep), ["stem", "deep"])
    settings = SETTINGS.replace(
        backbone="custom",
        style_loss="neighbours",
        content_layers=("stem",),
        style_layers=("stem", "deep"),
        match_layers=(),
    )
    with pytest.raises(errors.ConfigError, match=r"positions of .*deep.*unknown"):
        nst_tf.StyleTransfer(settings, network).stylize(PHOTO, PAINTING)
    settings = settings.replace(match_layers=("stem",))
    found = nst_tf.StyleTransfer(settings, network).stylize(PHOTO, PAINTING)
    assert np.isfinite(np.asarray(found)).all()


FINAL = SETTINGS.replace(
    style_loss="neighbour_columns", final_steps=3, content_layers=("block1_conv1",), matches=1
)


def test_the_last_pass_has_a_style_loss_of_its_own():
    keep, history = Keep(), nst_tf.callbacks.History()
    settings = FINAL.replace(content_decay=0.5)
    run(settings, keep, history)
    sizes = [(level.height, level.width, level.steps) for level in keep.levels]
    assert sizes == [(26, 32, 3), (52, 64, 4), (52, 64, 3)]
    names = [next(each for each in entry["terms"] if "style" in each) for entry in history.entries]
    assert names == 7 * ["style/neighbour_columns"] + 3 * ["style/nearest_features"]
    # The pass goes on at the same picture: the content counts as at the finest level.
    contents = [entry["terms"]["content/block1_conv1"] for entry in history.entries]
    assert 0.8 < contents[7] / contents[6] < 1.25


def test_a_last_pass_is_the_run_that_goes_on_with_its_style_loss():
    """With a new optimiser, as a run of one level from the picture before."""
    settings = FINAL.replace(
        optimizer="adam", laplacian_bands=2, average=0.0, color="style", levels=1, steps=(3,)
    )
    before = run(settings.replace(final_steps=0))
    alone = settings.replace(style_loss="nearest_features", final_steps=0, init_noise=0.0)
    expected = run(alone, init=before)
    np.testing.assert_allclose(run(settings), expected, atol=1e-4)
    assert np.abs(expected - before).max() > 5e-3


def test_a_run_with_a_last_pass_goes_on_bit_by_bit(tmp_path):
    settings = FINAL.replace(levels=1, steps=(3,))
    keep = Keep()
    expected = run(settings, keep, **MASKS)
    for kept in keep.snapshots[1:3]:  # Before the pass, and between the two.
        np.testing.assert_array_equal(run(settings, start=kept, **MASKS), expected)
    snapshots.write(keep.snapshots[-2], tmp_path / "kept")
    start = snapshots.read(tmp_path / "kept")
    np.testing.assert_array_equal(run(settings, start=start, **MASKS), expected)


def test_a_transfer_gets_the_layers_of_a_last_pass():
    plain = nst_tf.StyleTransfer(SETTINGS.replace(style_loss="gram", levels=1, steps=(1,)))
    ends = plain.replace(final_steps=2, match_layers=("block2_conv2",))
    found = np.asarray(ends.stylize(PHOTO, PAINTING))
    whole = nst_tf.StyleTransfer(ends.config)
    np.testing.assert_array_equal(found, np.asarray(whole.stylize(PHOTO, PAINTING)))


def test_a_last_pass_needs_the_whole_picture_and_a_style():
    with pytest.raises(errors.ConfigError, match="final_steps=3"):
        FINAL.replace(style_loss="gram", tile_size="64")
    assert len(levels_of(FINAL.replace(style_loss="gram", style_weight=0.0))) == 2


@pytest.mark.parametrize("loss", ["neighbours", "neighbour_columns", "nearest_features"])
def test_the_loss_of_a_region_is_that_of_its_own_part_of_the_style(loss):
    """The left from a red half, the right from a blue one."""
    painting = pixels(3, 66, 60) * np.float32([1, 0.2, 0.2])
    painting[:, 30:] = pixels(4, 66, 30) * np.float32([0.2, 0.2, 1])
    settings = SETTINGS.replace(
        style_loss=loss, content_weight=0.0, levels=1, steps=(10,), matches=1
    )
    found = run(settings, styles=painting, **MASKS)
    left, right = found[:, :28].mean((0, 1)), found[:, 36:].mean((0, 1))
    assert left[0] > left[2] + 0.1 and right[2] > right[0] + 0.1
