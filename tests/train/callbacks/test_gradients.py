from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ultra_train.callbacks.gradients import GradientCallback


def measure(callback, step, model=None, optimizer=None, lines=1):
    state = SimpleNamespace(global_step=step - 1, logging_steps=lines)  # counted once the update is done
    callback.on_gradients(None, state, None, model=model, optimizer=optimizer)


def test_norms_by_role_and_by_layer():
    model = nn.Module()
    model.layers = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    a, b = (layer.weight for layer in model.layers)
    a.grad, b.grad = torch.full((2, 2), 1.0), torch.full((2, 2), 2.0)
    optimizer = torch.optim.SGD([{"params": [a], "role": "x"}, {"params": [b], "role": "x"}], lr=1.0)
    extra = {"loudness": 11.0}
    callback = GradientCallback(extra, every=10, blocks=True)
    measure(callback, 4, model, optimizer)
    assert extra == {"loudness": 11.0}
    measure(callback, 20, model, optimizer)
    expected = {"grad_norm_x": math.sqrt(4 + 16), "grad_norm_layer_0": 2, "grad_norm_layer_1": 4}
    assert extra == pytest.approx(expected | {"loudness": 11.0})
    resumed = GradientCallback(extra, every=10, blocks=True)
    measure(resumed, 21, model, optimizer)
    assert extra == {"loudness": 11.0}  # what was measured stands at its own update only


@pytest.mark.parametrize(
    ("lines", "every", "expected"),
    [
        (1, 10, [1, 10, 20, 30, 40]),
        (10, 10, [1, 10, 20, 30, 40]),
        (7, 10, [1, 14, 21, 35, 42]),
        (20, 3, [1, 20, 40]),
        (1, 1, list(range(1, 43))),
    ],
)
def test_only_updates_with_a_line_are_measured(lines, every, expected):
    callback = GradientCallback({}, every=every)
    assert [n for n in range(1, 43) if callback.due(n, lines)] == expected
