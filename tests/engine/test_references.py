"""Losses that take their target from any references, whole, in tiles, with masks, and resumed."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import nst_tf
from nst_tf import errors, jobs, losses, objective
from nst_tf.engine import value_and_gradient
from nst_tf.records import recipe, snapshot
from nst_tf.tiling import activations
from nst_tf.tiling.tiled_objective import TiledObjective, TiledTargets

LAYERS = ("block1_conv2", "block2_conv1")
SETTINGS = nst_tf.StyleTransferConfig(
    backbone="vgg16",
    precision="float32",
    device="cpu",
    image_size=48,
    levels=2,
    steps=(3, 4),
    content_layers=LAYERS[:1],
    style_layers=LAYERS,
    style_loss="gram",
    style_weight=10.0,
    content_weight=1.0,
    color="style",
    init_noise=0.5,
    level_factor=2**0.5,
    optimizer="adam",
    tile_size="0",
)


def pixels(seed: int, height: int = 40, width: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, 3), np.float32)


PHOTO, PAINTING, OTHER = pixels(0), pixels(1, 56, 44), pixels(2, 32, 40)


def nearest(columns: np.ndarray, choices: np.ndarray) -> np.ndarray:
    """Returns for each column the choice at the least angle."""
    norms = np.linalg.norm(choices, axis=1)
    return choices[
        np.argmax(columns @ (choices / np.maximum(norms, 1e-6)[:, np.newaxis]).T, axis=1)
    ]


class Neighbours(losses.Loss):
    """Squared difference from the style's nearest column to content and start, place by place.

    The places of all layers are matched by the columns of the deepest one.
    """

    references = ("content", "style", "start")
    positional = ("wanted",)

    def joint_target(
        self, references: Mapping[str, Sequence[losses.Reference]]
    ) -> Mapping[str, losses.Statistics]:
        (content,), (start,), styles = (references[name] for name in ("content", "start", "style"))
        found = {}
        for layer in content.features:
            seen = np.asarray(content.features[layer]) + np.asarray(start.features[layer])
            choices = np.concatenate(
                [
                    np.asarray(each.features[layer])[np.asarray(each.weights[layer])[..., 0] > 0]
                    for each in styles
                ]
            )
            wanted = nearest(seen.reshape(-1, seen.shape[-1]), choices)
            found[layer] = {"wanted": tf.constant(wanted.reshape(seen.shape))}
        return found

    def statistics(
        self, features: tf.Tensor, weights: tf.Tensor, target: losses.Statistics
    ) -> losses.Statistics:
        error = tf.reduce_mean(tf.math.squared_difference(features, target["wanted"]), 3, True)
        positions = tf.reduce_sum(weights * tf.ones_like(error))
        return {"error": tf.reduce_sum(weights * error), "positions": positions}

    def value(self, statistics: losses.Statistics, target: losses.Statistics) -> tf.Tensor:
        return tf.math.divide_no_nan(statistics["error"], statistics["positions"])


class Faulty(Neighbours):
    """Has its joint target spoilt."""

    def __init__(self, spoil: str) -> None:
        super().__init__()
        self.spoil = spoil

    def joint_target(self, references):
        found = super().joint_target(references)
        first = found[LAYERS[0]]["wanted"].numpy()
        spoilt = {
            "nothing": None,
            "a layer": {LAYERS[1]: found[LAYERS[1]]},
            "an entry": {**found, LAYERS[0]: {"other": first}},
            "a column": {**found, LAYERS[0]: {"wanted": first[:, :, 1:]}},
            "the batch": {**found, LAYERS[0]: {"wanted": first[0]}},
            "text": {**found, LAYERS[0]: {"wanted": "text"}},
            "NaN": {**found, LAYERS[0]: {"wanted": first * np.nan}},
            "precision": {**found, LAYERS[0]: {"wanted": first.astype(np.float64)}},
            "lists": {**found, LAYERS[0]: {"wanted": first.tolist()}},
        }
        return spoilt[self.spoil]


class Warped(losses.Content):
    """Squared difference from the previous frame."""

    references = ("previous",)
    layers = ("image",)


NEIGHBOURS = Neighbours()


@pytest.fixture(scope="module")
def network() -> nst_tf.Backbone:
    return nst_tf.StyleTransfer(SETTINGS).backbone


def terms(*regions: int) -> list[objective.Term]:
    return [
        objective.Term(f"{layer}/{region}", layer, NEIGHBOURS, 1.0 + region, region)
        for region in regions
        for layer in LAYERS
    ]


def mask(height: int, width: int) -> np.ndarray:
    """Returns the weights of pixels for two regions, whose border is at no tile's."""
    inside = np.zeros((1, height, width, 1), np.float32)
    inside[:, : height // 2 - 3, : width - 7] = 1
    return np.concatenate([np.ones_like(inside), inside, 1 - inside], axis=3)


def seen_by(network: nst_tf.Backbone, image: np.ndarray) -> dict[str, np.ndarray]:
    return {name: each.numpy() for name, each in network(image[np.newaxis]).items()}


def joined(
    whole: objective.Objective,
    images: Mapping[str, Sequence[np.ndarray]],
    masked: bool,
    side: int = 384,
) -> objective.Targets:
    """Returns all targets of a picture, given the side of the patches it is looked at in."""

    def weights(image: np.ndarray) -> np.ndarray:
        return mask(*image.shape[:2]) if masked else np.ones((1, 1, 1, 1), np.float32)

    views = {
        name: [objective.View(each, weights(each)) for each in several]
        for name, several in images.items()
    }

    def look(layers: tuple[str, ...], reference: str) -> losses.Activations:
        return activations.TiledActivations(whole.backbone, layers, side=side)

    found = whole.join(views, [[1.0] * len(images["style"])] * 2, look)
    content = images["content"][0]
    seen = tf.constant(content[np.newaxis]), tf.constant(weights(content))
    return objective.merged(found, whole.targets(*seen, "content"))


IMAGES = {"content": [PHOTO], "style": [PAINTING, OTHER], "start": [pixels(3)]}


def test_the_target_is_made_of_all_references_place_by_place(network):
    whole = objective.Objective(network, terms(0))
    assert whole.references == ("content", "style", "start")
    found = joined(whole, IMAGES, masked=False)
    content, start = seen_by(network, PHOTO), seen_by(network, IMAGES["start"][0])
    styles = [seen_by(network, each) for each in IMAGES["style"]]
    for layer in LAYERS:
        columns = np.concatenate(
            [each[layer][0].reshape(-1, each[layer].shape[-1]) for each in styles]
        )
        wanted = found[f"{layer}/0"]["wanted"].numpy()[0]
        for row, column in ((0, 0), (5, 17), (wanted.shape[0] - 1, wanted.shape[1] - 1)):
            sought = (content[layer] + start[layer])[0, row, column].astype(np.float64)
            cosines = columns @ sought / np.maximum(np.linalg.norm(columns, axis=1), 1e-6)
            # A graph and single operations round differently.
            np.testing.assert_allclose(
                wanted[row, column], columns[np.argmax(cosines)], rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize("cuts", [(), ("block1_pool",)])
@pytest.mark.parametrize("masked", [False, True])
def test_tiles_have_the_gradient_of_the_whole(network, masked, cuts):
    """So have references that are looked at in patches, of another size than the tiles."""
    whole = objective.Objective(network, terms(*((1, 2) if masked else (0,))))
    targets = joined(whole, IMAGES, masked)
    image = tf.constant(pixels(4)[np.newaxis])
    expected = value_and_gradient(whole, image, targets)

    tiled = TiledObjective(whole, cuts)
    pieces = tiled.cut(40, 48, [16, 24][: len(cuts) + 1])
    assert len(pieces[0]) > 4
    in_tiles = tiled.cut_targets(joined(whole, IMAGES, masked, side=20), pieces)
    assert isinstance(in_tiles, TiledTargets)
    evaluation = tiled.value_and_gradient(image, in_tiles)
    np.testing.assert_allclose(evaluation.loss, expected.loss, rtol=1e-5)
    scale = np.abs(expected.gradient).max()
    np.testing.assert_allclose(evaluation.gradient, expected.gradient, atol=1e-5 * scale)


@functools.cache
def transfer() -> nst_tf.StyleTransfer:
    """Returns the transfer of the settings, whose network and steps others share."""
    return nst_tf.StyleTransfer(SETTINGS)


def run(settings: nst_tf.StyleTransferConfig, *watchers, start=None, **arguments) -> np.ndarray:
    found = transfer().with_config(settings)
    return np.asarray(found.stylize(PHOTO, [PAINTING, OTHER], watchers, start, **arguments))


class Keep(nst_tf.callbacks.Callback):
    """Keeps a snapshot of every step."""

    def __init__(self) -> None:
        self.snapshots = []

    def on_step_end(self, step: nst_tf.callbacks.StepEnd) -> None:
        self.snapshots.append(step.snapshot())


REGIONS = {
    "content_mask": np.uint8(255) * np.repeat(mask(40, 48)[0, :, :, 1:2] > 0, 3, axis=2),
}


@pytest.mark.parametrize(
    ("tile_size", "masks"), [("0", {}), ("24", REGIONS)], ids=["whole", "tiles-masked"]
)
def test_a_run_with_such_a_loss_goes_on_bit_by_bit(tile_size, masks):
    """The picture that a level began with belongs to where the run stands."""
    settings = SETTINGS.replace(style_loss=NEIGHBOURS, tile_size=tile_size)
    keep = Keep()
    expected = run(settings, keep, **masks)
    for kept in keep.snapshots[1:4]:  # Within a level, at its end, and in the next one.
        np.testing.assert_array_equal(run(settings, start=kept, **masks), expected)
    other = nst_tf.StyleTransfer(settings)  # As another process has it.
    start = keep.snapshots[4]
    found = other.stylize(PHOTO, [PAINTING, OTHER], start=start, **masks)
    np.testing.assert_array_equal(found, expected)


def test_in_tiles_it_makes_the_picture_of_the_whole():
    whole, tiled = (
        run(SETTINGS.replace(style_loss=NEIGHBOURS, tile_size=size, levels=1, steps=(3,)))
        for size in ("0", "24")
    )
    assert np.abs(whole - PHOTO).mean() > 0.01
    np.testing.assert_allclose(tiled, whole, atol=2e-3)


@pytest.mark.parametrize("tile_size", ["0", "24"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("nothing", "no entries for the layer block1_conv2"),
        ("a layer", "no entries for the layer block1_conv2"),
        ("an entry", "lacks wanted at block1_conv2"),
        ("a column", r"shape \(1, \d+, \d+, 64\) for wanted"),
        ("the batch", r"shape \(\d+, \d+, 64\) for wanted"),
        ("text", "no numbers for wanted"),
        ("NaN", "not finite for wanted"),
    ],
)
def test_a_joint_target_that_is_none_is_said_in_a_sentence(spoil, said, tile_size):
    settings = SETTINGS.replace(style_loss=Faulty(spoil), tile_size=tile_size)
    with pytest.raises(errors.ConfigError, match=f"joint_target of Faulty.*{said}.*expected"):
        run(settings)


@pytest.mark.parametrize("tile_size", ["0", "24"])
def test_a_joint_target_may_be_any_numbers(tile_size):
    settings = SETTINGS.replace(tile_size=tile_size, steps=(1, 1))
    expected = run(settings.replace(style_loss=NEIGHBOURS))
    for spoil in ("precision", "lists"):
        found = run(settings.replace(style_loss=Faulty(spoil)))
        np.testing.assert_array_equal(found, expected, spoil)


# References that the run is given.


def warping(network: nst_tf.Backbone) -> objective.Objective:
    return objective.Objective(network, [objective.Term("previous", "image", Warped("sum"), 1.0)])


@pytest.mark.parametrize("tile_size", ["0", "24"])
def test_a_given_reference_pulls_where_it_has_weight(network, tile_size):
    """Its weights are a picture: the left is reliable, the right is not."""
    settings = SETTINGS.replace(
        tile_size=tile_size, levels=1, steps=(20,), init_noise=0.0, optimizer="lbfgs"
    )
    transfer = nst_tf.StyleTransfer(settings, objective=warping(network))
    weights = np.zeros((40, 48), np.float32)
    weights[:, :24] = 1
    previous = pixels(5)
    found = np.asarray(
        transfer.stylize(PHOTO, PAINTING, references={"previous": (previous, weights)})
    )
    assert np.abs(found[:, :24] - previous[:, :24]).mean() < 0.02
    np.testing.assert_allclose(found[:, 24:], PHOTO[:, 24:], atol=1e-6)


@pytest.mark.parametrize(
    ("given", "said"),
    [({}, r"'previous'.*\(none\) were given"), ({"flow": PHOTO}, "'previous'.*'flow'")],
)
def test_missing_references_are_named(network, given, said):
    transfer = nst_tf.StyleTransfer(SETTINGS, objective=warping(network))
    with pytest.raises(errors.ConfigError, match=said):
        transfer.stylize(PHOTO, PAINTING, references=given)


@pytest.mark.parametrize(
    ("given", "said"),
    [({"previous": (PHOTO,)}, "1 parts.*pair"), ([PHOTO], "type list.*mapping")],
)
def test_references_of_another_form_are_refused(network, given, said):
    transfer = nst_tf.StyleTransfer(SETTINGS, objective=warping(network))
    with pytest.raises(errors.ConfigError, match=said):
        transfer.stylize(PHOTO, PAINTING, references=given)


def test_a_start_with_another_reference_is_refused(network):
    transfer = nst_tf.StyleTransfer(SETTINGS, objective=warping(network))
    keep = Keep()
    transfer.stylize(PHOTO, PAINTING, [keep], references={"previous": PHOTO})
    with pytest.raises(errors.ConfigError, match="reference previous"):
        transfer.stylize(
            PHOTO, PAINTING, start=keep.snapshots[2], references={"previous": pixels(9)}
        )


# Weights are tensors.


def test_other_weights_trace_nothing_and_change_no_bit(monkeypatch):
    """Of a transfer, its regions, and a slider: one trace for all."""
    traced, value = [], objective.Objective.value
    monkeypatch.setattr(
        objective.Objective, "value", lambda *given: traced.append(1) or value(*given)
    )
    transfer = nst_tf.StyleTransfer(SETTINGS)
    first = np.asarray(transfer.stylize(PHOTO, PAINTING))
    assert len(traced) == 1
    changes = {"style_weight": 3.0, "content_weight": 0.7, "steps": (2, 2), "init": "style"}
    moved = np.asarray(transfer.replace(**changes).stylize(PHOTO, PAINTING))
    again = np.asarray(transfer.stylize(PHOTO, PAINTING))
    assert len(traced) == 1
    np.testing.assert_array_equal(again, first)
    fresh = np.asarray(nst_tf.stylize(PHOTO, PAINTING, SETTINGS.replace(**changes)))
    np.testing.assert_array_equal(moved, fresh)
    assert np.abs(moved - first).max() > 0.01


@pytest.mark.parametrize("style_loss", ["neighbours", "neighbour_columns"])
def test_another_strength_keeps_the_structure_and_changes_no_bit(style_loss):
    """Strength moves `match_share`, which the matches of the second level depend on."""
    settings = SETTINGS.replace(
        style_loss=style_loss, match_layers=SETTINGS.style_layers, steps=(1, 1)
    )
    transfer = nst_tf.StyleTransfer(settings.replace(strength=0.2))
    transfer.stylize(PHOTO, PAINTING)
    stronger = settings.replace(strength=0.7)
    one, other = (
        objective.Objective.from_config(each, transfer.backbone, [1.0]).structure
        for each in (transfer.config, stronger)
    )
    assert one == other
    moved = np.asarray(transfer.replace(strength=0.7).stylize(PHOTO, PAINTING))
    fresh = np.asarray(nst_tf.stylize(PHOTO, PAINTING, stronger))
    np.testing.assert_array_equal(moved, fresh)


def test_masks_of_as_many_regions_share_a_trace(monkeypatch):
    traced, value = [], objective.Objective.value
    monkeypatch.setattr(
        objective.Objective, "value", lambda *given: traced.append(1) or value(*given)
    )
    transfer = nst_tf.StyleTransfer(SETTINGS)
    for share in (10, 30):
        region = np.zeros((40, 48, 3), np.uint8)
        region[:share] = 255
        transfer.stylize(PHOTO, PAINTING, content_mask=region)
    assert len(traced) == 1


def test_another_network_is_built_where_it_is_asked_for():
    transfer = nst_tf.StyleTransfer(SETTINGS)
    assert transfer.replace(steps=(1, 1)).backbone is transfer.backbone
    other = transfer.replace(pooling="max")
    assert other.backbone is not transfer.backbone
    deeper = transfer.replace(style_layers=("block3_conv1",))
    assert "block3_conv1" in deeper.backbone.output


# Losses as objects, and the weight of each.


def test_a_loss_may_be_an_object():
    named = run(SETTINGS.replace(style_loss="moments"))
    np.testing.assert_array_equal(run(SETTINGS.replace(style_loss=losses.Moments())), named)


def test_each_loss_has_its_weight(network):
    settings = SETTINGS.replace(style_loss={"gram": 2, "moments": 0.5}, style_weight=3)
    assert settings.style_loss == "gram:2+moments:0.5"
    found = {
        term.name: term.weight
        for term in objective.Objective.from_config(settings, network).terms
        if term.name.startswith("style")
    }
    assert found == {
        f"style/{name}/{layer}": 3 * factor / 2
        for name, factor in (("gram", 2), ("moments", 0.5))
        for layer in LAYERS
    }


@pytest.mark.parametrize("loss", [losses.Laplacian, lambda size: losses.Laplacian(size=size)])
def test_two_losses_of_one_class_both_count(network, loss):
    settings = SETTINGS.replace(content_loss={losses.Laplacian(size=2): 1, loss(size=4): 2})
    found = objective.Objective.from_config(settings, network)
    sizes = {term.name: term.loss.size for term in found.terms if term.name.startswith("content")}
    assert sizes == {"content/Laplacian": 2, "content/Laplacian 2": 4}


def test_terms_of_one_name_are_refused(network):
    with pytest.raises(errors.ConfigError, match="several terms named a"):
        objective.Objective(network, [objective.Term("a", "image", losses.Gram(), 1.0)] * 2)


def test_an_object_that_has_changed_is_another_one():
    """As are two that differ in a function alone."""
    loss = losses.Laplacian(size=2)
    transfer = nst_tf.StyleTransfer(SETTINGS.replace(content_loss=loss))
    first = np.asarray(transfer.stylize(PHOTO, PAINTING))
    changed = losses.Laplacian(size=6)
    loss.size, loss.neighbourhood = changed.size, changed.neighbourhood
    found = np.asarray(transfer.stylize(PHOTO, PAINTING))
    np.testing.assert_array_equal(found, run_of_one(SETTINGS.replace(content_loss=changed)))
    assert np.abs(found - first).max() > 1e-3


def run_of_one(settings: nst_tf.StyleTransferConfig) -> np.ndarray:
    return np.asarray(nst_tf.stylize(PHOTO, PAINTING, settings))


class WithFunction(losses.Gram):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function


def test_functions_are_told_apart_and_those_without_a_name_are_refused():
    assert WithFunction(np.sin) == WithFunction(np.sin)
    assert WithFunction(pixels) != WithFunction(nearest)
    for function in (lambda values: values, functools.partial(np.power, 2)):
        with pytest.raises(errors.ConfigError, match=r"named function|by name"):
            SETTINGS.replace(style_loss=WithFunction(function))


@pytest.mark.parametrize("weight", [1e6, 1e300, 1 / 3, 1e-7, 1000001.0])
def test_weights_are_kept_as_they_are(weight):
    settings = SETTINGS.replace(style_loss={"gram": weight, "moments": 1})
    assert settings.style_losses == {"gram": weight, "moments": 1.0}
    assert SETTINGS.replace(style_loss=settings.style_loss).style_losses == settings.style_losses


def test_spaces_in_a_choice_of_losses_mean_nothing():
    assert SETTINGS.replace(style_loss="gram : 2 + moments : .5").style_losses == {
        "gram": 2.0,
        "moments": 0.5,
    }


def test_joined_names_share_the_weight_alike():
    assert SETTINGS.replace(style_loss="gram+swd").style_losses == {"gram": 0.5, "swd": 0.5}


def test_objects_and_names_are_recorded_and_only_a_program_repeats_them():
    mixed = SETTINGS.replace(content_loss={losses.Laplacian(size=8): 1, "features": 0.5})
    written = mixed.to_dict()["content_loss"]
    assert written == "Laplacian(normalization='relative', size=8):1+features:0.5"
    with pytest.raises(errors.ConfigError, match=r"Laplacian\(.*size=8\).*program"):
        nst_tf.StyleTransferConfig.from_dict(mixed.to_dict())


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"gram": 0}, "gram the weight 0.*above 0"),
        ({"gram": float("nan")}, "gram the weight nan"),
        ({"gram": 10**400}, "gram the weight inf"),
        ({"gram": True}, "mapping"),
        ({}, "mapping"),
        (3, "style_loss is 3"),
        ("gram:x", "number after each colon"),
        ("gram:1+gram:2", "gram twice"),
        ({"grm": 1}, "Did you mean 'gram'"),
    ],
)
def test_what_is_no_choice_of_losses_is_refused(value, said):
    with pytest.raises(errors.ConfigError, match=said):
        SETTINGS.replace(style_loss=value)


