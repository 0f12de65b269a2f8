"""The command line as people write it: paths, flagfiles, other programs' names, and slips."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nst_tf import errors
from nst_tf.commands import flags
from nst_tf.commands.options import FileOptions

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with some files, which is the current one, and home."""
    for name in ("a.jpg", "b.jpg", "c.png", "x,y.jpg"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return tmp_path


def parse(*arguments: str, owner: type = FileOptions):
    values = flags.define(*flags.ALL)
    flags.parse(values, ["program", *arguments])
    return flags.to_dataclass(values, owner)


def refusal(*arguments: str) -> str:
    with pytest.raises(errors.ConfigError) as caught:
        parse(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


PATHS = [
    (owner, field)
    for owner in flags.ALL
    for field in dataclasses.fields(owner)
    if field.metadata["path"]
]


# Paths.


def test_every_flag_that_takes_a_path_says_so():
    assert {field.name for _, field in PATHS} == {
        "content", "style", "content_mask", "style_mask", "save_mask_overlay", "output",
        "timelapse", "plot", "report", "checkpoint_dir", "replay", "init", "weights",
    }  # fmt: skip


@pytest.mark.parametrize(("owner", "field"), PATHS, ids=lambda value: getattr(value, "name", ""))
def test_a_tilde_is_the_home_folder(folder: Path, owner: type, field):
    value = getattr(parse(f"--{field.name}=~/a.jpg", owner=owner), field.name)
    expected = str(folder / "a.jpg")
    assert value == ((expected,) if field.metadata["repeated"] else expected)


@pytest.mark.parametrize(("owner", "field"), PATHS, ids=lambda value: getattr(value, "name", ""))
def test_an_address_is_no_path(owner: type, field):
    message = refusal(f"--{field.name}=https://example.org/a.jpg")
    assert f"--{field.name}=https://example.org/a.jpg: expected a file on this machine" in message
    assert ("download" in message) == (field.metadata["path"] == "read")


@pytest.mark.parametrize(("owner", "field"), PATHS, ids=lambda value: getattr(value, "name", ""))
def test_a_path_with_nul_is_refused(folder: Path, owner: type, field):
    (folder / "nul.flags").write_bytes(f"--{field.name}=a\0*.jpg\n".encode())
    with pytest.raises(errors.ConfigError, match=rf"^{field.name} is 'a\\x00\*.jpg'; .*NUL"):
        parse("--flagfile=nul.flags", owner=owner)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["*.jpg"], ("a.jpg", "b.jpg", "x,y.jpg")),
        (["~/[ab].jpg"], ("~/a.jpg", "~/b.jpg")),
        (["b.jpg,a.jpg"], ("b.jpg", "a.jpg")),
        (["b.jpg, ~/a.jpg"], ("b.jpg", "~/a.jpg")),
        (["x,y.jpg"], ("x,y.jpg",)),
        (["a.jpg", "b.jpg,c.png"], ("a.jpg", "b.jpg", "c.png")),
        (["a.jpg,missing.jpg"], ("a.jpg", "missing.jpg")),
        (["missing,too.jpg"], ("missing,too.jpg",)),
        ([""], ("",)),
    ],
)
def test_styles_may_be_a_pattern_or_a_list(texts: list[str], expected: tuple[str, ...]):
    found = parse(*(f"--style={text}" for text in texts)).style
    assert found == tuple(map(os.path.expanduser, expected))


def test_a_file_is_taken_by_its_name_before_it_is_a_pattern(folder: Path):
    (folder / "[ab].jpg").touch()
    assert parse("--style=[ab].jpg").style == ("[ab].jpg",)


def test_a_pattern_that_matches_nothing_is_refused():
    assert "none that matches it as a pattern" in refusal("--style=*.gif")


def test_one_picture_may_be_a_pattern_of_one_file():
    assert parse("--content=*.png").content == "c.png"


@pytest.mark.parametrize(("text", "count"), [("*.jpg", 3), ("a.jpg,b.jpg", 2)])
def test_one_picture_cannot_be_several(text: str, count: int):
    message = refusal(f"--content={text}")
    assert f"--content={text}: expected one file; these are {count}, a.jpg being the first" in (
        message
    )


@pytest.mark.parametrize("name", ["result*.png", "a,b.png", "[1].png"])
def test_a_file_to_write_is_no_pattern(name: str):
    assert parse(f"--output={name}").output == name


# Values.


@pytest.mark.parametrize("text", ["yes", "On", "true", "1", "y"])
def test_words_of_consent_switch_on(text: str):
    assert parse(f"--overwrite={text}").overwrite is True


@pytest.mark.parametrize("text", ["no", "OFF", "false", "0", "n"])
def test_words_of_denial_switch_off(text: str):
    assert parse(f"--overwrite={text}").overwrite is False


def test_other_words_are_no_switch():
    assert "--overwrite=maybe: expected true or false" in refusal("--overwrite=maybe")
    assert "--nooverwrite=yes" in refusal("--nooverwrite=yes")


@pytest.mark.parametrize("number", ["1" + "0" * 400 + "/1", "1/0", "9" * 5000 + "x"])
def test_numbers_beyond_all_range_are_refused(number: str):
    assert "expected a number" in refusal(f"--learning_rate={number}")


@pytest.mark.parametrize(
    "arguments", [["--content=a.jpg", "--content=b.jpg"], ["--content", "a.jpg", "-content=b.jpg"]]
)
def test_a_second_input_is_refused(arguments: list[str]):
    assert "--content is given 2 times, and takes one file" in refusal(*arguments)


