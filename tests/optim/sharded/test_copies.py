"""Processes that hold the same parameters divide the matrices among them, and end as one process does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from optim.sharded.parameters import MATRICES, Tensors
from optim.sharded.test_optimizer import NAMES, OPTIONS, assert_same

from support.ranks import on_ranks
from ultra_core import optimizers
from ultra_optim.sharded.placement import is_worth_an_owner
from ultra_optim.sharded.traffic import bytes_of_update, mean_bytes_of_update

METHODS = [name for name in NAMES if optimizers.get(name).traits.matrix]
RESUMED = ("muon", "soap")


def _driven(name: str, first: int, last: int, saved: Any = None, *, copies: bool) -> dict[str, Any]:
    tensors = Tensors(name, copies=copies, **OPTIONS.get(name, {}))
    if saved is not None:
        tensors.fill(saved["weights"])
        tensors.optimizer.load_state_dict(saved["state"])
    tensors.drive(first, last)
    held = [t.numel() for s in tensors.optimizer.state.values() for t in s.values() if torch.is_tensor(t)]
    end = {"weights": tensors.whole(), "state": tensors.optimizer.state_dict(), "held": sum(held)}
    if copies:
        of_update = bytes_of_update(tensors.optimizer.placements, torch.distributed.get_rank())
        end |= {"sent": tensors.optimizer.bytes_sent, "formula": (last - first) * of_update}
    return end


def _ends(names: tuple[str, ...], first: int, last: int, saved: Any = None) -> dict[str, Any]:
    return {n: _driven(n, first, last, saved and saved[n], copies=True) for n in names}


@pytest.fixture(scope="module")
def ends() -> list[dict[str, Any]]:
    """What every matrix method ends with on each of two processes."""
    return on_ranks(2, _ends, METHODS, 0, 3)


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_end_as_one(name: str, ends: list[dict[str, Any]]) -> None:
    """Weights on both, to the last bit the same; the state on the first; traffic as the formula says."""
    alone = _driven(name, 0, 3, copies=False)
    for end in ends:
        assert_same(end[name]["weights"], alone["weights"])
        assert end[name]["sent"] == end[name]["formula"]
    assert all(map(torch.equal, ends[0][name]["weights"], ends[1][name]["weights"]))
    assert_same(ends[0][name]["state"], alone["state"])
    assert ends[1][name]["state"]["state"] == {}
    sent = sum(end[name]["sent"] for end in ends) / 2 / 3
    assert sent == mean_bytes_of_update(8 * MATRICES, 2, gathered=False)
    assert all(end[name]["held"] < alone["held"] for end in ends)


def test_states_move_between_numbers_of_processes(ends: list[dict[str, Any]]) -> None:
    """Started by one process, continued by three, then by one, it is the run of two."""
    one = {name: _driven(name, 0, 1, copies=False) for name in RESUMED}
    three = on_ranks(3, _ends, RESUMED, 1, 2, one)[0]
    for name in RESUMED:
        last = _driven(name, 2, 3, three[name], copies=False)
        assert_same(last["weights"], ends[0][name]["weights"], name)
        assert_same(last["state"], ends[0][name]["state"], name)


@pytest.mark.parametrize("name", ["adamw", "adafactor", "prodigy", "schedulefree_adamw"])
def test_methods_that_take_no_longer_than_sending_are_left_to_every_process(name: str) -> None:
    inner = Tensors(name).optimizer
    assert not any(is_worth_an_owner(inner, group) for group in inner.param_groups)


def test_matrices_alone_have_owners() -> None:
    """Scion has a rule of its own for embeddings, whose new weights would take longer to send."""
    inner = Tensors("scion").optimizer
    owned = [group["kind"] for group in inner.param_groups if is_worth_an_owner(inner, group)]
    assert owned == ["matrix", "expert"]
