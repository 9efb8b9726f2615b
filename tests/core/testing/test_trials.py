import subprocess
import sys

import pytest

from ultra_core.testing import Rule, RuleBroken, Trial, pytest_params


def check(case):
    """It is called mine."""
    assert case == "mine"


def test_a_trial_tries_its_rule_on_its_case():
    rule = Rule("X1", check)
    Trial(rule, "mine", "X1 mine")()
    with pytest.raises(RuleBroken):
        Trial(rule, "yours", "X1 yours")()


def test_trials_are_parameters_of_a_test():
    rule = Rule("X1", check)
    (param,) = pytest_params([Trial(rule, "my block", "X1 my block")])
    assert param.values == ("my block", rule)
    assert param.id == "my-block-X1"


def test_the_frame_needs_neither_torch_nor_pytest_nor_hypothesis():
    code = "import sys, ultra_core.testing; print({'torch', 'pytest', 'hypothesis'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
