"""Settings: what is refused and in which words, and how they travel as flags and as JSON."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_tf import config as configs
from nst_tf import errors, optimizers, presets
from nst_tf.commands import flags
from nst_tf.commands.options import FileOptions
from nst_tf.config import vgg_layers
from nst_tf.imaging import images, pyramid

Config = configs.StyleTransferConfig
FIELDS = [field for owner in flags.ALL for field in dataclasses.fields(owner)]
ROOT = Path(__file__).parents[2]

WEIGHTS = st.floats(0, 1e6, allow_subnormal=False)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=20)


PATHS = st.text(
    st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters="*?[~,:"), max_size=20
)
"""Texts that a flag takes for the path of one file."""


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
    names = vgg_layers.names("vgg19" if backbone == "auto" else backbone)
    some = st.lists(st.sampled_from(names), unique=True, max_size=4).map(tuple)
    style_layers = draw(some)
    count = draw(st.sampled_from([0, 1, len(style_layers)]))
    factors = tuple(draw(st.lists(WEIGHTS, min_size=count, max_size=count)))
    styled = bool(style_layers) and (not factors or any(factors))
    content_loss = draw(_joined(configs.CONTENT_NORMALIZATIONS))
    style_loss = draw(_joined(configs.STYLE_NORMALIZATIONS))
    ratio = draw(st.just(0.0) | st.floats(1e-6, 1e6))
    return Config(
        image_size=draw(st.integers(0, 10_000)),
        style_scale=draw(st.floats(1e-3, 100)),
        levels=draw(st.integers(0, 9)),
        level_factor=draw(st.floats(1.1, 16)),
        coarsest=draw(st.integers(1, 10_000)),
        steps=draw(st.lists(st.integers(1, 10_000), max_size=4).map(tuple)),
        init=draw(st.sampled_from(configs.INITIALISATIONS) | PATHS.filter(bool)),
        seed=draw(st.integers(0, 2**40)),
        # Above 0, so that there is an objective.
        content_weight=Config.content_weight if ratio else draw(st.floats(1e-9, 1e6)),
        style_weight=draw(st.floats(1e-9, 1e6)),
        tv_weight=draw(WEIGHTS),
        tv_form=draw(st.sampled_from(configs.TV_FORMS)),
        tv_normalization=draw(st.sampled_from(["mean", "sum"])),
        content_loss=content_loss,
        content_normalization=draw(_common(content_loss, configs.CONTENT_NORMALIZATIONS)),
        style_loss=style_loss,
        style_normalization=draw(_common(style_loss, configs.STYLE_NORMALIZATIONS)),
        content_style_ratio=ratio,
        activation_scale=draw(st.sampled_from(["own", "caffe", "torchvision", "unit"])),
        content_decay=draw(st.floats(0.01, 1)),
        finest_rate=draw(st.floats(0.01, 1)),
        rate_decay=draw(st.floats(1e-3, 1)),
        final_rate=draw(st.floats(1e-3, 1)),
        pixel_range=draw(st.sampled_from([1.0, 255.0])),
        clip_pixels=draw(st.booleans()),
        adam_beta_1=draw(st.floats(0, 0.999)),
        adam_beta_2=draw(st.floats(0, 0.999)),
        adam_epsilon=draw(WEIGHTS),
        adam_epsilon_hat=draw(WEIGHTS),
        average=draw(st.floats(0, 0.999)),
        content_layers=draw(some.filter(bool)),
        style_layers=style_layers,
        style_layer_weights=factors,
        backbone=backbone,
        weights=draw(PATHS),
        pooling=draw(st.sampled_from(["max", "avg"])),
        optimizer=draw(st.sampled_from(configs.OPTIMIZERS)),
        learning_rate=draw(WEIGHTS),
        lbfgs_history=draw(st.integers(1, 100)),
        laplacian_bands=draw(st.integers(0, 16)),
        device=draw(TEXTS),
        strength=draw(st.floats(0, 1 if styled else 0.99)),  # At 1 there is no content loss.
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
        ({"image_size": "big"}, ["image_size", "'big'", "whole number"]),
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
        ({"style_weight": "heavy"}, ["style_weight", "'heavy'", "a number"]),
        ({"tv_weight": -math.inf}, ["tv_weight", "-inf", "finite"]),
        ({"tv_form": "square"}, ["tv_form", "'square'", "squared, absolute", "Did you mean"]),
        ({"content_layers": "conv9_9"}, ["block9_conv9", "block4_conv2"]),
        ({"style_layers": ("conv1_1", "relu1_1")}, ["style_layers", "block1_conv1 twice"]),
        ({"style_layers": ("blok2_conv1",)}, ["blok2_conv1", "Did you mean 'block2_conv1'"]),
        ({"backbone": "vgg16", "content_layers": "conv3_4"}, ["vgg16", "block3_conv4"]),
        ({"style_layer_weights": (1.0, 2.0)}, ["style_layer_weights", "2 numbers", "4 style"]),
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
        {"content_weight": 0, "style_weight": 0},
        {"content_weight": 0, "style_layers": (), "style_layer_weights": ()},
        {"style_weight": 0, "content_layers": ()},
        {"content_weight": 0, "style_layers": "conv1_1", "style_layer_weights": 0.0},
    ],
)
def test_nothing_to_optimise_is_refused(settings: dict[str, object]):
    """Total variation alone makes no picture."""
    with pytest.raises(errors.ConfigError, match="nothing to optimise"):
        Config(**settings)
    mended = {**settings, "content_weight": 1, "content_layers": "conv4_2"}
    assert Config(**mended).content_weight == 1


def test_strength_of_a_half_changes_nothing():
    config = Config(content_style_ratio=0.2)
    assert config.with_strength is config


def test_strength_leans_from_content_to_style():
    base = {"content_weight": 1.0, "style_weight": 10.0, "init_noise": 0.5}
    gentle, strong, most = (
        Config(strength=strength, **base).with_strength for strength in (0.25, 0.75, 1.0)
    )
    assert gentle.content_weight == pytest.approx(1.5**2)
    assert gentle.style_weight == pytest.approx(10 * 0.5**2)
    assert gentle.init_noise == 0.25
    assert gentle.match_share == 0.125
    assert (strong.content_weight, strong.style_weight) == (
        pytest.approx(0.5**2), pytest.approx(10 * 1.5**2),
    )  # fmt: skip
    assert strong.init_noise == 0.5
    assert (strong.match_share, most.match_share) == (0.375, 0.5)
    assert strong.with_strength is strong


def test_strength_ends_in_the_photo_and_in_style_alone():
    assert Config(strength=0).with_strength.style_weight == 0
    assert Config(strength=0).with_strength.init_noise == 0
    assert Config(strength=1).with_strength.content_weight == 0
    with pytest.raises(errors.ConfigError, match="nothing to optimise"):
        Config(strength=1, style_weight=0)


def test_strength_keeps_a_ratio():
    balanced = Config(strength=0.25, content_style_ratio=0.1).with_strength
    assert balanced.content_weight == pytest.approx(0.1 * 1.5**2)


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


@pytest.mark.parametrize("owners", [flags.ALL, flags.SWEEP])
def test_the_first_page_of_the_help_is_short_and_leads_to_the_rest(owners: tuple[type, ...]):
    page = flags.help_text("program", *owners, full=False)
    fields = [field for owner in owners for field in dataclasses.fields(owner)]
    shown = [name for name in re.findall(r"^  --(?:\[no\])?(\w+)", page, re.M)]
    assert [
        name for name in shown if name not in ("helpfull", "list_presets", "flagfile", "version")
    ] == [field.name for field in fields if field.metadata["first"]]
    assert {"content", "style", "output", "strength", "preset", "memory_limit"} <= set(shown)
    assert len(page.splitlines()) < 80
    assert f"--helpfull\n      show all {len(fields)} settings" in page
    assert configs.PUBLISHED not in page


def test_scales_of_published_recipes_have_a_group_of_their_own():
    """They are used by presets, or by nobody, and a plain run leaves them alone."""
    published = [field for field in FIELDS if field.metadata["group"] == configs.PUBLISHED]
    assert len(published) > 9
    assert not any(field.metadata["first"] for field in published)
    everything = flags.help_text("program", *flags.ALL)
    assert everything.index(configs.PUBLISHED) > everything.index("Machine:")


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
    "module",
    [
        "nst_tf",
        "nst_tf.config",
        "nst_tf.commands.flags",
        "nst_tf.imaging.images",
        "nst_tf.commands.stylize",
    ],
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


@pytest.mark.parametrize(
    "smooth", [{"lbfgs_octaves": 4}, {"optimizer": optimizers.LBFGS(octaves=4)}], ids=str
)
def test_smoothed_gradients_do_not_go_with_circular_padding(smooth):
    circular = configs.StyleTransferConfig(padding="circular", content_weight=0.0)
    with pytest.raises(errors.ConfigError, match="lbfgs_octaves"):
        circular.replace(**smooth)


# Objects in place of names.


class Walker:
    """Has the methods of an optimiser, and says nothing of itself."""

    def __init__(self, rate: object = 0.1) -> None:
        self.rate = rate

    def init(self, image, steps):
        return {}

    def update(self, image, state, evaluation):
        return image, state


class Secretive(Walker):
    def __init__(self, stride: float = 1.0) -> None:
        super().__init__(2 * stride)


def test_an_optimizer_object_is_held_as_it_is():
    walker = Walker(0.5)
    config = Config(optimizer=walker)
    assert config.optimizer is walker
    assert config.replace(seed=3).optimizer is walker
    assert (
        config.with_strength.optimizer
        is config.replace(strength=0.7).with_strength.optimizer
        is walker
    )


def test_configs_with_equal_objects_are_equal():
    one, other = (Config(optimizer=optimizers.Adam(0.05)) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != Config(optimizer=optimizers.Adam(0.06))
    assert one != Config(optimizer="adam")
    assert one != Config(optimizer=optimizers.SteepestDescent(0.05))


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (0.5, 0.5),
        (None, None),
        ((0.0, 1.0), [0.0, 1.0]),
        (np.float32(0.5), 0.5),
        (np.arange(3), [0, 1, 2]),
        ({"a": (1,)}, {"a": [1]}),
        (math.sqrt, "math.sqrt"),
        (Walker(2), {"class": "Walker", "settings": {"rate": 2}}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_object_is_recorded_by_its_class_and_its_settings(value, plain):
    found = Config(optimizer=Walker(value)).to_dict()["optimizer"]
    assert found == {"class": "Walker", "settings": {"rate": plain}}
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3, "optimizer is 3; expected text, or an object with init and update"),
        (object(), "an object of type object; expected text, or an object with init and update"),
        (Walker, "the class Walker; expected text, or an object with init and update"),
        (Secretive(), r"Secretive does not keep its argument stride.* set self\.stride"),
        ({"class": "Adam", "settings": {}}, "expected text, or an object"),
    ],
    ids=["number", "object", "class", "secretive", "description"],
)
def test_what_is_no_optimizer_is_refused(value, words):
    with pytest.raises(errors.ConfigError, match=words):
        Config(optimizer=value)


# Strength is worked in once.


def test_what_strength_comes_to_is_no_part_of_the_settings():
    given = Config(strength=0.7, style_weight=3.0)
    again = Config.from_dict(json.loads(json.dumps(given.to_dict())))
    assert given.with_strength is given.with_strength
    assert given == again and hash(given) == hash(again) and len({given, again}) == 1
    assert pickle.loads(pickle.dumps(given)) == given
    assert set(given.to_dict()) == {field.name for field in dataclasses.fields(Config)}
    assert given.with_strength.style_weight == pytest.approx(3 * 1.4**2)
    other = given.replace(strength=0.9)
    assert other.with_strength.style_weight == pytest.approx(3 * 1.8**2)
    assert given.replace(strength=0.5).with_strength.style_weight == 3


def test_a_style_is_never_larger_than_the_largest_picture_accepted():
    with pytest.raises(errors.ConfigError, match=r"style would be 51200x38400.*style_scale"):
        pyramid.plan(Config(style_scale=100), (300, 400), [(300, 400)])
    pyramid.plan(Config(style_scale=12), (300, 400), [(300, 400)])


# Values as people write them.


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"init": Path("a.png"), "weights": Path("b.h5")}, {"init": "a.png", "weights": "b.h5"}),
        ({"memory_limit": 4_000_000_000, "tile_size": 256}, {"memory_limit": "4000000000"}),
        ({"memory_limit": 4e9}, {"memory_limit": "4000000000"}),
        ({"content_style_ratio": "1/10"}, {"content_style_ratio": 0.1, "content_weight": 0.1}),
        ({"steps": "60,30"}, {"steps": (60, 30)}),
        ({"steps": ["60", 30]}, {"steps": (60, 30)}),
        ({"style_layers": "conv1_1, conv2_1"}, {"style_layers": ("conv1_1", "conv2_1")}),
        ({"image_size": "64", "max_pixels": "5000"}, {"image_size": 64, "max_pixels": 5000}),
        ({"jit_compile": "yes"}, {"jit_compile": True}),
    ],
)
def test_values_are_taken_as_flags_are(settings: dict[str, object], expected: dict[str, object]):
    config = Config(**settings)
    assert {name: getattr(config, name) for name in expected} == expected


def test_options_take_paths(tmp_path: Path):
    options = FileOptions(content=tmp_path / "a.png", style=[Path("b.png")])
    assert (options.content, options.style) == (str(tmp_path / "a.png"), ("b.png",))
    with pytest.raises(errors.ConfigError, match=r"content is 'a\\x00'; expected a path"):
        FileOptions(content="a\0")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.zeros((64, 64, 3)), "an object of type ndarray"),
        (b"a.png", "b'a.png'"),
        (None, "None"),
        (["a.png"], "['a.png']"),
    ],
    ids=["array", "bytes", "None", "list"],
)
def test_what_is_no_path_is_refused_in_a_sentence(value: object, words: str):
    with pytest.raises(errors.ConfigError) as caught:
        Config(init=value)
    assert str(caught.value) == f"init is {words}; expected text or a path."


@pytest.mark.parametrize(
    ("name", "digits"),
    [
        (field.name, digits)
        for field in dataclasses.fields(Config)
        for digits in (30, 400, 5000)
        if digits > 30 or isinstance(field.default, int)  # Of other types, that may be a value.
    ],
)
def test_numbers_of_any_length_are_refused_in_a_sentence(name: str, digits: int):
    number = 10**digits
    for value in (number, [number]):
        with pytest.raises(errors.ConfigError) as caught:
            Config(**{name: value})
        assert name in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("value", [True, False, {}, {"a": 1}, -1, "9" * 400, math.nan])
@pytest.mark.parametrize("name", ["tile_size", "memory_limit"])
def test_amounts_are_no_other_things(name: str, value: object):
    with pytest.raises(errors.ConfigError, match=name):
        Config(**{name: value})


# The weight of the content.


@pytest.mark.parametrize(
    "build",
    [
        lambda both: Config(**both),
        lambda both: Config.from_dict(both),
        lambda both: Config().replace(**both),
        lambda both: Config.preset("gatys2016", **both),
    ],
    ids=["constructor", "from_dict", "replace", "preset"],
)
def test_a_content_weight_beside_a_ratio_is_refused(build):
    with pytest.raises(errors.ConfigError, match=r"content_weight=5.* and content_style_ratio=0.1"):
        build({"content_weight": 5, "content_style_ratio": 0.1})


def test_the_last_way_to_weigh_the_content_counts():
    ratio = Config(content_style_ratio=0.1, style_weight=10)
    assert ratio.content_weight == 1.0
    weight = ratio.replace(content_weight=5)
    assert (weight.content_weight, weight.content_style_ratio) == (5.0, 0.0)
    assert weight.replace(content_style_ratio=0.2).content_weight == 2.0
    assert ratio.replace(style_weight=20).content_weight == 2.0
    assert ratio.replace(seed=1).content_weight == 1.0
    assert ratio.replace(style_weight=20).replace(content_style_ratio=0).content_weight == 2.0
    assert Config.from_dict(ratio.replace(style_weight=20).to_dict()).content_weight == 2.0


def test_replace_names_the_setting_that_was_meant():
    with pytest.raises(errors.ConfigError, match="Did you mean 'style_weight'"):
        Config().replace(stile_weight=1)


# Settings that another one switches off.


OBJECT = {"optimizer": optimizers.SteepestDescent()}
NEVER_OFF = {
    "image_size", "levels", "steps", "init", "strength", "content_layers",
    "style_layers", "outside", "color", "backbone", "optimizer",
    "device", "tile_size", "memory_limit", "run_eagerly", "max_pixels",
}  # fmt: skip

NO_STYLE = [{"style_weight": 0}, {"style_layers": ()}, {"strength": 0}]
GRAM = {"style_loss": "gram"}
MATCH = {"style_loss": "neighbours", "match_layers": ("conv1_1", "conv2_1")}
NO_MATCH = [GRAM, *NO_STYLE]
NO_CONTENT = [{"content_weight": 0}, {"content_layers": ()}, {"strength": 1}]
NO_ADAM = [{"optimizer": name} for name in configs.OPTIMIZERS if name != "adam"]
NO_ADAM += [OBJECT]
NO_BANDS = [each for each in NO_ADAM if each["optimizer"] != "rmsprop"]
NO_RATE = [each for each in NO_BANDS if each["optimizer"] != "gradient_descent"]
ADAM = {"optimizer": "adam"}
CUSTOM = {"backbone": "custom"}

OFF = {
    "level_factor": (3, [{"levels": 1}], {"levels": 2}),
    "coarsest": (
        12,
        [{"levels": 2}, {"levels": 0, "steps": (2, 2)}, {"levels": 0, "init": "PICTURE"}],
        {"levels": 0},
    ),
    "style_scale": (2, NO_STYLE, {}),
    "style_layer_weights": (2, NO_STYLE, {}),
    "style_blend": ((3, 1), [{**off, "color": "style"} for off in NO_STYLE], {}),
    "style_loss": ("swd", NO_STYLE, {}),
    "style_normalization": ("gatys", [{**off, **GRAM} for off in NO_STYLE], GRAM),
    "matches": (2, NO_MATCH, MATCH),
    "match_share": (0.9, NO_MATCH, {**MATCH, "matches": 2}),
    "match_orientations": ("upright", NO_MATCH, MATCH),
    "match_places": (3, NO_MATCH, MATCH),
    "match_evenness": (0.05, NO_MATCH, {**MATCH, "match_places": 9}),
    "match_layers": (("conv1_1",), NO_MATCH, MATCH),
    "style_weight": (5, NO_STYLE[1:], {}),
    "content_loss": ("laplacian", NO_CONTENT, {}),
    "content_normalization": ("mean", NO_CONTENT, {}),
    "content_weight": (5, NO_CONTENT[1:], {}),
    "content_style_ratio": (5, NO_CONTENT[1:], {}),
    "content_decay": (0.25, NO_CONTENT, {"image_size": 80}),
    "final_steps": (2, NO_STYLE, {"match_layers": ("conv1_1",)}),
    "final_fault": (
        True,
        [{"final_steps": 0}],
        {"final_steps": 2, "match_layers": ("conv1_1", "conv2_1"), "image_size": 80},
    ),
    "finest_rate": (
        0.5,
        [{"optimizer": "lbfgs"}, {"optimizer": "steepest_descent"}, OBJECT],
        {"optimizer": "fixed_step_lbfgs"},
    ),
    "tv_weight": (10, [{"strength": 0}], None),
    "tv_form": ("absolute", [{"tv_weight": 0}], {"tv_weight": 1}),
    "tv_normalization": ("sum", [{"tv_weight": 0}], {"tv_weight": 1}),
    "init_noise": (0.2, [{"init": "noise"}, {"init": "PICTURE"}, {"strength": 0}], {}),
    "seed": (1, [{"init": "PICTURE"}, {"init_noise": 0}, {"strength": 0}], {"init": "noise"}),
    "color_space": ("yiq", [{"color": "style"}, {"color": "palette"}], {"color": "match"}),
    "color_method": ("histogram", [{"color": "style"}, {"color": "content"}], {"color": "match"}),
    "learning_rate": (0.5, [OBJECT], {}),
    "clip_pixels": (False, [OBJECT], {**ADAM, "learning_rate": 0.3}),
    "rate_decay": (0.5, NO_RATE, {"optimizer": "gradient_descent"}),
    "final_rate": (0.5, NO_RATE, {"optimizer": "gradient_descent"}),
    "laplacian_bands": (3, NO_BANDS, {"optimizer": "rmsprop"}),
    "adam_beta_1": (0.5, NO_ADAM, ADAM),
    "adam_beta_2": (0.5, NO_ADAM, ADAM),
    "adam_epsilon": (0.1, NO_ADAM, ADAM),
    "adam_epsilon_hat": (0.1, NO_ADAM, ADAM),
    "average": (0.5, NO_ADAM, ADAM),
    "lbfgs_octaves": (4, [*NO_ADAM[1:], ADAM], {"optimizer": "lbfgs"}),
    "lbfgs_history": (
        1,
        [ADAM, {"optimizer": "gradient_descent"}, {"optimizer": "steepest_descent"}, OBJECT],
        {"optimizer": "fixed_step_lbfgs"},
    ),
    "pixel_range": (
        255,
        [
            {"tv_weight": 0, "optimizer": "lbfgs"},
            {"tv_weight": 0, "optimizer": "steepest_descent"},
            {"tv_weight": 0, **OBJECT},
        ],
        {"learning_rate": 1},
    ),
    "jit_compile": (True, [{"run_eagerly": True}, {"tile_size": 16, "run_eagerly": False}], None),
    "activation_scale": ("caffe", [{}, CUSTOM], {**GRAM, "style_normalization": "gatys"}),
    "weights": ("other.weights.h5", [CUSTOM], None),
    "pooling": ("max", [CUSTOM], None),
    "padding": ("reflect", [CUSTOM], None),
    "precision": ("bfloat16", [CUSTOM], None),
}
"""Of each setting, a value, settings that switch it off, and settings with which it has effect."""

SWITCHED_OFF = [
    pytest.param(name, value, off, id=f"{name}-{off}")
    for name, (value, offs, _) in OFF.items()
    for off in offs
]
SMALL = {
    "backbone": "vgg16",
    "precision": "float32",
    "image_size": 32,
    "levels": 1,
    "steps": 4,
    "content_layers": "conv1_2",
    "style_layers": ("conv1_1", "conv2_1"),
    "style_loss": "gram",
    "color": "style",
    "run_eagerly": True,
}


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory):
    """Returns a function from settings to their picture, made in no time."""
    from nst_tf import backbones, objective
    from nst_tf.engine import transfer

    pictures = np.random.default_rng(9).random((3, 32, 32, 3), np.float32)
    start = tmp_path_factory.mktemp("start") / "start.png"
    images.save(pictures[2], start)

    @functools.cache
    def network(scale: str):
        config = Config(**SMALL, activation_scale=scale)
        layers = objective.used_layers(config)
        return backbones.build(config.backbone, layers, **config.network)

    @functools.cache
    def made(config: Config) -> np.ndarray:
        engine = transfer.StyleTransfer(config, network(config.activation_scale))
        return engine.stylize(pictures[0], list(pictures[1:])).numpy()

    def paint(settings: dict[str, object]) -> np.ndarray:
        init = str(start) if settings.get("init") == "PICTURE" else settings.get("init", "content")
        return made(Config(**{**SMALL, **settings, "init": init}))

    return paint


def test_every_setting_is_known_to_be_switched_off_or_not():
    needing = {field.name for field in dataclasses.fields(Config) if field.metadata["needs"]}
    assert needing == set(OFF)
    assert needing | NEVER_OFF == {field.name for field in dataclasses.fields(Config)}
    for name in needing:
        needs = Config.__dataclass_fields__[name].metadata["needs"]
        switches = {key for off in OFF[name][1] for key in off}
        assert {need.field for need in needs} <= switches | {"style_normalization"}, name


@pytest.mark.parametrize(("name", "value", "off"), SWITCHED_OFF)
def test_a_setting_that_is_switched_off_is_warned_about(name, value, off, caplog):
    def told() -> list[str]:
        """Returns the warnings of the setting; others of `off` may have no effect, either."""
        found = [each for each in caplog.messages if each.startswith(f"{name}=")]
        caplog.clear()
        return found

    config = Config(**{name: value, **off})
    (text,) = told()
    assert text.startswith(f"{name}={configs.written(getattr(config, name))} has no effect with ")
    Config().replace(**{**off, name: value})
    assert told() == [text]
    Config(**off, **{name: Config.__dataclass_fields__[name].default})
    Config.from_dict({**config.to_dict(), **off})
    config.replace(device="cpu")
    assert not told()


@pytest.mark.parametrize("name", OFF)
def test_a_setting_with_an_effect_is_not_warned_about(name, caplog):
    value, _, on = OFF[name]
    Config(**{**(on or {}), name: value})
    assert not caplog.messages


@pytest.mark.parametrize(("name", "value", "off"), SWITCHED_OFF)
def test_a_setting_that_is_switched_off_has_no_effect(name, value, off, painted):
    found, expected = painted({**off, name: value}), painted(off)
    exact = name != "activation_scale"  # Which a relative loss divides out again.
    np.testing.assert_allclose(found, expected, rtol=0, atol=0 if exact else 1e-3)


@pytest.mark.parametrize("name", [name for name in OFF if OFF[name][2] is not None])
def test_a_setting_that_is_switched_on_has_an_effect(name, painted):
    value, _, on = OFF[name]
    assert np.abs(painted({**on, name: value}) - painted(on)).max() > 1e-4


@pytest.mark.parametrize("name", presets.names())
def test_a_preset_and_its_strength_are_not_warned_about(name, caplog):
    config = Config.preset(name)
    assert config.replace(strength=0.7).with_strength.strength == 0.5
    assert not caplog.messages


def test_a_switched_off_option_of_the_command_is_told():
    options = FileOptions(checkpoint_seconds=5)
    assert configs.idle(options, {"checkpoint_seconds"}) == [
        "checkpoint_seconds=5 has no effect with checkpoint_dir=(empty); it needs checkpoint_dir "
        "to be given."
    ]
    options = FileOptions(checkpoint_seconds=5, checkpoint_dir="ck")
    assert not configs.idle(options, {"checkpoint_seconds"})


def test_flags_beside_a_preset_are_warned_about_once_and_the_preset_is_not(caplog):
    values = flags.define(*flags.SWEEP)
    flags.parse(values, ["sweep", "--average=0.5", "--rate_decay=0.5"])
    cells = [flags.to_config(values, "gatys2016", seed=seed) for seed in range(3)]
    assert not caplog.messages
    configs.warn_idle(*((cell, {"seed", *flags.given(values, Config)}) for cell in cells))
    told = sorted(text.partition(" ")[0] for text in caplog.messages)
    assert told == ["average=0.5", "rate_decay=0.5", "seed=1", "seed=2"]
