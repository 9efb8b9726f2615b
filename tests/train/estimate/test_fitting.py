"""The sequence on too little memory: halve, accumulate, shorten where allowed."""

from ultra_train.estimate.fitting import Sizes, smaller


def sizes(*numbers):
    return Sizes(batch_size=numbers[0], accumulation=numbers[1], max_length=numbers[2])


def test_the_effective_batch_is_kept():
    found = list(smaller(sizes(8, 4, 512), shorten=False))
    assert found == [sizes(4, 8, 512), sizes(2, 16, 512), sizes(1, 32, 512)]


def test_an_odd_micro_batch_is_divided_by_its_smallest_factor():
    assert list(smaller(sizes(6, 1, 128), shorten=True)) == [sizes(3, 2, 128), sizes(1, 6, 128)]


def test_rows_are_shortened_last_and_only_if_allowed():
    assert list(smaller(sizes(1, 4, 512), shorten=True)) == [sizes(1, 4, 384), sizes(1, 4, 256)]
    assert list(smaller(sizes(1, 4, 300), shorten=True)) == [sizes(1, 4, 256)]
    assert list(smaller(sizes(1, 4, 512), shorten=False)) == []
