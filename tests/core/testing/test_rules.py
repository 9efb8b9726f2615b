import pytest
from hypothesis import strategies as st

from ultra_core.errors import UltraError
from ultra_core.testing import Rule, RuleBroken, Rules

RULES = Rules()


@RULES("X1")
def is_even(case):
    """A number is even,
    which is the first paragraph.

    Odd numbers cannot be halved.
    """
    assert case % 2 == 0, f"{case} is odd"


@RULES("X2", when=lambda case: case > 10, slow=True)
def is_small(case):
    """A number is below 100."""
    assert case < 100


def test_a_table_holds_its_rules_by_id_in_order():
    assert list(RULES) == ["X1", "X2"]
    assert RULES["X1"] is is_even
    assert is_even.statement == "A number is even, which is the first paragraph."
    assert is_even.explanation == "Odd numbers cannot be halved."
    assert is_small.explanation == ""


def test_a_broken_rule_says_who_breaks_what_and_how():
    is_even(2)
    with pytest.raises(RuleBroken, match=r"3 breaks rule X1: A number is even, .* Found: 3 is odd"):
        is_even(3)


def test_any_other_error_says_where_it_came_from():
    with pytest.raises(TypeError) as caught:
        is_even("text")
    assert "rule X1" in caught.value.__notes__[-1]


def test_rules_are_chosen_by_case_speed_and_name():
    assert RULES.chosen(4) == [is_even]
    assert RULES.chosen(12) == [is_even]
    assert RULES.chosen(12, ["X2", "X1"]) == [is_small, is_even]
    assert RULES.chosen(4, ["X2"]) == []
    with pytest.raises(UltraError, match=r"unknown rule 'X3'.*Rules: X1, X2"):
        RULES.chosen(4, ["X3"])


def test_examples_are_drawn_and_scaled_with_the_profile():
    seen = []

    def check(case, example):
        """Draws are small."""
        seen.append(example)
        assert example < case

    Rule("X3", check, draw=st.integers(0, 9), examples=8)(10)
    assert 3 <= len(seen) <= 200
    assert set(seen) <= set(range(10))
    with pytest.raises(RuleBroken, match="X3"):
        Rule("X3", check, draw=st.integers(5, 9), examples=8)(5)
