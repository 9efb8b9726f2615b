"""The schedule ``plugin_name`` keeps the rules of schedules, and does what it says."""

import pytest
from ultra_core.errors import UltraError
from ultra_core.testing import Rule
from ultra_optim.testing.schedules import ScheduleCase, schedule_cases, schedule_params

from plugin_name.schedule import plugin_function


@pytest.mark.parametrize(("case", "rule"), schedule_params(schedule_cases(["plugin_name"])))
def test_it_keeps_the_rules_of_schedules(case: ScheduleCase, rule: Rule) -> None:
    rule(case)


def test_four_times_as_many_steps_halve_the_rate() -> None:
    factor = plugin_function(total_steps=1000, warmup_steps=9)
    assert [factor(step) for step in (0, 9, 39, 159, 1000)] == pytest.approx([0.1, 1.0, 0.5, 0.25, 0.0])


def test_a_warm_up_longer_than_the_run_is_refused() -> None:
    with pytest.raises(UltraError, match="warmup_steps"):
        plugin_function(total_steps=10, warmup_steps=11)
