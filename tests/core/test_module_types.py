"""Types of torch modules are recognised by the names of their classes."""

import pytest
import torch
from torch import nn

from ultra_core.module_types import is_linear, is_norm


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
