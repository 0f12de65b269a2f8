"""Arrays that are put aside come back as they were, whatever the disk says."""

import errno
import tempfile

import ml_dtypes
import numpy as np
import pytest

from nst_tf import shelf


def arrays(seed):
    random = np.random.default_rng(seed)
    return {
        "content/a": {"features": random.random((1, 3 + seed, 4, 5), np.float32)},
        "content/b": {"features": random.random((1, 0, 4, 5))},
    }


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, part in expected.items():
        for entry, array in part.items():
            np.testing.assert_array_equal(found[name][entry], array)
            assert found[name][entry].dtype == array.dtype


def test_arrays_come_back_in_any_order():
    kept = shelf.Shelf()
    for seed in range(5):
        kept.append(arrays(seed))
    assert len(kept) == 5
    for seed in (3, 0, 4, 4):
        assert_same(kept[seed], arrays(seed))
    for seed, found in enumerate(kept):
        assert_same(found, arrays(seed))
    kept.append({})
    assert kept[5] == {}


def fill_disk(kept, fault, monkeypatch):
    """Has all that is written to a shelf fail from now on."""
    file = kept._file

    class Full:
        def __getattr__(self, name):
            return getattr(file, name)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    setattr(Full, fault, full)
    monkeypatch.setattr(kept, "_file", Full())
    return file


@pytest.mark.parametrize("fault", ["write", "flush"])
def test_what_the_disk_has_no_room_for_is_kept_in_memory(fault, monkeypatch):
    kept = shelf.Shelf()
    kept.append(arrays(0))
    file = fill_disk(kept, fault, monkeypatch)
    kept.append(arrays(1))
    with pytest.raises(OSError, match="No space left"):
        kept.put(np.ones(3))
    monkeypatch.setattr(kept, "_file", file)
    kept.append(arrays(2))
    for seed in range(3):
        assert_same(kept[seed], arrays(seed))


@pytest.mark.parametrize("count", [0, 1, 7, 64, 8 * shelf._CACHED + 13])
def test_booleans_take_a_bit_each(count):
    kept = shelf.Shelf()
    kept.put(np.ones(5, np.float32))
    before = kept._file.tell()
    array = np.random.default_rng(count).random((1, count, 1)) > 0.5
    get = kept.put(array)
    assert kept._file.tell() - before == -(-count // 8)
    np.testing.assert_array_equal(get(), array)
    assert get().dtype == bool


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "bool"])
def test_what_comes_back_can_be_used_where_it_is(dtype):
    kept = shelf.Shelf()
    array = np.arange(3000).reshape(3, 1000).T.astype(getattr(ml_dtypes, dtype, dtype))
    found = kept.put(array)()
    assert shelf.is_aligned(found)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_a_shelf_that_is_cleared_writes_over_what_was_there():
    kept = shelf.Shelf()
    kept.put(np.zeros(1000))
    kept.append(arrays(1))
    size = kept._file.seek(0, 2)
    kept.clear()
    assert len(kept) == 0
    get = kept.put(np.arange(10.0))
    kept.append(arrays(2))
    np.testing.assert_array_equal(get(), np.arange(10.0))
    assert_same(kept[0], arrays(2))
    assert kept._file.seek(0, 2) == size


@pytest.mark.parametrize("full", [False, True])
def test_a_plane_is_written_and_read_in_parts(full, monkeypatch):
    def no_room(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if full:
        monkeypatch.setattr(shelf.os, "posix_fallocate", no_room, raising=False)
    plane = shelf.Plane((1, 6, 7, 3), np.float32)
    assert (plane.shape, plane.dtype) == ((1, 6, 7, 3), np.float32)
    expected = np.zeros(plane.shape, np.float32)
    np.testing.assert_array_equal(plane.mapped(), expected)
    for value in range(1, 5):
        plane.mapped()[:, value : value + 2, :value] += value
        expected[:, value : value + 2, :value] += value
    np.testing.assert_array_equal(plane.mapped(), expected)
    assert isinstance(plane.mapped(), np.memmap) is not full


def test_files_lie_where_they_take_no_memory_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.delenv("TMPDIR", raising=False)
    assert shelf._folder() == "/var/tmp"
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert shelf._folder() == str(tmp_path)
    assert shelf.room() > 0
