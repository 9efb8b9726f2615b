"""RAdam: the rectification."""

import math

import pytest

from ultra_optim.radam import rectification


def test_the_first_five_steps_are_not_rectified() -> None:
    assert [rectification(t, 0.999) is None for t in range(1, 8)] == [True] * 5 + [False] * 2


def test_rectification_grows_to_one() -> None:
    """Step 6 with b2 = 0.999, by hand: rho_max = 1999, rho = 5.9925."""
    rho_max, rho = 1999.0, 1999 - 12 * 0.999**6 / (1 - 0.999**6)
    by_hand = math.sqrt((rho - 4) * (rho - 2) * rho_max / ((rho_max - 4) * (rho_max - 2) * rho))
    assert rectification(6, 0.999) == pytest.approx(by_hand)
    values = [rectification(t, 0.999) or 0.0 for t in (6, 100, 1000, 10_000)]
    assert values == sorted(values)
    assert values[-1] == pytest.approx(1.0, abs=1e-2)
