"""Matrix methods over stacks: row blocks, experts, what shares a call, decay rules, foreign shapes."""

import copy

import pytest
import torch
from torch import Tensor, nn

from ultra_core import optimizers
from ultra_optim import build
from ultra_optim.engine import sizes
from ultra_optim.families.stacks import StackedOptimizer
from ultra_optim.testing.subject import Bag, drive, error, gradients

NAMES = [n for n in optimizers.names() if issubclass(optimizers.get(n), StackedOptimizer)]
QUICK = {
    "galore_adamw": {"rank": 2, "update_interval": 2},
    "soap": {"precondition_frequency": 2},
    "shampoo": {"start_preconditioning_step": 1, "precondition_frequency": 2},
    "apollo": {"rank": 2, "update_interval": 2},
}


def moved(name: str, group: dict, steps: list[list[Tensor]], **options: object) -> list[Tensor]:
    """How far parameters that start at 0 go."""
    params = [nn.Parameter(torch.zeros_like(g)) for g in steps[0]]
    options = QUICK.get(name, {}) | options
    optimizer = optimizers.get(name)([{"params": params, "kind": "matrix", **group}], lr=1.0, **options)
    drive(optimizer, params, steps)
    return [p.detach() for p in params]


def test_there_are_some() -> None:
    assert {"galore_adamw", "soap", "shampoo", "psgd_kron", "apollo", "apollo_mini"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_row_blocks_are_separate_matrices(name: str) -> None:
    steps = gradients([torch.empty(11, 5).double()], 4)
    (fused,) = moved(name, {"row_blocks": [[4, 2, 5]], "expert_dim": [None]}, steps)
    apart = moved(name, {}, [list(g[0].split([4, 2, 5])) for g in steps])
    assert error(fused, torch.cat(apart)) < 1e-8
    (whole,) = moved(name, {}, steps)
    assert error(fused, whole) > 1e-3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("expert_dim", [0, 2])
def test_experts_are_separate_matrices(name: str, expert_dim: int) -> None:
    steps = [[g[0].movedim(0, expert_dim)] for g in gradients([torch.empty(3, 4, 4).double()], 4)]
    (stacked,) = moved(name, {"kind": "expert", "expert_dim": [expert_dim], "row_blocks": [[]]}, steps)
    apart = moved(name, {}, [[e.clone() for e in g[0].unbind(expert_dim)] for g in steps])
    assert error(stacked, torch.stack(apart, expert_dim)) < 1e-8


@pytest.mark.parametrize("name", NAMES)
def test_equal_shapes_share_calls_and_calls_do_not_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cls, calls = optimizers.get(name), []
    original = cls.direction
    monkeypatch.setattr(cls, "direction", lambda s, g, k: calls.append(k.grad.shape) or original(s, g, k))
    steps = gradients([torch.empty(s).double() for s in ((4, 4), (4, 6), (4, 4), (4, 4))], 4)
    together = moved(name, {}, steps)
    assert sorted(set(calls)) == [(1, 4, 6), (3, 4, 4)]
    monkeypatch.setattr(sizes, "STACK", 20)
    calls.clear()
    alone = moved(name, {}, steps)
    assert sorted(set(calls)) == [(1, 4, 4), (1, 4, 6)]
    for a, b in zip(together, alone, strict=True):
        assert error(a, b) < 1e-8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rule", ["cautious", "corrected"])
def test_rules_of_decay(name: str, rule: str) -> None:
    start = torch.randn(5, 5, generator=torch.Generator().manual_seed(0)).double()
    vector = torch.randn(9, generator=torch.Generator().manual_seed(1)).double()

    def run(weight_decay: float, decay_rule: str) -> list[Tensor]:
        bag = Bag([start.clone(), vector.clone()])
        optimizer = build(
            name, bag, lr=0.1, weight_decay=weight_decay, decay_rule=decay_rule, **QUICK.get(name, {})
        )
        drive(optimizer, bag.tensors(), gradients([start, vector], 1))
        before = [p.detach().clone() for p in bag.tensors()]
        for group in optimizer.param_groups:
            group["lr"] = 0.05
        drive(optimizer, bag.tensors(), gradients([start, vector], 1, seed=9))
        return [p.detach() - b for p, b in zip(bag.tensors(), before, strict=True)]

    matrix, others = run(0.5, rule)
    plain, others_plain = run(0.5, "plain")
    assert error(matrix, plain) > 1e-6
    if rule == "cautious":
        assert error(others, others_plain) > 1e-6
    else:
        assert error(others, others_plain) < 1e-12, "vectors decay plainly"


@pytest.mark.parametrize("name", NAMES)
def test_state_of_other_shapes_is_refused(name: str) -> None:
    def trained(shape: tuple[int, int]) -> torch.optim.Optimizer:
        bag = Bag([torch.ones(shape)])
        optimizer = build(name, bag)
        drive(optimizer, bag.tensors(), gradients(bag.tensors(), 1))
        return optimizer

    optimizer = trained((6, 4))
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=r"expected a tensor of shape .* elements"):
        optimizer.load_state_dict(trained((9, 4)).state_dict())
    for key, value in before["state"][0].items():
        now = optimizer.state_dict()["state"][0][key]
        assert torch.equal(now, value) if isinstance(value, Tensor) else now == value


@pytest.mark.parametrize("name", NAMES)
def test_state_is_what_is_declared(name: str) -> None:
    bag = Bag([torch.ones(6, 4), torch.ones(3, 5, 7)])
    optimizer = build(name, bag)
    drive(optimizer, bag.tensors(), gradients(bag.tensors(), 1))
    for p, (count, rows, columns) in zip(bag.tensors(), ((1, 6, 4), (3, 5, 7)), strict=True):
        shapes = type(optimizer).matrix_state(optimizer.param_groups[0], rows, columns)
        for key, shape in shapes.items():
            assert optimizer.state[p][key].numel() == count * torch.Size(shape).numel()
        kept = {k for k, v in optimizer.state[p].items() if isinstance(v, Tensor)}
        assert kept == shapes.keys()
