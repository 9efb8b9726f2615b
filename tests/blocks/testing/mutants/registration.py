"""State that is not registered, changes by itself, or does not start as it was asked to."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import torch
from blocks.testing.sound import Sound
from torch import Tensor, nn

from ultra_blocks.ffn.mlp import MLP
from ultra_blocks.layout import Layout
from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_blocks.positions.learned import Learned
from ultra_blocks.traits import Traits


class FreezesAParameter(Sound):
    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.gain.requires_grad_(False)


class NamesATrainedParameter(Sound):
    traits: ClassVar[Traits] = attrs.evolve(Sound.traits, frozen=frozenset({"gain"}))


class NamesNoParameter(FreezesAParameter):
    traits: ClassVar[Traits] = attrs.evolve(Sound.traits, frozen=frozenset({"gain", "gains"}))


class ListsItsModules(Sound):
    """Projections in a plain list are neither trained nor saved."""

    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.more = [nn.Linear(hidden_size, hidden_size).double()]

    def opening(self, x: Tensor) -> Tensor:
        return super().opening(self.more[0](x.double()).to(x.dtype))


class DrawsADirection(Sound):
    """A random tensor decides the output and is not in the state dict."""

    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.directions = {"gate": torch.randn(hidden_size)}

    def opening(self, x: Tensor) -> Tensor:
        return super().opening(x + self.directions["gate"].to(x.dtype))


class DrawsANumber(Sound):
    """A random number of the constructor decides the output, and a loaded block has another one."""

    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.shift = float(torch.randn(()))

    def opening(self, x: Tensor) -> Tensor:
        return super().opening(x + self.shift)


class CreatesAParameterLate(Sound):
    def opening(self, x: Tensor) -> Tensor:
        if not hasattr(self, "late"):
            self.late = nn.Parameter(torch.zeros(self.hidden_size, dtype=x.dtype))
        return super().opening(x + self.late)


class CountsCallsInABuffer(Sound):
    calls: Tensor

    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def opening(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().opening(x)


class KeepsItsFirstDtype(Sound):
    """The ramp of the first call is kept, also when the module is cast to another dtype."""

    ramp: Tensor | None = None

    def opening(self, x: Tensor) -> Tensor:
        if self.ramp is None:
            self.ramp = torch.linspace(0, 1, x.shape[-1], dtype=x.dtype)
        return super().opening((x + self.ramp).to(self.ramp.dtype))


class KeepsRunningMeans(RMSNorm):
    """The norm remembers the mean of what it has seen, in evaluation, too."""

    mean: Tensor

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.register_buffer("mean", torch.zeros(hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        self.mean.lerp_(x.detach().flatten(0, -2).mean(0).to(self.mean.dtype), 0.1)
        return super().forward(x)


class TabulatesInAList(Learned):
    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.shifts = [torch.randn(hidden_size)]

    def embed(self, layout: Layout) -> Tensor:
        y = super().embed(layout)
        return y + self.shifts[0].to(y.dtype)


class HidesItsExperts(MLP):
    def __init__(self, hidden_size: int, ffn_hidden_size: int) -> None:
        super().__init__(hidden_size, ffn_hidden_size)
        self.others = (MLP(hidden_size, ffn_hidden_size).double(),)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return super().forward(x, layout) + self.others[0](x.double(), layout).to(x.dtype)


class LeavesOutAProjection(Sound):
    """A bare parameter keeps its first size, whatever ``std`` the encoder asks for."""

    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.mix = nn.Parameter(0.05 * torch.randn(hidden_size, hidden_size))

    def normalise(self, y: Tensor) -> Tensor:
        return super().normalise(y) @ self.mix.mT


class StartsTooLarge(Sound):
    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        super().reset_parameters(std=std, residual_scale=residual_scale)
        nn.init.normal_(self.qkv_proj.weight, 0.0, 50 * std)


class IgnoresTheResidualScale(Sound):
    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        super().reset_parameters(std=std)


class RepeatsARow(Sound):
    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        super().reset_parameters(std=std, residual_scale=residual_scale)
        with torch.no_grad():
            self.qkv_proj.weight.copy_(self.qkv_proj.weight[:1].expand_as(self.qkv_proj.weight))


class FFNIgnoresTheResidualScale(MLP):
    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        super().reset_parameters(std=std)


class DrawsFromItsOwnSeed(Sound):
    """The projection of the gate is the same whatever the global seed."""

    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        super().reset_parameters(std=std, residual_scale=residual_scale)
        own = torch.Generator().manual_seed(7)
        nn.init.normal_(self.gate_proj.weight, 0.0, std, generator=own)


MUTANTS: list[tuple[Any, ...]] = [
    *(
        ("B15f", cls)
        for cls in (
            FreezesAParameter,
            NamesATrainedParameter,
            NamesNoParameter,
            ListsItsModules,
            DrawsADirection,
            DrawsANumber,
            CreatesAParameterLate,
            CountsCallsInABuffer,
            KeepsItsFirstDtype,
        )
    ),
    ("N4c", KeepsRunningMeans),
    ("P5c", TabulatesInAList),
    ("F3d", HidesItsExperts),
    *(("B15g", cls) for cls in (LeavesOutAProjection, StartsTooLarge, IgnoresTheResidualScale, RepeatsARow)),
    ("F3e", FFNIgnoresTheResidualScale),
    ("B15c", DrawsFromItsOwnSeed),
]
