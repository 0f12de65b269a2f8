"""Files that appear whole or not at all, and never in place of another's."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from nst_tf import errors
from nst_tf.imaging import images
from nst_tf.runtime import files


def write(path: Path, content: bytes = b"new", **options: bool) -> None:
    with files.atomic_file(path, **options) as file:
        file.write(content)


def test_a_file_replaces_another(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"old")
    write(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_has_the_mode_that_open_would_give(tmp_path: Path):
    write(tmp_path / "a")
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.fixture(params=[True, False], ids=["links", "no links"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system with hard links, and one without."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not request.param:
        monkeypatch.setattr(os, "link", refuse)


def test_a_file_that_comes_in_the_meantime_is_left_alone(tmp_path: Path, links: None):
    with (
        pytest.raises(FileExistsError),
        files.atomic_file(tmp_path / "a", overwrite=False) as file,
    ):
        file.write(b"new")
        (tmp_path / "a").write_bytes(b"of another program")
    assert (tmp_path / "a").read_bytes() == b"of another program"
    assert os.listdir(tmp_path) == ["a"]


def test_a_free_name_is_taken(tmp_path: Path, links: None):
    write(tmp_path / "a", overwrite=False)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_is_written_through_or_left_alone(tmp_path: Path, links: None):
    (tmp_path / "folder").mkdir()
    for name in ("there", "nowhere"):
        (tmp_path / name).symlink_to(f"folder/{name}")
    (tmp_path / "folder" / "there").write_bytes(b"old")
    for name in ("there", "nowhere"):
        with pytest.raises(FileExistsError):
            write(tmp_path / name, overwrite=False)
    assert os.listdir(tmp_path / "folder") == ["there"]
    for name in ("there", "nowhere"):
        write(tmp_path / name)
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "folder" / name).read_bytes() == b"new"


def test_names_of_temporary_files_cannot_be_known(tmp_path: Path):
    seen = []
    for _ in range(2):
        with files.atomic_file(tmp_path / "a"):
            seen += [name for name in os.listdir(tmp_path) if name != "a"]
    assert len(set(seen)) == 2
    for end in ("new", "old"):  # As they were before.
        (tmp_path / f".b.{end}").symlink_to(tmp_path / "victim")
    with files.atomic_folder(tmp_path / "b") as folder:
        (folder / "file").touch()
    assert os.listdir(tmp_path / "b") == ["file"]
    assert not (tmp_path / "victim").exists()


def test_a_probe_leaves_no_trace(tmp_path: Path):
    images.probe_writable(tmp_path / "a.png")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", ["fifo", "a\0b", "loop", "x" * 256, "no/x"])
def test_a_probe_refuses_what_is_no_file(tmp_path: Path, name: str):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(errors.OutputError, match=re.escape(name)):
        images.probe_writable(tmp_path / name)


def test_one_file_has_one_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "there").touch()
    os.link("there", "also")
    for names in (
        ["there", "./there", tmp_path / "there", "folder/../there", "also"],
        ["new", tmp_path / "new", "link/../new", "NEW"],
        ["folder/new", "link/new", "./folder//new"],
        ["caf\u00e9", "cafe\u0301"],
    ):
        assert len({files.identity(name) for name in names}) == 1, names
    others = ["there", "new", "folder/new", "folder", "newer", "missing/new"]
    assert len({files.identity(name) for name in others}) == len(others)


@pytest.mark.parametrize("stem", ["n" * 300, "\u00e9" * 130, "\U0001f3a8" * 70, "\udcff" * 250])
def test_derived_names_fit_and_stay_readable(tmp_path: Path, stem: str):
    path = files.sibling(tmp_path / f"{stem}.png", ".partial.png")
    assert 255 - 4 < len(os.fsencode(path.name)) <= 255
    path.touch()
    assert stem.startswith(path.name.removesuffix(".partial.png"))
    assert files.sibling(tmp_path / "a.b.png", "-2.png") == tmp_path / "a.b-2.png"
