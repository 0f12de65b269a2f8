"""Arrays that are put aside come back as they were, whatever the disk says."""

import errno

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


@pytest.mark.parametrize("fault", ["write", "flush"])
def test_what_the_disk_has_no_room_for_is_kept_in_memory(fault, monkeypatch):
    kept = shelf.Shelf()
    kept.append(arrays(0))
    file = kept._file

    class Full:
        def __getattr__(self, name):
            return getattr(file, name)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    setattr(Full, fault, full)
    monkeypatch.setattr(kept, "_file", Full())
    kept.append(arrays(1))
    monkeypatch.setattr(kept, "_file", file)
    kept.append(arrays(2))
    for seed in range(3):
        assert_same(kept[seed], arrays(seed))
