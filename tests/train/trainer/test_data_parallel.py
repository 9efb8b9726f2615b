"""Which optimizers the processes of a run divide, and among whom."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn

import ultra_optim
from support.ranks import on_ranks
from ultra_optim.sharded import ShardedOptimizer
from ultra_train.system.processes import Processes
from ultra_train.trainer import data_parallel
from ultra_train.trainer.data_parallel import divided_on_host, divided_parameters

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def built(name: str, width: int = 8) -> torch.optim.Optimizer:
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(4)))
    return ultra_optim.create(name, model, 1e-2)


def test_each_host_divides_the_matrices_among_its_processes(monkeypatch):
    """Two hosts of two processes and one of one, which does all by itself."""
    monkeypatch.setattr(data_parallel, "LEAST", 1)
    local_ranks = (0, 1, 0, 1, 0)

    def run():
        rank = dist.get_rank()
        torch.manual_seed(0)
        optimizer = divided_on_host(built("muon"), Processes(rank, 5, local_ranks[rank], 2))
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for p in parameters:
            p.grad = p.detach().sin()
        optimizer.step()
        held = len(optimizer.state)
        return [p.detach() for p in parameters], held, isinstance(optimizer, ShardedOptimizer)

    ends = on_ranks(5, run)
    assert [end[1:] for end in ends] == [(2, True)] * 4 + [(4, False)]
    for weights, *_ in ends[:-1]:
        assert all(map(torch.equal, weights, ends[0][0]))
        torch.testing.assert_close(weights, ends[-1][0])


def test_small_matrices_and_other_methods_are_not_divided():
    assert divided_parameters(built("muon", 8)) == []
    assert len(divided_parameters(built("muon", 200))) == 4
    assert divided_parameters(built("lion", 200)) == []
