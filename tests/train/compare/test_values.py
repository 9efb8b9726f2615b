"""Lists on the command line, and messages about them."""

import pytest

from ultra_train.compare.values import Axis, Value, ValueListError, positive_numbers, seeds, split


def test_an_axis_knows_the_column_of_each_value():
    axis = Axis.parse("training.batch_size=8, 16,32")
    assert axis == Axis("training.batch_size", (Value("8", 21), Value("16", 24), Value("32", 27)))


def test_commas_in_brackets_and_quotes_separate_nothing():
    axis = Axis.parse("model.layer_pattern=[gla, mamba],[{ode: {steps: 2}}, gla],'a,[b'")
    assert [value.text for value in axis.values] == ["[gla, mamba]", "[{ode: {steps: 2}}, gla]", "'a,[b'"]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("training.batch_size", "expected KEY=VALUE,VALUE"),
        ("=8", "expected KEY=VALUE,VALUE"),
        ("a.b=", "--vary a.b, column 5: expected a value, found an empty list"),
        ("a.b=1,,2", "--vary a.b, column 7: expected a value, found nothing"),
        ("a.b=1,", "--vary a.b, column 7: expected a value, found nothing"),
        ("a.b=1,2,1", "--vary a.b, column 9: 1 is there twice, first in column 5"),
        ("a.b=[1,2", r"--vary a.b, column 5: \[ is not closed"),
    ],
)
def test_a_broken_axis_is_refused_with_its_place(argument, said):
    with pytest.raises(ValueListError, match=said):
        Axis.parse(argument)


def test_seeds_are_a_number_of_them_or_a_list():
    assert seeds("3") == (1, 2, 3)
    assert seeds("7, 5") == (7, 5)


@pytest.mark.parametrize("text", ["0", "1000", "x", "1,-2", "1,01", "", "1.5"])
def test_what_is_no_seed_is_refused(text):
    with pytest.raises(ValueListError, match="--seeds"):
        seeds(text)


def test_numbers_are_sorted():
    assert positive_numbers("--lr", "1e-3,3e-4") == (3e-4, 1e-3)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x", "1,1.0"])
def test_what_is_no_positive_number_is_refused(text):
    with pytest.raises(ValueListError, match="--lr, column"):
        positive_numbers("--lr", text)


def test_positions_count_from_the_start_of_the_argument():
    assert split("--x", "a,b", offset=10)[1].column == 13
