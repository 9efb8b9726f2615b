"""Factors of the learning rate."""

import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ultra_core import schedules
from ultra_core.errors import UltraError
from ultra_optim.schedules import constant, cosine, linear, linear_warmup_then_constant, wsd

ALL = {"constant": constant, "cosine": cosine, "linear": linear, "wsd": wsd}
ALL["linear_warmup_then_constant"] = linear_warmup_then_constant


def test_all_are_registered() -> None:
    assert {name: schedules.get(name) for name in ALL} == ALL


@pytest.mark.parametrize("name", schedules.names())
@given(total=st.integers(1, 200), data=st.data())
def test_warm_up_and_bounds(name: str, total: int, data: st.DataObject) -> None:
    warmup = data.draw(st.integers(0, total // 2))
    factor = schedules.get(name)(total, warmup)
    values = [factor(step) for step in range(total + 5)]
    assert all(0 <= value <= 1 for value in values)
    assert values[0] > 0 or total == 1
    if name != "constant":
        assert values[:warmup] == [pytest.approx((s + 1) / (warmup + 1)) for s in range(warmup)]
    assert len(set(values[total:])) == 1
    falling = values[warmup:]
    assert falling == sorted(falling, reverse=True)


def test_cosine() -> None:
    factor = cosine(100, 20, min_ratio=0.1)
    assert factor(20) == 1.0
    assert factor(60) == pytest.approx(0.55)
    assert factor(40) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)
    assert factor(100) == factor(1000) == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_it_is_that_of_transformers_after_the_warm_up(name: str) -> None:
    import transformers

    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    theirs = getattr(transformers, f"get_{name}_schedule_with_warmup")(optimizer, 10, 50).lr_lambdas[0]
    ours = ALL[name](50, 10)
    assert all(ours(step) == pytest.approx(theirs(step)) for step in range(10, 51))


@pytest.mark.parametrize(
    ("shape", "half_way"), [("sqrt", 1 - math.sqrt(0.5)), ("linear", 0.5), ("cosine", 0.5)]
)
def test_wsd(shape: str, half_way: float) -> None:
    factor = wsd(100, 10, decay_ratio=0.4, min_ratio=0.2, shape=shape)
    assert [factor(step) for step in (10, 30, 60)] == [1.0, 1.0, 1.0]
    assert factor(80) == pytest.approx(0.2 + 0.8 * half_way)
    assert factor(100) == pytest.approx(0.2)


def test_wsd_without_decay() -> None:
    assert wsd(100, 10, decay_ratio=0.0)(99) == 1.0


def test_constants() -> None:
    assert [constant(10, 5)(step) for step in (0, 5, 20)] == [1.0, 1.0, 1.0]
    factor = linear_warmup_then_constant(10, 3)
    assert [factor(step) for step in (0, 1, 2, 3, 50)] == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize(
    ("factory", "arguments", "message"),
    [
        (cosine, {"total_steps": 0}, "total_steps is 0"),
        (cosine, {"total_steps": 2.5}, "total_steps is 2.5; expected a whole number"),
        (cosine, {"total_steps": 10, "warmup_steps": -1}, "warmup_steps is -1"),
        (cosine, {"total_steps": 10, "warmup_steps": 11}, "warmup_steps is 11, but the run has 10 steps"),
        (cosine, {"total_steps": 10, "min_ratio": 1.5}, "min_ratio is 1.5"),
        (wsd, {"total_steps": 10, "warmup_steps": 9}, "do not fit into 10 steps"),
        (wsd, {"total_steps": 10, "decay_ratio": float("nan")}, "decay_ratio is nan"),
        (wsd, {"total_steps": 10, "shape": "cubic"}, "shape is 'cubic'; expected one of"),
        (linear_warmup_then_constant, {"total_steps": True}, "total_steps is True"),
        (constant, {"total_steps": None}, "total_steps is None"),
    ],
)
def test_faults(factory: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UltraError, match=message):
        factory(**arguments)


def test_they_need_no_torch() -> None:
    code = "import sys, ultra_optim.schedules; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
