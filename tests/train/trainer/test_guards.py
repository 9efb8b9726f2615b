from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import nn

from ultra_train.trainer.guards import Guard, Rollbacks, all_finite, first_bad_module


@pytest.mark.parametrize(
    ("loss", "norm", "said"),
    [
        (1.0, 5.0, None),
        (math.nan, 5.0, "the loss is nan"),
        (math.inf, 5.0, "the loss is inf"),
        (1.0, math.nan, "the gradient norm is nan"),
        (1.0, 11.0, "above inf_post_clip_threshold 10"),
        (1.0, 10.0, None),
    ],
)
def test_objections(loss, norm, said):
    objection = Guard(threshold=10.0).objection(loss, norm)
    assert objection is None if said is None else said in objection


def test_only_drops_in_a_row_exhaust_it():
    guard = Guard(patience=2)
    guard.note_dropped([(0, 1)])
    guard.note_taken()
    guard.note_dropped([(0, 5)])
    assert not guard.exhausted
    guard.note_dropped([(0, 6)])
    assert guard.exhausted
    assert guard.dropped == 3
    assert guard.offending == [(0, 5), (0, 6)]


def test_patience_zero_goes_back_at_the_first_drop_and_not_before():
    guard = Guard(patience=0)
    assert not guard.exhausted
    guard.note_dropped([])
    assert guard.exhausted


def test_rollbacks_are_remembered(tmp_path):
    Rollbacks.read(tmp_path / "r.json").add([(1, 2), (1, 3)])
    again = Rollbacks.read(tmp_path / "r.json")
    assert (again.count, again.skipped) == (1, [(1, 2), (1, 3)])


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
