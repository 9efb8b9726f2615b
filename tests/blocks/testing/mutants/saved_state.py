"""Blocks whose state, buffers or descriptions are lost, or whose norms mix tokens."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from blocks.testing.recurrence import Recurrence
from torch import Tensor, nn

from ultra_blocks.documents import by_document
from ultra_blocks.layout import Layout
from ultra_blocks.traits import Traits
from ultra_core.contracts import ParamInfo


class GRU(nn.Module):
    """A recurrence that decodes from no state, without a fault, from which mutants derive."""

    traits: ClassVar[Traits] = Traits(bidirectional=False, recurrent_step=True)

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.gru = nn.GRU(hidden_size, hidden_size, batch_first=True)
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return by_document(lambda x, mask: self.scaled(self.gru(x)[0]), x, layout)

    def scaled(self, y: Tensor) -> Tensor:
        return self.scale * y

    def init_state(self, batch: int) -> Tensor | None:
        return None

    def step(self, x_t: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        y, state = self.gru(x_t[:, None], state)
        return self.scaled(y[:, 0]), state


class ForgetsItsState(GRU):
    """``step`` returns None as the state, every time."""

    def step(self, x_t: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return super().step(x_t, None)[0], None


class ForgetsTheScale(GRU):
    """The scale, a parameter without a dimension, is not used."""

    def scaled(self, y: Tensor) -> Tensor:
        return y


class ScaleIsAMatrix(GRU):
    """The scale is described as a matrix."""

    def parameter_info(self) -> dict[str, ParamInfo]:
        vectors = {name: ParamInfo(kind="vector") for name, _ in self.named_parameters()}
        return {**vectors, "scale": ParamInfo(kind="matrix")}


class DescribesSome(GRU):
    """Describes a few parameters, so that the rest has no role."""

    def parameter_info(self) -> dict[str, ParamInfo]:
        return {"scale": ParamInfo(kind="vector", decay=False)}


class PlainTensor(GRU):
    """A mask that is an attribute, and stays on the device where it was made."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.gains = torch.linspace(0.5, 1.5, hidden_size).double()

    def scaled(self, y: Tensor) -> Tensor:
        return self.scale * y * self.gains.to(y.dtype)


class LostTable(GRU):
    """A table that is not saved, and not computed again."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.register_buffer("gains", self.values(hidden_size), persistent=False)

    def values(self, hidden_size: int) -> Tensor:
        return torch.linspace(0.5, 1.5, hidden_size)

    def scaled(self, y: Tensor) -> Tensor:
        return self.scale * y * self.gains


class OtherTable(LostTable):
    """The table is computed again, from other numbers."""

    def reset_buffers(self) -> None:
        self.gains.copy_(torch.linspace(0.5, 1.4, len(self.gains)))


class RandomTable(LostTable):
    """The table is drawn, and drawn again."""

    def values(self, hidden_size: int) -> Tensor:
        return torch.rand(hidden_size)

    def reset_buffers(self) -> None:
        self.gains.copy_(self.values(len(self.gains)))


class BatchNorm(GRU):
    """A norm over tokens and rows, whose statistics differ between training and evaluation."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.norm = nn.BatchNorm1d(hidden_size)

    def scaled(self, y: Tensor) -> Tensor:
        return self.scale * self.norm(y.reshape(-1, y.shape[-1])).view_as(y)


class NormsTheRow(GRU):
    """A group norm over the features of a whole row, in which a token sees later ones."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.norm = nn.GroupNorm(2, hidden_size)

    def scaled(self, y: Tensor) -> Tensor:
        return self.scale * (self.norm(y.mT).mT if y.ndim == 3 else y)


class ReadsPadding(nn.Module):
    """Both directions of a recurrence over padded rows: the one from the right reads padding first."""

    traits: ClassVar[Traits] = Traits(causal=False)

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(hidden_size, hidden_size // 2, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return by_document(lambda x, mask: self.lstm(x)[0], x, layout)


class WritesIntoItsState(Recurrence):
    """``step`` adds to the state that it was given."""

    def step(self, x_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        u, gate = self.in_proj(x_t).chunk(2, -1)
        state.mul_(self.decay.sigmoid().detach()).add_(u.detach())
        return self.out_proj(gate.sigmoid() * state), state


MUTANTS: list[tuple[Any, ...]] = [
    ("B5", ForgetsItsState),
    ("B15b", ForgetsTheScale),
    ("B15b", ScaleIsAMatrix),
    ("B15b", DescribesSome),
    ("B15", PlainTensor),
    ("B15", LostTable),
    ("B15", OtherTable),
    ("B15", RandomTable),
    ("B12", BatchNorm),
    ("B3", NormsTheRow),
    ("B2", ReadsPadding),
    ("B5", WritesIntoItsState, {"causal": True}),
]
