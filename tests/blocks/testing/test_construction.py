"""Plugins that are not what a kit takes are told so in one line, and nothing else is tried on them."""

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.mixers.base import Mixer
from ultra_blocks.testing import Case, block_cases, ffn_cases, norm_cases, position_cases, trials
from ultra_blocks.traits import Traits
from ultra_core.testing import run


class Scale(nn.Module):
    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x


class CallableNorm:
    def __init__(self, hidden_size: int) -> None:
        self.hidden_size = hidden_size

    def __call__(self, x: Tensor) -> Tensor:
        return x


class TakesOnlyX(Scale):
    traits: ClassVar[Traits] = Traits(causal=False)


class ReturnsNothing(Mixer):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return None  # type: ignore[return-value]


class ForgetsItsBase(Mixer):
    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        self.hidden_size = hidden_size


class WithoutForward(Mixer):
    pass


class TraitsInADict(TakesOnlyX):
    traits: ClassVar[Any] = {"causal": False}


class BothDirections(TakesOnlyX):
    traits: ClassVar[Traits] = Traits()


class HidesItsOptions(Mixer):
    def __init__(self, hidden_size: int, **options: Any) -> None:
        super().__init__(hidden_size)


class NeedsAWidth(Mixer):
    def __init__(self, hidden_size: int, *, width: int, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)


class NeedsWidth48(Mixer):
    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        if hidden_size % 48:
            raise ValueError(f"{hidden_size} is no multiple of 48")


class HalfPrecision(Mixer):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return x.float()


class JustAKind(nn.Module):
    kind = "bias"

    def __init__(self, num_heads: int) -> None:
        super().__init__()

    def bias(self, layout: Layout, dtype: torch.dtype) -> Tensor:
        return torch.zeros(1, 2, *layout.mask.shape[1:] * 2, dtype=dtype)


class PlainCode:
    kind = "rotate"


def make_norm(hidden_size: int) -> nn.Module:
    return nn.LayerNorm(hidden_size)


@pytest.mark.parametrize(
    ("cases", "plugin", "rule", "seen", "fix"),
    [
        (
            norm_cases,
            CallableNorm,
            "C1",
            "CallableNorm(hidden_size=16) is no nn.Module",
            "class CallableNorm(Norm)",
        ),
        (
            block_cases,
            TakesOnlyX,
            "C2",
            "called with x (2, 5, 16) and None, TakesOnlyX raises TypeError",
            "layout:",
        ),
        (
            ffn_cases,
            TakesOnlyX,
            "C2",
            "called with x (2, 5, 16) and None, TakesOnlyX raises TypeError",
            "layout:",
        ),
        (block_cases, ReturnsNothing, "C2", "it returns a NoneType, no tensor", "returns ``(B, T, D)``"),
        (block_cases, WithoutForward, "C2", "WithoutForward raises", "def forward"),
        (block_cases, ForgetsItsBase, "C1", "does not call that of its base", "super().__init__(...)"),
        (block_cases, HalfPrecision, "C2", "x is torch.float64, the output torch.float32", "y.to(x.dtype)"),
        (block_cases, TraitsInADict, "C1", "traits is {'causal': False}", "traits: ClassVar = Traits(...)"),
        (block_cases, BothDirections, "C1", "no argument causal", "Traits(causal=False)"),
        (block_cases, HidesItsOptions, "C1", "**options hides the options", "write every argument out"),
        (
            block_cases,
            NeedsAWidth,
            "C1",
            "missing 1 required keyword-only argument: 'width'",
            "testing_options",
        ),
        (block_cases, NeedsWidth48, "C1", "16 is no multiple of 48", "16, 32, 64 and 128"),
        (
            position_cases,
            JustAKind,
            "C2",
            "JustAKind derives from Module, not from PositionCode",
            "class Name(",
        ),
        (position_cases, PlainCode, "C1", "PlainCode() is no nn.Module", "class PlainCode(PositionCode)"),
    ],
)
def test_one_clear_line(cases: Any, plugin: Any, rule: str, seen: str, fix: str) -> None:
    case: Case = next(iter(cases([plugin])))
    report = run(trials([case]))
    (outcome,) = report.broken
    assert outcome.trial.rule.id == rule
    error = outcome.error
    assert error is not None
    assert seen in error.seen
    assert fix in error.fix
    assert report.summary().endswith(f"not tried because {rule} is broken")


def test_a_factory_is_a_plugin_too() -> None:
    report = run(trials(norm_cases([make_norm])))
    assert not report.broken, report.summary()


class WidthOf64(Scale):
    traits: ClassVar[Traits] = Traits(causal=False)
    testing_options: ClassVar[dict[str, Any]] = {"depth": 3}

    def __init__(self, hidden_size: int, *, depth: int) -> None:
        if hidden_size < 64:
            raise ValueError("the heads are 64 wide")
        super().__init__(hidden_size)
        self.depth = depth


def test_width_and_options_of_the_test_follow_from_the_class() -> None:
    (case,) = block_cases([WidthOf64])
    assert case.hidden_size == 64
    assert case.build().depth == 3
    (case,) = block_cases([WidthOf64], options={"depth": 4}, hidden_size=128)
    assert case.hidden_size == 128
    assert case.build().depth == 4