def test_the_start_may_be_handed_over():
    """As if the config named its file."""
    start = pixels(7)
    found = np.asarray(nst_tf.stylize(PHOTO, PAINTING, SETTINGS, init=start))
    assert np.abs(found - run(SETTINGS)).max() > 0.01
    other = np.asarray(nst_tf.stylize(PHOTO, PAINTING, SETTINGS, init=1 - start))
    assert np.abs(found - other).max() > 0.01


# Parts that a program hands in, and what is recorded of them.


def small_network() -> nst_tf.Backbone:
    image = keras.Input((None, None, 3))
    shrunk = keras.layers.Conv2D(8, 3, strides=4, padding="same", name="shrunk")(image)
    deep = keras.layers.Conv2D(8, 3, activation="relu", padding="same", name="deep")(shrunk)
    return nst_tf.Backbone.from_keras(keras.Model(image, deep, name="small"), ["shrunk", "deep"])


SMALL = {"content_layers": "deep", "style_layers": "shrunk,deep", "image_size": 80, "levels": 0}


def test_a_backbone_may_be_an_object_in_the_config():
    network = small_network()
    settings = SETTINGS.replace(**{**SMALL, "steps": 3}, backbone=network)
    assert settings.to_dict()["backbone"] == "custom"
    found = nst_tf.stylize(PHOTO, PAINTING, settings)
    handed_in = nst_tf.StyleTransfer(
        SETTINGS.replace(**{**SMALL, "steps": 3}, backbone="custom"), network
    )
    np.testing.assert_array_equal(found, handed_in.stylize(PHOTO, PAINTING))
    assert found.network["name"] == "small" and len(found.network["sha256"]) == 64


