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
        "kept    X1 (first, second, third): This holds.",
        "skipped X3 (first, second, third): not tried because X2 is broken",
    ]


def test_no_line_is_longer_than_a_narrow_terminal(printed):
    assert max(map(len, printed.splitlines())) <= WIDEST


def test_colours_only_on_a_terminal(printed):
    assert "\x1b" not in printed
