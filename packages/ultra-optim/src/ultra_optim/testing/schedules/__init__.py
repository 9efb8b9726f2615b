"""The conformance kit of learning-rate schedules.

::

    import pytest
    from ultra_optim.testing.schedules import schedule_cases, schedule_params

    @pytest.mark.parametrize(("case", "rule"), schedule_params(schedule_cases(["my_schedule"])))
    def test_conformance(case, rule):
        rule(case)
"""

from ultra_optim.testing.schedules.cases import ScheduleCase
from ultra_optim.testing.schedules.kit import schedule_cases, schedule_params, schedule_trials
from ultra_optim.testing.schedules.rules import SCHEDULE_RULES

__all__ = ["SCHEDULE_RULES", "ScheduleCase", "schedule_cases", "schedule_params", "schedule_trials"]