def test_a_job_takes_the_levels_of_the_network_that_is_handed_in(tmp_path):
    settings = SETTINGS.replace(**{**SMALL, "steps": 3}, backbone=small_network())
    Image.fromarray(np.uint8(PHOTO * 255)).save(tmp_path / "photo.png")
    paths = jobs.Paths(str(tmp_path / "photo.png"), [str(tmp_path / "photo.png")])
    outcome = jobs.run(jobs.Job(paths, settings))
    assert outcome.status == "done", outcome.reason
    engine = nst_tf.StyleTransfer(settings)
    expected = engine.stylize(tmp_path / "photo.png", tmp_path / "photo.png")
    assert list(outcome.levels) == list(expected.levels)
    np.testing.assert_array_equal(outcome.picture, expected)


def test_a_network_that_is_handed_in_is_kept_or_its_settings_are_refused():
    network = small_network()
    custom = SETTINGS.replace(**{**SMALL, "steps": 2}, backbone="custom")
    transfer = nst_tf.StyleTransfer(custom, network)
    assert transfer.replace(seed=3).backbone is network
    assert transfer.replace(pooling="max").backbone is network
    again = nst_tf.StyleTransfer(transfer.stylize(PHOTO, PAINTING).config, network)
    assert again.config == transfer.config
    with pytest.raises(errors.ConfigError, match="small exposes"):
        transfer.replace(style_layers="other")


