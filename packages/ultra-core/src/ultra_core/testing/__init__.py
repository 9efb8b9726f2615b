"""The frame of the conformance kits: tables of rules, trials of rules on cases, and a report.

A kit defines what a case is (a block in one direction, an optimizer with its options) and fills a table::

    RULES = Rules()

    @RULES("X1", when=lambda case: case.causal, after=("X0",))
    def sees_no_future(case):
        \"\"\"The output at a token does not depend on later tokens.

        Fix: mask the pairs whose key comes after their query.
        \"\"\"
        assert ..., "token 3 moved the output at token 1 by 0.2"

``ultra_blocks.testing`` and ``ultra_optim.testing`` are such kits. Rules that draw examples need hypothesis,
and ``pytest_params`` needs pytest; nothing else does.
"""

from ultra_core.testing.efforts import Effort
from ultra_core.testing.findings import Finding, RuleBroken
from ultra_core.testing.report import Outcome, Report, run
from ultra_core.testing.rules import Rule, Rules
from ultra_core.testing.trials import Trial, pytest_params

__all__ = [
    "Effort",
    "Finding",
    "Outcome",
    "Report",
    "Rule",
    "RuleBroken",
    "Rules",
    "Trial",
    "pytest_params",
    "run",
]
