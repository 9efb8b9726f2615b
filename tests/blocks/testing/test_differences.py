"""Messages about two tensors name the position, both values and the error."""

import pytest
import torch

from ultra_blocks.testing.differences import check_close, check_finite, difference
from ultra_core.testing import Finding

WANTED = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def test_the_largest_difference_and_the_first() -> None:
    got = WANTED + torch.tensor([[0.0, 0.5], [0.0, -2.0]])
    assert difference(got, WANTED, limit=1e-3, other="alone") == (
        "output[1, 1] is 2, alone 4 (relative error 5.0e-01, limit 1e-03; "
        "2 of 4 numbers are off, the first at [0, 1])"
    )


def test_nan_is_the_largest_difference() -> None:
    got = WANTED.clone()
    got[1, 0] = torch.nan
    assert difference(got, WANTED).startswith("output[1, 0] is nan, wanted 3 (relative error inf")


def test_numbers_without_dimension_and_other_shapes() -> None:
    assert difference(torch.tensor(1.0), torch.tensor(2.0), what="loss").startswith("loss is 1, wanted 2 (")
    assert difference(WANTED, WANTED[0]) == "output has the shape (2, 2), wanted (2,)"


def test_a_limit_is_relative_to_the_largest_number() -> None:
    check_close(WANTED + 3e-3, WANTED, 1e-3)
    check_close(WANTED + 3.0, WANTED, 1e-3, scale=torch.tensor(4000.0))
    got = torch.tensor([[1.0, 8.0], [3.0, 4.0]])
    with pytest.raises(Finding, match=r"output\[0, 1\] is 8, wanted 2 .*; in fp32") as caught:
        check_close(got, WANTED, 1e-3, note="in fp32", fix="round later")
    assert caught.value.fix == "round later"


def test_what_is_not_finite() -> None:
    check_finite({"output": WANTED}, "at scale 1")
    bad = torch.tensor([0.0, torch.inf, torch.nan])
    with pytest.raises(Finding, match=r"gradient\[1\] is inf \(2 of 3 numbers are not finite\); at scale 1"):
        check_finite({"output": WANTED, "gradient": bad}, "at scale 1")


def test_numbers_that_are_nearly_equal_are_told_apart() -> None:
    text = difference(torch.tensor([1.0 + 1e-12], dtype=torch.float64), torch.ones(1).double())
    assert "is 1.000000000001, wanted 1 " in text


def test_positions_do_not_stick_to_the_last_word_of_a_clause() -> None:
    text = difference(torch.ones(2), torch.zeros(2), what="gradient of x")
    assert text.startswith("gradient of x at [0] is 1")