def test_a_custom_network_that_nobody_hands_in_is_refused():
    with pytest.raises(errors.ConfigError, match=r"backbone=custom.*there is none"):
        nst_tf.stylize(PHOTO, PAINTING, SETTINGS.replace(backbone="custom"))


def test_a_network_without_layers_is_refused():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Conv2D(4, 3, name="only")(image))
    with pytest.raises(errors.ConfigError, match="layers is empty"):
        nst_tf.Backbone.from_keras(model, [])
    assert "only" in nst_tf.Backbone.from_keras(model, "only").output


@pytest.mark.parametrize("value", [3, nst_tf.Backbone, object()])
def test_what_is_no_backbone_is_refused(value):
    with pytest.raises(errors.ConfigError, match=r"backbone is .*expected a name.*from_keras"):
        SETTINGS.replace(backbone=value)


def test_an_objective_is_recorded_and_only_its_program_repeats_it(network, tmp_path):
    transfer = nst_tf.StyleTransfer(SETTINGS, objective=warping(network))
    result = transfer.stylize(PHOTO, PAINTING, references={"previous": PHOTO})
    said = "Warped(normalization='sum') at image, weight 1"
    assert result.recipe["objective"] == {"previous": said}
    path = result.save(tmp_path / "found.png")
    with pytest.raises(errors.ConfigError, match=r"objective of its own.*Warped"):
        recipe.settings(recipe.load(str(path)), ())


