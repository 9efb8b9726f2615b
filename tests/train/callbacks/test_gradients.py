from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ultra_train.callbacks.gradients import GradientCallback


def test_norms_by_role_and_by_layer():
    model = nn.Module()
    model.layers = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    a, b = (layer.weight for layer in model.layers)
    a.grad, b.grad = torch.full((2, 2), 1.0), torch.full((2, 2), 2.0)
    optimizer = torch.optim.SGD([{"params": [a], "role": "x"}, {"params": [b], "role": "x"}], lr=1.0)
    extra = {}
    callback = GradientCallback(extra, every=10, blocks=True)
    callback.on_pre_optimizer_step(
        None, SimpleNamespace(global_step=3), None, model=model, optimizer=optimizer
    )
    assert extra == {}
    callback.on_pre_optimizer_step(
        None, SimpleNamespace(global_step=20), None, model=model, optimizer=optimizer
    )
    assert extra == pytest.approx(
        {"grad_norm_x": math.sqrt(4 + 16), "grad_norm_layer_0": 2, "grad_norm_layer_1": 4}
    )
