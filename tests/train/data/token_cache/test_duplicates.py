import numpy as np
import pytest

from ultra_train.data.hashing import splitmix64
from ultra_train.data.token_cache.duplicates import Duplicates


def _hashes(count, start=0):
    return splitmix64(np.arange(start, start + count, dtype=np.uint64))


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_the_count_is_exact_up_to_the_limit(chunk):
    duplicates = Duplicates(limit=1000)
    hashes = np.concatenate([_hashes(600), _hashes(300), _hashes(100), _hashes(400, start=600)])
    for begin in range(0, len(hashes), chunk):
        duplicates.add(hashes[begin : begin + chunk])
    assert duplicates.count == 400
    assert duplicates.exact


def test_nothing_is_no_duplicate():
    duplicates = Duplicates()
    assert duplicates.count == 0
    duplicates.add(_hashes(0))
    assert duplicates.count == 0


def test_memory_is_bounded_and_the_count_estimated_beyond():
    duplicates = Duplicates(limit=4096)
    for begin in range(0, 200_000, 1000):
        duplicates.add(_hashes(1000, start=begin))
        assert len(duplicates._stored) + duplicates._pending_count <= 3 * 4096
    for begin in range(0, 100_000, 1000):
        duplicates.add(_hashes(1000, start=begin))
    assert not duplicates.exact
    assert abs(duplicates.count - 100_000) < 3 * 1.4 / 64 * 200_000
