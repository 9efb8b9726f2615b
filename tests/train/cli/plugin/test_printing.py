"""How the outcomes of a check are printed."""

import pytest

from ultra_core.testing import Finding, Rules, Trial, run
from ultra_train.cli.plugin.printing import WIDEST, Printer

RULES = Rules()


@RULES("X1")
def holds(case):
    """This holds."""


@RULES("X2")
def fails(case):
    """This does not hold, and the sentence about it is so long that it does not fit into a line of a screen.

    Fix: make it hold.
    """
    raise Finding("at token 3 it is 0.1" if case != "thing (third)" else "at token 4 it is 0.2")


@RULES("X3", after=("X2",))
def follows(case):
    """This would hold too."""


@RULES("X4", after=("X2",))
def follows_too(case):
    """This would hold as well."""


@RULES("X5", unless=lambda case: "it has no reference; give it one" if case == "thing (second)" else "")
def holds_without_a_reference(case):
    """This holds where it can be tried."""


@pytest.fixture
def printed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")
    printer = Printer("thing")
    cases = ("thing (first)", "thing (second)", "thing (third)")
    run([Trial(rule, case, "", None) for case in cases for rule in RULES.values()], show=printer.show)
    printer.finish()
    return capsys.readouterr().out


def test_broken_rules_come_first_and_are_explained_once(printed):
    assert printed.splitlines() == [
        "broken  X2 (first): This does not hold, and the sentence about it is so long that it does not fit",
        "        into a line of a screen.",
        "        seen: at token 3 it is 0.1",
        "        fix:  make it hold.",
        "broken  X2 (second): the same",
        "broken  X2 (third)",
        "        seen: at token 4 it is 0.2",
        "kept    X1, X5",
        "skipped X3, X4: not tried because X2 is broken",
        "skipped X5 (second): not tried because it has no reference; give it one",
    ]


def test_statements_of_kept_rules_where_nothing_is_broken(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")
    printer = Printer("thing")
    run([Trial(RULES["X1"], case, "") for case in ("thing (first)", "thing (second)")], show=printer.show)
    printer.finish()
    assert capsys.readouterr().out == "kept    X1 (first, second): This holds.\n"


def test_no_line_is_longer_than_a_narrow_terminal(printed):
    assert max(map(len, printed.splitlines())) <= WIDEST


def test_colours_only_on_a_terminal(printed):
    assert "\x1b" not in printed
