import pytest
from hypothesis import strategies as st

from ultra_core.errors import UltraError
from ultra_core.testing import Finding, Rule, RuleBroken, Rules
from ultra_core.testing.efforts import current_effort

RULES = Rules()


@RULES("X1")
def is_even(case):
    """A number is even,
    which is the first paragraph.

    Odd numbers cannot be halved.

    Fix: add one.
    """
    assert case % 2 == 0, f"{case} is odd"


@RULES("X2", when=lambda case: case > 10, least="thorough")
def is_small(case):
    """A number is below 100."""
    assert case < 100


def test_a_table_holds_its_rules_by_id_in_order():
    assert list(RULES) == ["X1", "X2"]
    assert RULES["X1"] is is_even
    assert is_even.statement == "A number is even, which is the first paragraph."
    assert is_even.explanation == "Odd numbers cannot be halved."
    assert is_even.fix == "add one."
    assert is_small.explanation == ""


def test_an_id_is_given_once():
    table = Rules()
    table("X1")(is_even.check)
    with pytest.raises(ValueError, match="there is a rule X1 already"):
        table("X1")(is_small.check)


def test_a_broken_rule_says_who_breaks_what_and_how():
    is_even(2)
    with pytest.raises(RuleBroken) as caught:
        is_even(3)
    assert str(caught.value).splitlines() == [
        "3 breaks rule X1: A number is even, which is the first paragraph.",
        "seen: 3 is odd",
        "fix:  add one.",
    ]


def test_a_finding_says_what_to_do_in_its_case():
    def check(case):
        """Nothing keeps it.

        Fix: give up.
        """
        raise Finding("it is\n  not", fix="try `again`")

    with pytest.raises(RuleBroken) as caught:
        Rule("X5", check)("mine")
    assert caught.value.details() == ["seen: it is not", "fix:  try `again`"]


def test_any_other_error_says_where_it_came_from():
    with pytest.raises(RuleBroken, match=r"seen: TypeError: .* \(test_rules.py:\d+\)"):
        is_even("text")


def test_a_group_of_errors_is_told_by_its_first():
    def check(case):
        """Nothing keeps it."""
        raise ExceptionGroup("many", [ExceptionGroup("inner", [ValueError("the first")]), KeyError("other")])

    with pytest.raises(RuleBroken, match="seen: ValueError: the first"):
        Rule("X5", check)("mine")


def test_rules_are_chosen_by_case_effort_and_name():
    assert RULES.chosen(4) == [is_even]
    assert RULES.chosen(12, effort="default") == [is_even]
    assert RULES.chosen(12, effort="thorough") == [is_even, is_small]
    assert RULES.chosen(12, ["X2", "X1"]) == [is_small, is_even]
    assert RULES.chosen(4, ["X2"]) == []
    with pytest.raises(UltraError, match=r"unknown rule 'X3'.*Rules: X1, X2"):
        RULES.chosen(4, ["X3"])


def test_a_rule_comes_behind_those_without_which_it_means_nothing():
    rules = Rules()
    for id, after in (("Y1", ()), ("Y2", ("Y4",)), ("Y3", ()), ("Y4", ("Y5", "Y9")), ("Y5", ())):
        rules(id, after=after)(lambda case: None)
    assert [rule.id for rule in rules.chosen(1)] == ["Y1", "Y5", "Y4", "Y2", "Y3"]
    assert [rule.id for rule in rules.chosen(1, ["Y2", "Y5"])] == ["Y2", "Y5"]


@pytest.mark.parametrize(("effort", "count"), [("quick", 2), ("default", 5), ("thorough", 100)])
def test_examples_are_drawn_and_scaled_with_the_effort(effort, count):
    seen = []

    def check(case, example):
        """Draws are small."""
        seen.append(example)
        assert example < case, f"{example} is large"

    Rule("X3", check, draw=st.integers(0, 9999), examples=5)(10_000, effort)
    assert len(seen) == count
    with pytest.raises(RuleBroken, match=r"X3: Draws are small.\nseen: (\d+) is large.*; drawn: \1"):
        Rule("X3", check, draw=st.integers(5, 9), examples=5)(5, effort)


def test_the_environment_sets_the_effort(monkeypatch):
    monkeypatch.setenv("ULTRA_KIT_EFFORT", "quick")
    assert current_effort() == "quick"
    monkeypatch.setenv("ULTRA_KIT_EFFORT", "lazy")
    with pytest.raises(UltraError, match="'lazy'; it must be one of quick, default, thorough"):
        current_effort()
