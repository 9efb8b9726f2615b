"""Types of torch modules are recognised by the names of their classes."""

import pytest
import torch
from torch import nn

from ultra_core.module_types import is_linear, is_norm, kind_by_type, stacked_in


class Gain(nn.Module):
    """A norm of another library, which has no base class in common with torch's."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))


class Own(nn.LayerNorm):
    pass


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 5))


class LayerNorm(nn.Module):
    """Has only the name of a norm, and a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 3))


class Quantised(nn.Module):
    in_features, out_features = 2, 3

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))


NORMS = [
    nn.LayerNorm(2),
    nn.RMSNorm(2),
    nn.GroupNorm(1, 2),
    nn.BatchNorm1d(2),
    nn.InstanceNorm2d(2),
    Own(2),
    Gain(2),
]
OTHERS = [
    *(nn.Linear(1, 1), nn.PReLU(), nn.Conv1d(2, 2, 1), nn.Embedding(2, 2), nn.Sequential(Gain(2))),
    *(Table(), LayerNorm(), Quantised()),
]


@pytest.mark.parametrize("module", NORMS, ids=lambda module: type(module).__name__)
def test_norms(module: nn.Module) -> None:
    assert is_norm(module)
    assert not is_linear(module)


@pytest.mark.parametrize("module", OTHERS, ids=lambda module: type(module).__name__)
def test_others_are_no_norms(module: nn.Module) -> None:
    assert not is_norm(module)


def test_linear_maps() -> None:
    assert is_linear(nn.Linear(2, 3))
    assert is_linear(Quantised())
    assert not is_linear(nn.Conv1d(2, 3, 1))


def test_kinds() -> None:
    assert kind_by_type(nn.Conv1d(2, 2, 1)) == "conv"
    assert kind_by_type(nn.Embedding(2, 2)) == "embedding"
    assert kind_by_type(nn.Linear(1, 1)) is None


def test_stacked_matrices() -> None:
    assert stacked_in(nn.MultiheadAttention(4, 2), "in_proj_weight") == 3
    assert stacked_in(nn.MultiheadAttention(4, 2), "q_proj_weight") == 1
    assert stacked_in(nn.LSTM(2, 2), "weight_hh_l0") == 4
    assert stacked_in(nn.LSTM(2, 2, proj_size=1), "weight_hr_l0") == 1
    assert stacked_in(nn.GRUCell(2, 2), "weight_ih") == 3
    assert stacked_in(nn.RNN(2, 2), "weight_ih_l0") == 1
    assert stacked_in(nn.Linear(2, 6), "weight") == 1
