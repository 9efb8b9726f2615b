from __future__ import annotations

import pytest

from ultra_core.errors import UltraError
from ultra_train.hf.errors import check_weight_shapes, describe_error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("\n  first line\nsecond line"), "ValueError: first line"),
        (KeyError(), "KeyError"),
        (UltraError("what it is\nand what to do"), "what it is\nand what to do"),
    ],
)
def test_errors_in_words(error, words):
    assert describe_error(error) == words


def test_the_first_weight_of_another_shape_is_named():
    check_weight_shapes({})
    mismatched = [("b", (2, 3), (2, 4)), ("a", (), (5,))]
    with pytest.raises(UltraError, match=r"^a is a number in its files, but 5 by its config$"):
        check_weight_shapes({"mismatched_keys": mismatched})
    with pytest.raises(UltraError, match=r"^b is 2 x 3 in its files, but 2 x 4 by its config$"):
        check_weight_shapes({"mismatched_keys": mismatched[:1]})
