from ultra_core.testing import Rule, Trial, run


def keeps(case):
    """Everything keeps it."""


def breaks(case):
    """Nothing keeps it.

    Fix: give up.
    """
    raise AssertionError("it is not")


def raises(case):
    """It cannot be tried."""
    raise KeyError("lost")


def trial(id, check, **options):
    return Trial(Rule(id, check, **options), "mine", f"{id} mine")


TRIALS = [trial("X0", keeps), trial("X1", breaks), trial("X2", raises)]


def test_every_trial_is_run_and_shown():
    shown = []
    report = run(TRIALS, show=shown.append)
    assert list(report.outcomes) == shown
    lines = "\n".join(map(str, shown)).splitlines()
    assert lines[:4] == [
        "kept    X0 mine: Everything keeps it.",
        "broken  X1 mine: Nothing keeps it.",
        "        seen: it is not",
        "        fix:  give up.",
    ]
    assert lines[4] == "broken  X2 mine: It cannot be tried."
    assert lines[5].startswith("        seen: KeyError: 'lost' (test_report.py:")
    assert len(lines) == 6
    assert report.summary() == "1 kept, 2 broken"
    assert [outcome.trial.rule.id for outcome in report.broken] == ["X1", "X2"]


def test_rules_that_follow_from_a_broken_one_are_left_out_and_counted():
    trials = [
        *TRIALS[:2],
        trial("X3", raises, after=("X1",)),
        trial("X4", raises, after=("X3",)),
        trial("X5", keeps, after=("X0",)),
        trial("X6", raises, unless=lambda case: f"{case} has no reference; give it one"),
    ]
    shown = []
    report = run(trials, show=shown.append)
    assert report.summary() == (
        "2 kept, 1 broken, 1 not tried because X1 is broken, 1 not tried because X3 is broken, "
        "1 not tried because mine has no reference"
    )
    assert str(shown[2]) == "left out X3 mine: X1 is broken"


def test_a_rule_follows_from_another_on_the_same_case_only():
    other = Trial(Rule("X3", keeps, after=("X1",)), "yours", "X3 yours")
    assert run([TRIALS[1], other]).summary() == "1 kept, 1 broken"


def test_a_broken_gate_ends_the_check():
    shown = []
    report = run([trial("X0", keeps), trial("G", breaks, gate=True), *TRIALS], show=shown.append)
    assert report.summary() == "1 kept, 1 broken, 3 not tried because G is broken"
    assert [outcome.trial.rule.id for outcome in shown] == ["X0", "G"]
