"""What mutants derive from has no fault: it keeps every rule."""

import pytest
from optim.testing import sound_methods

from ultra_optim.testing import cases, check_optimizer


@pytest.mark.parametrize(
    ("cls", "rule"), cases(sound_methods.CLASSES), ids=lambda value: getattr(value, "__name__", value)
)
def test_a_method_without_fault_passes(cls: type, rule: str) -> None:
    check_optimizer(cls, rule)
