from ultra_core.testing import Rule, Trial, run


def keeps(case):
    """Everything keeps it."""


def breaks(case):
    """Nothing keeps it."""
    raise AssertionError("it is not")


def raises(case):
    """It cannot be tried."""
    raise KeyError("lost")


TRIALS = [
    Trial(Rule(f"X{i}", check), "mine", f"X{i} mine") for i, check in enumerate((keeps, breaks, raises))
]


def test_every_trial_is_run_and_shown():
    shown = []
    report = run(TRIALS, show=shown.append)
    assert list(report.outcomes) == shown
    assert [str(outcome) for outcome in shown] == [
        "kept    X0 mine: Everything keeps it.",
        "broken  X1 mine: Nothing keeps it.\n"
        "        RuleBroken: mine breaks rule X1: Nothing keeps it. Found: it is not",
        "broken  X2 mine: It cannot be tried.\n        KeyError: 'lost'",
    ]
    assert report.summary("mine") == "mine breaks X1 mine, X2 mine"


def test_a_plugin_that_keeps_every_rule():
    report = run(TRIALS[:1])
    assert report.broken == ()
    assert report.summary("mine") == "mine keeps every rule"
