import math

import pytest
import torch

from ultra_blocks.functional.ode_solvers import TABLEAUS, integrate


@pytest.mark.parametrize("solver", sorted(TABLEAUS))
def test_one_step_of_growth_is_the_exponential_series(solver):
    """For ``dz/ds = z`` a method of order p whose stages are p gives ``sum_{n <= p} 1 / n!``."""
    x = torch.tensor([1.0, -2.0], dtype=torch.float64)
    series = sum(1 / math.factorial(n) for n in range(1, TABLEAUS[solver].order + 1))
    torch.testing.assert_close(integrate(lambda z: z, x, solver=solver, steps=1), series * x)


@pytest.mark.parametrize("solver", sorted(TABLEAUS))
@pytest.mark.parametrize("steps", [1, 3])
def test_the_field_is_asked_once_a_stage(solver, steps):
    asked = []
    integrate(lambda z: asked.append(z) or z, torch.ones(2), solver=solver, steps=steps)
    assert len(asked) == steps * TABLEAUS[solver].stages


@pytest.mark.parametrize("solver", sorted(TABLEAUS))
def test_methods_are_consistent(solver):
    tableau = TABLEAUS[solver]
    assert sum(tableau.b) == pytest.approx(1.0)
    assert [len(row) for row in tableau.a] == list(range(tableau.stages))


def test_dtypes():
    x = torch.ones(2, dtype=torch.bfloat16)
    assert integrate(lambda z: z, x, solver="rk4", steps=2).dtype == torch.bfloat16
    half = integrate(lambda z: z.bfloat16(), torch.ones(2), solver="rk4", steps=2)
    assert half.dtype == torch.bfloat16
