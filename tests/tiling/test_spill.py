"""Arrays that are put aside come back as they were, whatever the disk says."""

import errno
import tempfile

import ml_dtypes
import numpy as np
import pytest

from nst_tf.kernels import arrays as kernel_arrays
from nst_tf.tiling import spill


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
    kept = spill.SpillFile()
    for seed in range(5):
        kept.append(arrays(seed))
    assert len(kept) == 5
    for seed in (3, 0, 4, 4):
        assert_same(kept[seed], arrays(seed))
    for seed, found in enumerate(kept):
        assert_same(found, arrays(seed))
    kept.append({})
    assert kept[5] == {}


@pytest.fixture
def limit_files():
    """Lets no file grow beyond some bytes, so that what is written fails as on a full disk."""
    resource = pytest.importorskip("resource", reason="no such limit on this system")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("lengths", [(10, 5000), (20_000, 200_000)], ids=["small", "large"])
def test_a_full_disk_loses_nothing(lengths, limit_files):
    """Whichever array the disk is full at, those before it and after it come back."""
    random = np.random.default_rng(0)
    for _ in range(30):
        kept, expected = spill.SpillFile(), []
        limit_files(int(random.integers(0, 10 * lengths[1])))
        for _ in range(20):
            array = random.random(random.integers(*lengths), np.float32)
            kept.append({"t": {"a": array, "b": array > 0.5}})
            expected.append(array)
        for index, array in enumerate(expected):
            found = kept[index]["t"]
            np.testing.assert_array_equal(found["a"], array)
            np.testing.assert_array_equal(found["b"], array > 0.5)


def test_what_the_disk_has_no_room_for_is_refused_until_there_is(limit_files):
    kept = spill.SpillFile()
    get = kept.put(np.arange(1000.0))
    limit_files(12_000)
    with pytest.raises(OSError, match="File too large"):
        kept.put(np.ones(1000))
    fits = kept.put(np.ones(500))
    limit_files(100_000)
    later = kept.put(np.full(1000, 2.0))
    for found, expected in ((get, np.arange(1000.0)), (fits, np.ones(500)), (later, 2.0)):
        np.testing.assert_array_equal(found(), expected)


class InParts:
    """A file that takes and gives a few bytes at a time, as the system may do."""

    def __init__(self, file):
        self.file = file

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        return self.file.write(data[:1001])

    def readinto(self, data):
        return self.file.readinto(data[:999])


@pytest.mark.parametrize("dtype", ["float32", "bool"])
def test_what_is_written_and_read_in_parts_is_whole(dtype, monkeypatch):
    kept = spill.SpillFile()
    monkeypatch.setattr(kept, "_file", InParts(kept._file))
    array = np.arange(30_000).astype(dtype)
    np.testing.assert_array_equal(kept.put(array)(), array)


@pytest.mark.parametrize("dtype", ["float32", "bool"])
def test_a_file_that_ends_too_early_is_an_error(dtype):
    kept = spill.SpillFile()
    get = kept.put(np.ones(1000, dtype))
    kept._file.truncate(100)
    with pytest.raises(OSError, match="bytes too early"):
        get()


@pytest.mark.parametrize("count", [0, 1, 7, 64, 8 * spill._CACHED + 13])
def test_booleans_take_a_bit_each(count):
    kept = spill.SpillFile()
    kept.put(np.ones(5, np.float32))
    before = kept._file.tell()
    array = np.random.default_rng(count).random((1, count, 1)) > 0.5
    get = kept.put(array)
    assert kept._file.tell() - before == -(-count // 8)
    np.testing.assert_array_equal(get(), array)
    assert get().dtype == bool


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "bool"])
def test_what_comes_back_can_be_used_where_it_is(dtype):
    kept = spill.SpillFile()
    array = np.arange(3000).reshape(3, 1000).T.astype(getattr(ml_dtypes, dtype, dtype))
    found = kept.put(array)()
    assert kernel_arrays.is_aligned(found)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_a_shelf_that_is_cleared_writes_over_what_was_there():
    kept = spill.SpillFile()
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
        monkeypatch.setattr(spill.os, "posix_fallocate", no_room, raising=False)
    plane = spill.SpilledArray((1, 6, 7, 3), np.float32)
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
    assert spill._folder() == "/var/tmp"
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert spill._folder() == str(tmp_path)
    assert spill.room() > 0
