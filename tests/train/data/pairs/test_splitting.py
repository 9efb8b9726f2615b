import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultra_train.data.errors import DataError
from ultra_train.data.pairs.splitting import divide, shares_of


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 40), min_size=50, max_size=200),
    st.sampled_from([0.9, (0.8, 0.1, 0.1), (0.98, 0.01, 0.01), (0.5, 0.0, 0.5), 1.0]),
    st.integers(0, 5),
)
def test_groups_stay_together_and_no_share_is_empty(groups, ratio, seed):
    hashes = np.array([*groups, 97, 98, 99], np.uint64)
    splits = divide(hashes, ratio, seed)
    for group in set(hashes.tolist()):
        assert len(set(splits[hashes == group].tolist())) == 1
    assert {int(split) for split in splits} == {i for i, share in enumerate(shares_of(ratio)) if share > 0}
    order = np.argsort(hashes, kind="stable")
    assert (divide(hashes[order], ratio, seed) == splits[order]).all()


def test_shares_are_those_of_the_groups():
    splits = divide(np.arange(1000, dtype=np.uint64), (0.8, 0.15, 0.05), 1)
    assert np.bincount(splits).tolist() == [800, 150, 50]
    assert (divide(np.arange(1000, dtype=np.uint64), (0.8, 0.15, 0.05), 2) != splits).any()


@pytest.mark.parametrize("ratio", [0.0, 1.2, (0.5, 0.5, 0.5), (0.0, 0.5, 0.5), (0.9, 0.1)])
def test_other_shares_are_refused(ratio):
    with pytest.raises(DataError, match="split_ratio is"):
        shares_of(ratio)


def test_too_few_groups_are_an_error():
    with pytest.raises(DataError, match="only 1 different first texts"):
        divide(np.array([5, 5], np.uint64), 0.5, 0)
