from __future__ import annotations

from functools import partial

import torch
from torch import nn

from ultra_train.trainer.non_finite import all_finite, first_bad_module


def test_all_finite():
    assert all_finite([torch.ones(3), torch.arange(3)])
    assert all_finite([])
    assert not all_finite([torch.ones(3), torch.tensor([1.0, float("nan")])])
    assert not all_finite([torch.tensor(-float("inf"))])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.BatchNorm1d(2)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return {"y": self.second(self.drop(self.first(x)))}


def test_the_module_that_makes_them_is_named_and_nothing_moves():
    net = Net()
    generator, running = torch.get_rng_state(), net.second.running_mean.clone()
    good, bad = partial(net, torch.randn(4, 2)), partial(net, torch.full((4, 2), float("nan")))
    assert "no module" in first_bad_module(net, [good])
    assert first_bad_module(net, [good, bad]).startswith("first (Linear)")
    with torch.no_grad():
        net.second.weight[0] = float("inf")
    assert first_bad_module(net, [good]) == "second (BatchNorm1d), whose weight weight is not finite"
    assert torch.equal(running, net.second.running_mean)
    torch.randn(4, 2)
    assert not torch.equal(generator, torch.get_rng_state())


def test_a_fault_of_the_backward_pass_names_the_gradient_met_first():
    net = Net()
    net.first.weight.grad = torch.full((2, 2), float("nan"))
    net.first.bias.grad = torch.full((2,), float("inf"))
    net.second.weight.grad = torch.ones(2)
    assert first_bad_module(net, [partial(net, torch.randn(4, 2))]) == "the gradient of first.bias"