def test_another_objective_is_another_run(network):
    keep = Keep()
    transfer = nst_tf.StyleTransfer(SETTINGS, objective=warping(network))
    transfer.stylize(PHOTO, PAINTING, [keep], references={"previous": PHOTO})
    heavier = objective.Objective(
        network, [objective.Term("previous", "image", Warped("sum"), 2.0)]
    )
    other = nst_tf.StyleTransfer(SETTINGS, objective=heavier)
    with pytest.raises(errors.ConfigError, match="weight 2"):
        other.stylize(PHOTO, PAINTING, start=keep.snapshots[0], references={"previous": PHOTO})


def test_a_checkpoint_on_disk_goes_on_with_an_objective(network, tmp_path):
    transfer = nst_tf.StyleTransfer(SETTINGS, objective=warping(network))
    keep = Keep()
    expected = transfer.stylize(PHOTO, PAINTING, [keep], references={"previous": PAINTING})
    snapshot.write(keep.snapshots[2], tmp_path / "checkpoint-000003")
    start = snapshot.read(tmp_path / "checkpoint-000003")
    found = transfer.stylize(PHOTO, PAINTING, start=start, references={"previous": PAINTING})
    np.testing.assert_array_equal(found, expected)


def test_circular_pictures_are_the_same_by_every_way():
    """The paintings are not, so that they are looked at through another network."""
    settings = SETTINGS.replace(padding="circular", image_size=64)
    expected = nst_tf.stylize(PHOTO, PAINTING, settings)
    handed_in = nst_tf.StyleTransfer(settings, nst_tf.StyleTransfer(settings).backbone)
    np.testing.assert_array_equal(handed_in.stylize(PHOTO, PAINTING), expected)
