"""Every registered optimizer keeps every rule of the kit that applies to it."""

import pytest

from ultra_optim.testing import cases, check_optimizer


@pytest.mark.parametrize(("name", "rule"), cases())
def test_conformance(name: str, rule: str) -> None:
    check_optimizer(name, rule)
