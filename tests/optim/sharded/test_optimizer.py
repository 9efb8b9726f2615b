"""Every optimizer steps parameters that are divided among processes as one process steps them whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from optim.sharded.parameters import MATRICES, Tensors
from torch import Tensor

from support.ranks import on_ranks
from ultra_core import optimizers
from ultra_core.errors import UltraError
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.sharded.traffic import bytes_of_update, mean_bytes_of_update

NAMES = [name for name in optimizers.names() if name != "muonclip"]  # it needs attention blocks
OUTSIDE = {cls.__name__: cls for cls in (torch.optim.Adagrad, torch.optim.NAdam, torch.optim.Adafactor)}
OPTIONS: dict[str, dict[str, Any]] = {
    "ademamix": {"total_steps": 9},
    "soap": {"precondition_frequency": 2},
    "galore_adamw": {"rank": 3, "update_interval": 2},
    "apollo": {"rank": 3},
    "prodigy": {"d0": 1e-3},
}


for _name in ("adan", "adopt", "gpa_adamw", "lamb", "radam", "sgd_momentum", "sophia", "stable_adamw"):
    OPTIONS[_name] = {"compile": False}  # compiling C takes longer than all else here; the others run it


class Clipped(torch.optim.SGD):
    """Gradient descent whose step has norm lr over all parameters."""

    traits = OptimizerTraits(common_norm=True)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        params = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in params]) if params else 1.0
        for p in params:
            p.add_(p.grad / norm, alpha=-self.param_groups[0]["lr"])


def _end(name: Any, sharded: bool, steps: int = 4, **options: Any) -> dict[str, Any]:
    tensors = Tensors(name, sharded=sharded, **options)
    tensors.drive(0, steps)
    held = sum(
        t.numel()
        for s in tensors.optimizer.state.values()
        for t in s.values()
        if torch.is_tensor(t) and t.ndim
    )
    end = {"weights": tensors.whole(), "state": tensors.optimizer.state_dict(), "held": held}
    if sharded:
        rank = dist.get_rank()
        formula = steps * bytes_of_update(tensors.optimizer.placements, rank)
        end |= {"sent": tensors.optimizer.bytes_sent, "formula": formula}
    return end


def _ends(methods: dict[str, Any]) -> dict[str, Any]:
    return {label: _end(method, True, **OPTIONS.get(label, {})) for label, method in methods.items()}


MOVED = ("muon", "soap", "prodigy", "schedulefree_adamw")
METHODS: dict[str, Any] = {**{n: n for n in NAMES}, **OUTSIDE, "Clipped": Clipped}


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """What every method ends with in one process, which compiles its kernels for those that are forked."""
    return {label: _end(method, False, **OPTIONS.get(label, {})) for label, method in METHODS.items()}


@pytest.fixture(scope="module")
def ends(alone: dict[str, Any]) -> list[dict[str, Any]]:
    """What every method ends with on each of two processes."""

    return on_ranks(2, _ends, METHODS)


def assert_same(actual: Any, expected: Any, where: str = "") -> None:
    """Compare nested states; numbers to rounding."""
    if isinstance(expected, Tensor):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12, msg=lambda m: f"{where}: {m}")
    elif isinstance(expected, dict):
        assert actual.keys() == expected.keys(), where
        for key in expected:
            assert_same(actual[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected), where
        for index, (a, e) in enumerate(zip(actual, expected, strict=True)):
            assert_same(a, e, f"{where}.{index}")
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, rel=1e-9), where
    else:
        assert actual == expected, where


@pytest.mark.parametrize("label", METHODS)
def test_two_processes_end_as_one(label: str, alone: dict[str, Any], ends: list[dict[str, Any]]) -> None:
    """Weights on both, state and groups on the first; what was sent is what the formula says."""
    for end in ends:
        assert_same(end[label]["weights"], alone[label]["weights"])
        assert end[label]["sent"] == end[label]["formula"]
    assert_same(ends[0][label]["state"], alone[label]["state"])
    assert ends[1][label]["state"]["state"] == {}
    assert sum(end[label]["held"] for end in ends) == alone[label]["held"]


def test_traffic_and_memory_of_muon(ends: list[dict[str, Any]]) -> None:
    """The formula of the mean; each process holds about half of the state; element-wise ones send nothing."""
    sent = [end["muon"]["sent"] / 4 for end in ends]
    assert sum(sent) / 2 == pytest.approx(
        mean_bytes_of_update(8 * MATRICES, 2, gathered=True), rel=0.2
    )  # odd sizes
    assert max(end["muon"]["held"] for end in ends) < 0.6 * sum(end["muon"]["held"] for end in ends)
    assert ends[0]["adamw"]["sent"] == ends[0]["prodigy"]["sent"] == 0


def _trios() -> dict[str, Any]:
    return {name: _end(name, True, 2, **OPTIONS.get(name, {})) for name in MOVED}


def _resumed(saved: dict[str, Any], first: int, last: int) -> dict[str, Any]:
    return {name: _resumed_one(name, saved[name], first, last) for name in MOVED}


def _resumed_one(name: str, saved: dict[str, Any], first: int, last: int) -> dict[str, Any]:
    tensors = Tensors(name, sharded=True, **OPTIONS.get(name, {}))
    tensors.fill(saved["weights"])
    tensors.optimizer.load_state_dict(saved["state"])
    tensors.drive(first, last)
    return {"weights": tensors.whole(), "state": tensors.optimizer.state_dict()}


def test_states_move_between_numbers_of_processes(alone: dict[str, Any]) -> None:
    """Saved by three, continued by two, then by one, they end as one process alone."""
    two = on_ranks(2, _resumed, on_ranks(3, _trios)[0], 2, 3)[0]
    for name in MOVED:
        last = Tensors(name, sharded=False, **OPTIONS.get(name, {}))
        last.fill(two[name]["weights"])
        last.optimizer.load_state_dict(two[name]["state"])
        last.drive(3, 4)
        assert_same(last.whole(), alone[name]["weights"], name)
        assert_same(last.optimizer.state_dict(), alone[name]["state"], name)


def _evaluated(sharded: bool) -> list[list[Tensor]]:
    tensors = Tensors("schedulefree_adamw", sharded=sharded)
    tensors.drive(0, 3)
    tensors.optimizer.eval()
    average = [t.clone() for t in tensors.whole()]
    tensors.optimizer.train()
    return [average, tensors.whole()]


def test_evaluation_weights() -> None:
    assert_same(on_ranks(2, _evaluated, True)[1], _evaluated(False))


def _refused(saved: dict[str, Any]) -> str:
    tensors = Tensors("muon", sharded=True)
    with pytest.raises(ValueError, match="Muon") as error:
        tensors.optimizer.load_state_dict(saved)
    return str(error.value)


def test_a_state_that_does_not_fit_is_refused_by_all() -> None:
    """The owner of the matrix alone sees it."""
    tensors = Tensors("muon", sharded=False)
    tensors.drive(0, 1)
    saved = tensors.optimizer.state_dict()
    saved["state"][1]["momentum_buffer"] = torch.zeros(5, 7)
    said = on_ranks(2, _refused, saved)
    assert said[0] == said[1]
    assert "momentum_buffer" in said[0]


def _late_group() -> str:
    tensors = Tensors("lion", sharded=True)
    with pytest.raises(UltraError) as error:
        tensors.optimizer.add_param_group({"params": []})
    return str(error.value)


def test_groups_are_added_before() -> None:
    assert "before" in on_ranks(1, _late_group)[0]


def _mixed() -> str:
    tensors = Tensors("prodigy", sharded=True)
    whole = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    tensors.optimizer.param_groups[-1]["params"].append(whole)
    tensors.backward(0)
    with pytest.raises(UltraError) as error:
        tensors.optimizer.step()
    return str(error.value)


def test_sums_over_all_parameters_need_all_of_them_sharded() -> None:
    assert "choose adamw or muon" in on_ranks(1, _mixed)[0]
