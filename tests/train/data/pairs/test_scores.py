import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.pairs.scores import scale_of


def scale(least, greatest, given=None):
    return scale_of("data", [(least, "data:3"), (greatest, "data:7")], given)


@pytest.mark.parametrize(("least", "greatest"), [(0.0, 1.0), (-0.8, 1.0), (0.2, 0.9)])
def test_scores_up_to_one_stay_as_they_are(least, greatest):
    assert (scale(least, greatest).low, scale(least, greatest).high) == (0, 1)
    assert not scale(least, greatest).said


def test_scores_of_sts_are_divided_by_five_and_that_is_said():
    found = scale(0.0, 4.8)
    assert (found.low, found.high) == (0, 5)
    assert "data: scores from 0 to 5" in found.said


@pytest.mark.parametrize(
    ("least", "greatest", "place"), [(1.0, 5.0, "data:7"), (0.0, 3.0, "data:7"), (-3.0, 1.0, "data:3")]
)
def test_another_range_must_be_given(least, greatest, place):
    with pytest.raises(DataError, match=rf"{place}: the score is .*score_range: \[lowest, highest\]"):
        scale(least, greatest)


def test_a_given_range_is_used_and_scores_outside_are_an_error():
    assert (scale(1.0, 5.0, (1, 5)).low, scale(1.0, 5.0, (1, 5)).high) == (1, 5)
    assert not scale(0.0, 1.0, (0, 1)).said
    with pytest.raises(DataError, match=r"data:7: the score is 6, outside score_range \[0, 5\]"):
        scale(0.0, 6.0, (0, 5))
    with pytest.raises(DataError, match="give the lowest and the highest score"):
        scale(0.0, 5.0, (5, 0))
