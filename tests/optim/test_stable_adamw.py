"""StableAdamW: the rate of a tensor."""

import pytest
import torch
from torch import nn

from ultra_optim import StableAdamW
from ultra_optim.engine import sizes


def run(weight_decay: float = 0.0) -> torch.Tensor:
    p = nn.Parameter(torch.ones(40))
    optimizer = StableAdamW([p], lr=0.1, betas=(0.9, 0.99), weight_decay=weight_decay)
    for scale in (1.0, 1.0, 1.0, 100.0):
        p.grad = torch.full((40,), scale)
        optimizer.step()
    return p.detach()


def test_a_sudden_gradient_slows_its_tensor_down() -> None:
    """v is about 2500 then, so rms is 2, and the step is half of m / sqrt(v)."""
    b1, b2 = (b * (1 - b**3) / (1 - b**4) for b in (0.9, 0.99))
    m, v = b1 + (1 - b1) * 100, b2 + (1 - b2) * 100**2
    rms = 100 / v**0.5
    assert rms > 1.9
    assert float(run()[0]) == pytest.approx(1 - 0.3 - 0.1 / rms * m / v**0.5, abs=1e-5)


def test_decay_slows_down_with_it() -> None:
    _, b2 = (b * (1 - b**3) / (1 - b**4) for b in (0.9, 0.99))
    rms = 100 / (b2 + (1 - b2) * 100**2) ** 0.5
    expected = 1.0
    for slowness in (1.0, 1.0, 1.0):
        expected = expected * (1 - 0.1 * 0.5 / slowness) - 0.1
    expected = expected * (1 - 0.1 * 0.5 / rms) + (float(run()[0]) - 0.7)
    assert float(run(weight_decay=0.5)[0]) == pytest.approx(expected, abs=1e-5)


def test_the_mean_is_that_of_the_tensor_when_it_is_sliced(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(0.1)
    monkeypatch.setattr(sizes, "TORCH_SLICE", 16)
    torch.testing.assert_close(run(0.1), whole)
