"""Right plugins whose options act in one direction, in training, or at the start only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import pytest
import torch
from blocks.testing.sound import Sound
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.testing import RULES, block_cases


class ActsInOneDirection(Sound):
    def __init__(self, hidden_size: int, *, causal: bool = False, diagonal: bool = True) -> None:
        super().__init__(hidden_size, causal=causal)
        self.diagonal = diagonal or causal

    def allowed(self, layout: Layout) -> Tensor:
        allowed = super().allowed(layout)
        eye = torch.eye(allowed.shape[-1], dtype=torch.bool)
        return (
            allowed
            if self.diagonal
            else torch.where(eye & (allowed.sum(-1, keepdim=True) > 1), False, allowed)
        )


class ActsAtTheStart(Sound):
    def __init__(self, hidden_size: int, *, causal: bool = False, gain_init: float = 1.0) -> None:
        super().__init__(hidden_size, causal=causal)
        nn.init.constant_(self.gain, gain_init)


class ActsInTraining(Sound):
    def __init__(self, hidden_size: int, *, causal: bool = False, jitter: float = 0.0) -> None:
        super().__init__(hidden_size, causal=causal)
        self.jitter = jitter

    def opening(self, x: Tensor) -> Tensor:
        return super().opening(x + self.jitter * torch.randn_like(x) if self.training else x)


class StandsForAChoice(Sound):
    """None is one of the other values: which one depends on the direction."""

    def __init__(
        self, hidden_size: int, *, causal: bool = False, form: Literal["sigmoid", "tanh"] | None = None
    ) -> None:
        super().__init__(hidden_size, causal=causal, gate=form or ("tanh" if causal else "sigmoid"))


class NeedsAContext(Sound):
    variations: ClassVar[Mapping[str, Any]] = {"shift": {"shifted": True}}

    def __init__(
        self, hidden_size: int, *, causal: bool = False, shifted: bool = False, shift: float = 1.0
    ) -> None:
        super().__init__(hidden_size, causal=causal)
        self.shift = shift if shifted else 0.0

    def opening(self, x: Tensor) -> Tensor:
        return super().opening(x + self.shift)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "cls", [ActsInOneDirection, ActsAtTheStart, ActsInTraining, StandsForAChoice, NeedsAContext]
)
def test_an_option_that_acts_somewhere_is_no_fault(cls: Any, causal: bool) -> None:
    RULES["U2"](list(block_cases([cls]))[causal])
