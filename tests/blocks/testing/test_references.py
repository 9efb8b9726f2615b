"""What the kit makes of references: none, names of functions, functions, and those that do not fit."""

import subprocess
import sys
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from ultra_blocks.ffn.mlp import MLP
from ultra_blocks.layout import Layout
from ultra_blocks.mixers.standard_attn import StandardAttention
from ultra_blocks.norms.base import Norm
from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_blocks.reference.ffns import mlp
from ultra_blocks.testing import (
    FFN_RULES,
    NORM_RULES,
    RULES,
    Case,
    RuleBroken,
    block_cases,
    ffn_cases,
    norm_cases,
    position_cases,
)
from ultra_blocks.testing.kit import trials
from ultra_blocks.testing.references import unproven
from ultra_blocks.traits import NormTraits
from ultra_core.testing import run

EVERY = [*block_cases(), *norm_cases(), *ffn_cases(), *position_cases()]


def first(cases: Any) -> Case:
    case: Case = next(iter(cases))
    return case


@pytest.mark.parametrize("case", EVERY, ids=str)
def test_every_plugin_of_ours_has_a_reference(case: Case) -> None:
    assert unproven(case) == ""


class Halves(Norm):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2


def halved(x: Tensor, state: Any, **arguments: Any) -> Tensor:
    return x / 2


def halved_first(x: Tensor, state: Any, **arguments: Any) -> Tensor:
    return x[:1] / 2


class HalvesByFormula(Halves):
    reference: ClassVar = halved


class TakesAThird(Halves):
    @staticmethod
    def reference(x: Tensor, state: Any, *, hidden_size: int, place: str) -> Tensor:
        return x / 3


class Misspelt(Halves):
    reference: ClassVar = "ultra_blocks.reference.norms:halved"


class NamesANumber(Halves):
    reference: ClassVar = "math:pi"


class AnswersForTheFirst(Halves):
    reference: ClassVar = halved_first


def test_without_a_reference_the_formula_is_unproven() -> None:
    report = run(trials([first(norm_cases([Halves]))], ["N5"]))
    assert report.summary() == "0 kept, 0 broken, 1 not tried because Halves has no reference"
    assert report.outcomes[0].reason.partition("; ")[2] == (
        'its formula is unproven until it has `reference = "package.module:function"`'
    )


def test_a_function_is_a_reference() -> None:
    NORM_RULES["N5"](first(norm_cases([HalvesByFormula])))


@pytest.mark.parametrize(
    ("cls", "seen"),
    [
        (TakesAThird, r"output\[0, \d+\] is \S+, in the reference \S+ \(.*\); length 1"),
        (
            Misspelt,
            "the reference 'ultra_blocks.reference.norms:halved' cannot be imported: module .* has no",
        ),
        (NamesANumber, "the reference 'math:pi' is a float, no function"),
        (AnswersForTheFirst, r"output has the shape \(2, 16\), in the reference \(1, 16\)"),
    ],
)
def test_a_reference_that_differs_breaks_the_rule(cls: type, seen: str) -> None:
    with pytest.raises(RuleBroken, match=seen):
        NORM_RULES["N5"](first(norm_cases([cls])))


class ScalesItsGradient(RMSNorm):
    """Forward it is the norm, backward twice that."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return 2 * y - y.detach()


def test_gradients_are_compared_by_name() -> None:
    with pytest.raises(RuleBroken, match=r"gradient of input at \[.*relative error 1.0e\+00"):
        NORM_RULES["N5"](first(norm_cases([ScalesItsGradient])))


class TiesItsHalves(Norm):
    """Two names of one parameter."""

    @staticmethod
    def reference(x: Tensor, state: Any, **arguments: Any) -> Tensor:
        return (x * state["first"] + state["second"]) * state["second"]

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.first = nn.Parameter(torch.ones(hidden_size))
        self.second = self.first

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.first + self.second) * self.second


def test_gradients_of_tied_weights_are_summed() -> None:
    NORM_RULES["N5"](first(norm_cases([TiesItsHalves])))


class Rounds(Norm):
    """A norm whose gradients are those of the identity, and which says so."""

    traits: ClassVar = NormTraits(straight_through=True)

    @staticmethod
    def reference(x: Tensor, state: Any, **arguments: Any) -> Tensor:
        return x.round()

    def forward(self, x: Tensor) -> Tensor:
        return x + (x.round() - x).detach()


def test_straight_through_gradients_are_not_compared() -> None:
    NORM_RULES["N5"](first(norm_cases([Rounds])))


class WithFewerOptions(StandardAttention):
    def __init__(self, hidden_size: int, *, num_heads: int = 2, causal: bool = False) -> None:
        super().__init__(hidden_size, num_heads=num_heads, causal=causal)


def test_a_reference_that_is_inherited_may_not_fit_the_constructor() -> None:
    case = first(block_cases([WithFewerOptions]))
    assert RULES["B30"].unless(case) == (
        "WithFewerOptions inherits a reference for which it lacks positions, qk_norm, window, softcap; "
        'its formula is unproven until it has `reference = "package.module:function"`'
    )


def mlp_and_size(x: Tensor, state: Any, **arguments: Any) -> tuple[Tensor, dict[str, Tensor]]:
    return mlp(x, state, **arguments), {"size": (x**2).mean()}


class WithALoss(MLP):
    """An MLP with a loss in training; it draws in training, which the comparison of ``y`` must not see."""

    reference: ClassVar = mlp_and_size

    def forward(self, x: Tensor, layout: Layout | None = None) -> Any:
        y = super().forward(x, layout)
        return (y * torch.rand(()), {"size": x.square().mean()}) if self.training else y


class WithAnotherLoss(WithALoss):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Any:
        y = super().forward(x, layout)
        return (y[0], {"size": 2 * y[1]["size"]}) if self.training else y


class WithoutItsLoss(WithALoss):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Any:
        return MLP.forward(self, x, layout)


def test_losses_are_those_of_training() -> None:
    FFN_RULES["F4"](first(ffn_cases([WithALoss])))
    with pytest.raises(RuleBroken, match="loss size is"):
        FFN_RULES["F4"](first(ffn_cases([WithAnotherLoss])))
    with pytest.raises(RuleBroken, match="the reference returns loss size, the plugin does not; length 1"):
        FFN_RULES["F4"](first(ffn_cases([WithoutItsLoss])))


def test_a_block_does_not_import_its_reference() -> None:
    program = "import sys, ultra_blocks.mixers.retnet; assert 'ultra_blocks.reference' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)
