"""The kit finds the fault of every schedule by the rule of its row, and none in those without a fault."""

import pytest
from optim.testing.schedules.mutants import MUTANTS, SOUND

from ultra_core.testing import RuleBroken
from ultra_optim.testing.schedules import SCHEDULE_RULES, schedule_cases, schedule_params


@pytest.mark.parametrize(("rule", "factory"), MUTANTS)
def test_every_fault_is_found(rule, factory):
    (case,) = schedule_cases([factory])
    with pytest.raises(RuleBroken, match=f"{factory.__name__} breaks rule {rule}: ") as broken:
        SCHEDULE_RULES.named(rule)(case)
    assert len(str(broken.value).splitlines()) == 3


@pytest.mark.parametrize(("case", "rule"), schedule_params(schedule_cases(SOUND)))
def test_schedules_without_a_fault_keep_every_rule(case, rule):
    rule(case)


@pytest.mark.parametrize(("case", "rule"), schedule_params())
def test_every_registered_schedule_keeps_every_rule(case, rule):
    rule(case)
