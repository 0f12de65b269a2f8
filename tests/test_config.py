"""Settings: what is refused and in which words, and how they travel as flags and as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_tf import config as configs
from nst_tf import errors, flags, layers, sizes

Config = configs.StyleTransferConfig
FIELDS = [field for owner in flags.ALL for field in dataclasses.fields(owner)]
ROOT = Path(__file__).parents[1]

WEIGHTS = st.floats(0, 1e6, allow_subnormal=False)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=20)


def _joined(known) -> st.SearchStrategy[str]:
    names = st.lists(st.sampled_from(list(known)), min_size=1, max_size=3, unique=True)
    return names.map("+".join)


def _whole(*names: str) -> bool:
    return bool(set("+".join(names).split("+")) & set(configs.WHOLE_LOSSES))


def _common(losses, known) -> st.SearchStrategy[str]:
    """The normalisations that all of the joined losses have."""
    common = set.intersection(*(set(known[name]) for name in losses.split("+")))
    return st.sampled_from(sorted(common))


@st.composite
def valid_configs(draw: st.DrawFn) -> Config:
    backbone = draw(st.sampled_from(configs.BACKBONES))
    names = layers.names("vgg19" if backbone == "auto" else backbone)
    some = st.lists(st.sampled_from(names), unique=True, max_size=4).map(tuple)
    style_layers = draw(some)
    count = draw(st.sampled_from([0, 1, len(style_layers)]))
    content_loss = draw(_joined(configs.CONTENT_NORMALIZATIONS))
    style_loss = draw(_joined(configs.STYLE_NORMALIZATIONS))
    return Config(
        image_size=draw(st.integers(0, 10_000)),
        style_scale=draw(st.floats(1e-3, 100)),
        levels=draw(st.integers(0, 9)),
        steps=draw(st.lists(st.integers(1, 10_000), max_size=4).map(tuple)),
        init=draw(st.sampled_from(configs.INITIALISATIONS) | TEXTS.filter(bool)),
        seed=draw(st.integers(0, 2**40)),
        content_weight=draw(WEIGHTS),
        style_weight=draw(WEIGHTS),
        tv_weight=draw(st.floats(1e-9, 1e6)),  # Above 0, so that there is an objective.
        tv_form=draw(st.sampled_from(configs.TV_FORMS)),
        tv_normalization=draw(st.sampled_from(["mean", "sum"])),
        content_loss=content_loss,
        content_normalization=draw(_common(content_loss, configs.CONTENT_NORMALIZATIONS)),
        style_loss=style_loss,
        style_normalization=draw(_common(style_loss, configs.STYLE_NORMALIZATIONS)),
        content_style_ratio=draw(WEIGHTS),
        activation_scale=draw(st.sampled_from(["own", "caffe", "torchvision", "unit"])),
        rate_decay=draw(st.floats(1e-3, 1)),
        final_rate=draw(st.floats(1e-3, 1)),
        pixel_range=draw(st.sampled_from([1.0, 255.0])),
        clip_pixels=draw(st.booleans()),
        adam_beta_1=draw(st.floats(0, 0.999)),
        adam_beta_2=draw(st.floats(0, 0.999)),
        adam_epsilon=draw(WEIGHTS),
        adam_epsilon_hat=draw(WEIGHTS),
        average=draw(st.floats(0, 0.999)),
        content_layers=draw(some),
        style_layers=style_layers,
        style_layer_weights=tuple(draw(st.lists(WEIGHTS, min_size=count, max_size=count))),
        backbone=backbone,
        weights=draw(TEXTS),
        pooling=draw(st.sampled_from(["max", "avg"])),
        optimizer=draw(st.sampled_from(configs.OPTIMIZERS)),
        learning_rate=draw(WEIGHTS),
        lbfgs_history=draw(st.integers(1, 100)),
        device=draw(TEXTS),
        strength=draw(st.floats(0, 1)),
        style_blend=tuple(draw(st.lists(st.floats(0.1, 9), max_size=3))),
        padding=draw(st.sampled_from(["zeros", "reflect", "replicate"])),
        outside=draw(st.sampled_from(configs.OUTSIDES)),
        color=draw(st.sampled_from(["style", "match"])),
        color_space=draw(st.sampled_from(configs.COLOR_SPACES)),
        color_method=draw(st.sampled_from(configs.COLOR_METHODS)),
        precision=draw(st.sampled_from(["float32", "bfloat16"])),
        tile_size="auto"
        if _whole(content_loss, style_loss)
        else draw(st.sampled_from(["auto", "0", "512"])),
        memory_limit=draw(st.sampled_from(["auto", "4GB", "800 mb"])),
        jit_compile=draw(st.booleans()),
        run_eagerly=draw(st.booleans()),
        max_pixels=draw(st.integers(1, 10**12)),
    )


def parse(*arguments: str) -> Config:
    values = flags.define(*flags.ALL)
    flags.parse(values, ["program", *arguments])
    return flags.to_dataclass(values, Config)


def as_flags(config: Config) -> list[str]:
    """Writes a config by the rules that --help states, by hand."""
    arguments = []
    for name, value in dataclasses.asdict(config).items():
        if isinstance(value, bool):
            arguments.append(f"--{name}" if value else f"--no{name}")
        elif isinstance(value, tuple):
            arguments.append(f"--{name}={','.join(map(str, value))}")
        else:
            arguments.append(f"--{name}={value}")
    return arguments


# Validation.


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image_size": -1}, ["image_size", "-1", "0 or"]),
        ({"image_size": 1.5}, ["image_size", "1.5", "whole number"]),
        ({"image_size": "64"}, ["image_size", "'64'", "whole number"]),
        ({"image_size": True}, ["image_size", "True", "whole number"]),
        ({"style_scale": 0}, ["style_scale", "0", "above 0"]),
        ({"style_scale": math.nan}, ["style_scale", "nan", "above 0"]),
        ({"style_scale": math.inf}, ["style_scale", "inf", "above 0"]),
        ({"levels": -2}, ["levels", "-2", "0 (automatic)"]),
        ({"steps": 0}, ["steps", "0", "above 0"]),
        ({"steps": (5, -5)}, ["steps", "-5", "above 0"]),
        ({"steps": (5, 1.5)}, ["steps", "1.5", "whole number"]),
        ({"init": ""}, ["init", "content, noise, style, gray", "path"]),
        ({"seed": -1}, ["seed", "-1"]),
        ({"content_weight": -1.0}, ["content_weight", "-1.0", "0 or above"]),
        ({"content_weight": math.nan}, ["content_weight", "nan", "finite"]),
        ({"style_weight": math.inf}, ["style_weight", "inf", "finite"]),
        ({"style_weight": "10"}, ["style_weight", "'10'", "a number"]),
        ({"tv_weight": -math.inf}, ["tv_weight", "-inf", "finite"]),
        ({"tv_form": "square"}, ["tv_form", "'square'", "squared, absolute", "Did you mean"]),
        ({"content_layers": "conv9_9"}, ["block9_conv9", "block4_conv2"]),
        ({"style_layers": ("conv1_1", "relu1_1")}, ["style_layers", "block1_conv1 twice"]),
        ({"style_layers": ("blok2_conv1",)}, ["blok2_conv1", "Did you mean 'block2_conv1'"]),
        ({"backbone": "vgg16", "content_layers": "conv3_4"}, ["vgg16", "block3_conv4"]),
        ({"style_layer_weights": (1.0, 2.0)}, ["style_layer_weights", "2 numbers", "5 style"]),
        ({"style_loss": "w2", "style_normalization": "gatys"}, ["'gatys'", "relative, mean", "w2"]),
        ({"style_loss": "grm"}, ["style_loss", "'grm'", "gram, moments", "Did you mean 'gram'"]),
        ({"style_loss": "gram+gram"}, ["style_loss names gram twice"]),
        ({"style_loss": "gram+"}, ["style_loss", "''", "gram, moments"]),
        ({"content_loss": "laplace"}, ["content_loss", "'laplace'", "Did you mean 'laplacian'"]),
        (
            {"content_loss": "features+self_similarity", "content_normalization": "gatys"},
            ["content_normalization", "relative, strotss", "self_similarity"],
        ),
        (
            {"style_loss": "gram+remd", "tile_size": "256"},
            ["style_loss=gram+remd", "as a whole", "tile_size=256"],
        ),
        (
            {"content_loss": "self_similarity", "tile_size": "256"},
            ["content_loss=self_similarity", "as a whole"],
        ),
        ({"content_style_ratio": -1.0}, ["content_style_ratio", "-1.0"]),
        ({"adam_beta_1": 1.0}, ["adam_beta_1", "1.0", "below 1"]),
        ({"rate_decay": 0.0}, ["rate_decay", "0.0", "above 0"]),
        ({"pixel_range": 0.0}, ["pixel_range", "0.0", "255"]),
        ({"style_layers": "conv1_1", "style_layer_weights": -1.0}, ["style_layer_weights", "-1"]),
        ({"style_layers": "conv1_1", "style_layer_weights": math.nan}, ["style_layer_weights"]),
        ({"backbone": "vgg"}, ["backbone", "'vgg'", "auto, vgg16, vgg19", "Did you mean"]),
        ({"pooling": "mean"}, ["pooling", "'mean'", "max, avg"]),
        ({"optimizer": "sgd"}, ["optimizer", "'sgd'", "adam", "lbfgs"]),
        ({"learning_rate": -0.1}, ["learning_rate", "-0.1"]),
        ({"lbfgs_history": 0}, ["lbfgs_history", "0", "at least 1"]),
        ({"precision": "float16"}, ["precision", "'float16'", "float32, bfloat16"]),
        ({"jit_compile": 1}, ["jit_compile", "1", "true or false"]),
        ({"device": 0}, ["device", "0", "text"]),
        ({"max_pixels": 0}, ["max_pixels", "0", "at least 1"]),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_invalid_setting_is_refused_in_words(settings: dict[str, object], words: list[str]):
    with pytest.raises(errors.ConfigError) as caught:
        Config(**settings)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"content_weight": 0, "style_weight": 0, "tv_weight": 0},
        {"content_weight": 0, "style_layers": (), "style_layer_weights": ()},
        {"style_weight": 0, "content_layers": ()},
        {"content_weight": 0, "style_layers": "conv1_1", "style_layer_weights": 0.0},
    ],
)
def test_nothing_to_optimise_is_refused(settings: dict[str, object]):
    with pytest.raises(errors.ConfigError, match="nothing to optimise"):
        Config(**{"tv_weight": 0, **settings})
    assert Config(**{**settings, "tv_weight": 1}).tv_weight == 1


def test_strength_of_a_half_changes_nothing():
    config = Config(content_style_ratio=0.2)
    assert config.balanced is config


def test_strength_leans_from_content_to_style():
    gentle, strong = (Config(strength=strength).balanced for strength in (0.25, 0.75))
    assert gentle.content_weight == pytest.approx(1.5**2)
    assert gentle.style_weight == pytest.approx(10 * 0.5**2)
    assert gentle.init_noise == 0.25
    assert (strong.content_weight, strong.style_weight) == (
        pytest.approx(0.5**2), pytest.approx(10 * 1.5**2),
    )  # fmt: skip
    assert strong.init_noise == 0.5
    assert strong.balanced is strong


def test_strength_ends_in_the_photo_and_in_style_alone():
    assert Config(strength=0).balanced.style_weight == 0
    assert Config(strength=0).balanced.init_noise == 0
    assert Config(strength=1).balanced.content_weight == 0
    with pytest.raises(errors.ConfigError, match="nothing to optimise"):
        Config(strength=1, style_weight=0)


def test_strength_keeps_a_ratio():
    balanced = Config(strength=0.25, content_style_ratio=0.1).balanced
    assert balanced.content_weight == pytest.approx(0.1 * 10 * 1.5**2)


def test_config_error_is_a_value_error_for_status_2():
    with pytest.raises(ValueError) as caught:
        Config(levels=-1)
    assert caught.value.exit_status == 2


def test_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 3


def test_config_takes_no_positional_arguments():
    with pytest.raises(TypeError):
        Config(512)


def test_replace_checks_anew_and_leaves_the_original():
    config = Config(seed=1)
    assert config.replace(seed=2).seed == 2 and config.seed == 1
    with pytest.raises(errors.ConfigError, match="seed"):
        config.replace(seed=-1)


def test_list_and_single_value_become_a_tuple():
    config = Config(steps=7, style_layers=["conv1_1", "conv2_1"], content_layers="conv4_2")
    assert config.steps == (7,)
    assert config.style_layers == ("conv1_1", "conv2_1")
    assert config.content_layers == ("conv4_2",)


def test_whole_number_becomes_the_float_of_its_field():
    assert isinstance(Config(style_weight=3).style_weight, float)


# JSON.


@settings(max_examples=50)
@given(config=valid_configs())
def test_config_survives_json(config: Config):
    text = json.dumps(config.to_dict(), allow_nan=False)
    assert Config.from_dict(json.loads(text)) == config


def test_dict_of_unknown_setting_is_refused_with_the_nearest():
    with pytest.raises(errors.ConfigError, match=r"stile_weight.*Did you mean 'style_weight'"):
        Config.from_dict({"stile_weight": 1.0})


# Flags.


@settings(max_examples=50, deadline=None)
@given(config=valid_configs())
def test_command_line_gives_the_config_back(config: Config):
    assert parse(*as_flags(config)) == config


def test_no_flags_give_the_defaults():
    assert parse() == Config()


def test_given_flags_overrule_other_defaults_and_no_more():
    values = flags.define(*flags.ALL)
    flags.parse(values, ["program", "--seed=5", "--nojit_compile"])
    config = flags.to_dataclass(values, Config, seed=1, levels=2, jit_compile=True)
    assert config == Config(seed=5, levels=2, jit_compile=False)


def test_flagfile_is_read(tmp_path: Path):
    file = tmp_path / "settings.txt"
    file.write_text("# A comment.\n--style_weight=3.5\n--steps=4,2\n--jit_compile\n")
    config = parse(f"--flagfile={file}", "--steps=9")
    assert config == Config(style_weight=3.5, steps=(9,), jit_compile=True)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--stile_weight=1", ["--stile_weight", "Did you mean --style_weight?", "--help"]),
        ("--image-size=64", ["--image-size", "Did you mean --image_size?"]),
        ("--zzzzzz=1", ["--zzzzzz", "--help"]),
        ("--image_size=big", ["image_size", "big", "whole number"]),
        ("--image_size=1.5", ["image_size", "1.5", "whole number"]),
        ("--image_size", ["image_size"]),
        ("--steps=3,x", ["steps", "3,x", "whole numbers separated by commas"]),
        ("--style_weight=heavy", ["style_weight", "heavy", "a number"]),
        ("--jit_compile=perhaps", ["jit_compile", "perhaps"]),
        ("photo.jpg", ["photo.jpg", "--name=value"]),
        ("--flagfile=missing.txt", ["missing.txt"]),
        ("--flagfile=.", ["flagfile", "'.'"]),
    ],
)
def test_unreadable_command_line_is_refused_in_one_sentence(argument: str, words: list[str]):
    with pytest.raises(errors.ConfigError) as caught:
        parse(argument)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_flagfile_that_is_no_text_is_refused(content_path: Path):
    with pytest.raises(errors.ConfigError):
        parse(f"--flagfile={content_path}")


# Help.


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_help_shows_every_field_in_its_group(field: dataclasses.Field):
    sections = flags.help_text("program", *flags.ALL).split("\n\n")
    section = next(part for part in sections if part.startswith(field.metadata["group"] + ":"))
    flag = f"--[no]{field.name}" if isinstance(field.default, bool) else f"--{field.name}=..."
    assert f"  {flag}\n      {field.metadata['help']}" in section


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_field_has_a_help_of_its_own(field: dataclasses.Field):
    assert len(field.metadata["help"]) > 10
    assert [other.metadata["help"] for other in FIELDS].count(field.metadata["help"]) == 1
    for choice in field.metadata["choices"]:
        assert choice in field.metadata["help"]


def test_no_two_fields_share_a_flag():
    names = [field.name for field in FIELDS]
    assert len(set(names)) == len(names)


# Imports.


@pytest.mark.parametrize(
    "module", ["nst_tf", "nst_tf.config", "nst_tf.flags", "nst_tf.images", "nst_tf.cli"]
)
def test_import_needs_no_tensorflow(module: str):
    program = f"import sys, {module}; print({{'tensorflow', 'keras'}} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"


def test_smoothed_gradients_do_not_go_with_circular_padding():
    circular = configs.StyleTransferConfig(padding="circular", content_weight=0.0)
    with pytest.raises(errors.ConfigError, match="lbfgs_octaves"):
        circular.replace(lbfgs_octaves=4)


# Strength is worked in once.


def test_what_strength_comes_to_is_no_part_of_the_settings():
    given = Config(strength=0.7, style_weight=3.0)
    again = Config.from_dict(json.loads(json.dumps(given.to_dict())))
    assert given.balanced is given.balanced
    assert given == again and hash(given) == hash(again) and len({given, again}) == 1
    assert pickle.loads(pickle.dumps(given)) == given
    assert set(given.to_dict()) == {field.name for field in dataclasses.fields(Config)}
    assert given.balanced.style_weight == pytest.approx(3 * 1.4**2)
    other = given.replace(strength=0.9)
    assert other.balanced.style_weight == pytest.approx(3 * 1.8**2)
    assert given.replace(strength=0.5).balanced.style_weight == 3


def test_a_style_is_never_larger_than_the_largest_picture_accepted():
    with pytest.raises(errors.ConfigError, match=r"style would be 51200x38400.*style_scale"):
        sizes.plan(Config(style_scale=100), (300, 400), [(300, 400)])
    sizes.plan(Config(style_scale=12), (300, 400), [(300, 400)])