def test_of_a_setting_given_twice_the_last_counts():
    options = parse("--bit_depth=16", "--output=a.png", "--bit_depth=8", "--output=b.png")
    assert (options.bit_depth, options.output) == (8, "b.png")


# Slips.


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (["-content_image", "a"], "content"),
        (["--content_image=a"], "content"),
        (["--style-image=a"], "style"),
        (["--iterations=100"], "steps"),
        (["--num_iterations=100"], "steps"),
        (["--output_image=a"], "output"),
        (["--Image-Size=64"], "image_size"),
        (["--stile_weight=1"], "style_weight"),
    ],
)
def test_a_neighbours_flag_is_answered_with_ours(arguments: list[str], flag: str):
    assert f"Did you mean --{flag}?" in refusal(*arguments)


def test_every_neighbours_flag_is_another_and_leads_to_ours():
    values = flags.define(*flags.ALL)
    for name, ours in flags.NEIGHBOURS.items():
        assert name not in values and ours in values, name


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["a.jpg", "b.jpg"], "write --content=a.jpg --style=b.jpg"),
        (["a.jpg"], "write --content=a.jpg"),
        (["content=a.jpg"], "write --content=a.jpg"),
        (["\u2014content=a.jpg"], "write --content=a.jpg"),
        (["--content=my", "photo.jpg"], "put quotes around a value with spaces"),
        (["--style", "a.jpg", "b.jpg"], "put quotes around a value with spaces or *"),
    ],
)
def test_a_loose_argument_is_answered_with_what_to_write(arguments: list[str], hint: str):
    message = refusal(*arguments)
    assert "unexpected argument" in message and hint in message


# Flagfiles.


def written(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return f"--flagfile={name}"


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf--content=a.jpg\r\n# A comment.\r\n\r\n--style=b.jpg\r\n",
        "--content=a.jpg\n--style=b.jpg\n".encode("utf-16"),
        b"  --content=a.jpg  \n// A comment.\n--style=b.jpg",
        b"--content\na.jpg\n--style\nb.jpg\n",
    ],
    ids=["BOM and CRLF", "UTF-16", "blanks", "values on lines of their own"],
)
def test_flagfiles_of_every_editor_are_read(folder: Path, data: bytes):
    options = parse(written(folder, "my.flags", data))
    assert (options.content, options.style) == ("a.jpg", ("b.jpg",))


def test_the_command_line_wins_wherever_the_flagfile_stands(folder: Path):
    file = written(folder, "my.flags", b"--bit_depth=16\n--style=b.jpg\n--overwrite\n")
    for arguments in (["--bit_depth=8", file], [file, "--bit_depth=8"]):
        options = parse(*arguments, "--style=a.jpg")
        assert options.bit_depth == 8 and options.overwrite
        assert options.style == ("b.jpg", "a.jpg")


def test_a_flagfile_wins_over_the_one_that_it_names(folder: Path):
    written(folder, "base.flags", b"--content=a.jpg\n--bit_depth=16\n")
    options = parse(written(folder, "my.flags", b"--bit_depth=8\n--flagfile=base.flags\n"))
    assert (options.content, options.bit_depth) == ("a.jpg", 8)


def test_a_flagfile_in_the_home_folder_is_found(folder: Path):
    written(folder, "my.flags", b"--content=a.jpg\n")
    assert parse("--flagfile", "~/my.flags").content == "a.jpg"


def test_a_flagfile_that_reads_itself_is_refused(folder: Path):
    written(folder, "a.flags", b"--flagfile=./b.flags\n")
    file = written(folder, "b.flags", b"--flagfile=a.flags\n")
    assert "'./b.flags' reads itself" in refusal(file)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--flagfile=missing.flags", ["'missing.flags'", "No such file"]),
        ("--flagfile=.", ["'.'"]),
        ("--flagfile=", ["names no file"]),
        ("--flagfile", ["names no file"]),
        ("--flagfile=a\0b", ["'a\\x00b'", "null"]),
    ],
)
def test_a_flagfile_that_cannot_be_read_is_refused(argument: str, words: list[str]):
    message = refusal(argument)
    assert all(word in message for word in ["flagfile", *words]), message


def test_a_flagfile_that_is_no_text_is_refused(folder: Path):
    assert "is no text" in refusal(written(folder, "my.flags", bytes(range(256))))


def test_a_second_input_in_a_flagfile_is_refused(folder: Path):
    file = written(folder, "my.flags", b"--content=a.jpg\n--content=b.jpg\n")
    assert "--content is given 2 times" in refusal(file)


def test_a_flag_and_value_on_one_line_are_answered_with_what_to_write(folder: Path):
    file = written(folder, "my.flags", b"--content a.jpg\n")
    assert "Did you mean --content=a.jpg?" in refusal(file)


# The command as a module.


def test_the_package_is_the_command():
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "nst_tf", *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    wrong, shown = run("--stile=a"), run("--help")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("python -m nst_tf: unknown flag --stile.")
    assert shown.returncode == 0 and "  python -m nst_tf --content=photo.jpg" in shown.stdout


def test_a_flag_of_any_length_is_refused_in_a_sentence():
    values = flags.define(*flags.ALL)
    for name in ("output " + "1, " * 5000, "x" * 100_000):
        with pytest.raises(errors.ConfigError, match="unknown flag --") as caught:
            flags.parse(values, ["", f"--{name}"])
        assert len(str(caught.value)) < 200
