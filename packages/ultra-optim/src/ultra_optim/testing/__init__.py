"""The conformance kit: rules for optimizers, for our tests and for those of plugin authors.

::

    import pytest
    from ultra_optim.testing import cases, check_optimizer

    @pytest.mark.parametrize(("name", "rule"), cases(["my_optimizer"]))
    def test_conformance(name, rule):
        check_optimizer(name, rule)
"""

from ultra_core.testing import Rule, RuleBroken, Rules
from ultra_optim.testing.kit import RULES, cases, check_optimizer, trials
from ultra_optim.testing.subject import Subject

__all__ = ["RULES", "Rule", "RuleBroken", "Rules", "Subject", "cases", "check_optimizer", "trials"]
