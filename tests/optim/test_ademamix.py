"""AdEMAMix: the schedules of its slow average."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from ultra_core.errors import UltraError
from ultra_optim import AdEMAMix, build
from ultra_optim.ademamix import between_half_lives


def test_it_asks_for_the_length_of_the_run() -> None:
    with pytest.raises(ValueError, match="total_steps, the number of updates of the run"):
        AdEMAMix([nn.Parameter(torch.ones(2))], lr=1e-3)
    with pytest.raises(UltraError, match="t_alpha_beta3"):
        build("ademamix", nn.Linear(2, 2), lr=1e-3)
    assert AdEMAMix([nn.Parameter(torch.ones(2))], total_steps=10).param_groups[0]["total_steps"] == 10


def test_the_half_life_grows_linearly() -> None:
    lives = [math.log(0.5) / math.log(between_half_lives(0.9, 0.9999, share)) for share in (0.25, 0.5, 1.0)]
    first, last = math.log(0.5) / math.log(0.9), math.log(0.5) / math.log(0.9999)
    assert lives == pytest.approx([first + share * (last - first) for share in (0.25, 0.5, 1.0)])
    assert between_half_lives(0.0, 0.99, 1.0) == pytest.approx(0.99)
    assert between_half_lives(0.0, 0.0, 0.5) == 0.0


def test_t_alpha_beta3_wins_over_total_steps() -> None:
    """After T steps the slow average has its full weight."""
    ends = []
    cases: list[dict[str, Any]] = [
        {"t_alpha_beta3": 2, "total_steps": 50},
        {"total_steps": 2},
        {"total_steps": 50},
    ]
    for options in cases:
        p = nn.Parameter(torch.zeros(2))
        optimizer = AdEMAMix([p], lr=0.1, **options)
        for _ in range(3):
            p.grad = torch.ones(2)
            optimizer.step()
        ends.append(float(p.detach()[0]))
    assert ends[0] == ends[1] != ends[2]
