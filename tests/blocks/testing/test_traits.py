"""What the rules of traits accept and what they say."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.mixers.base import Mixer, Traits
from ultra_blocks.testing import RULES, RuleBroken, block_cases


class Maximum(Mixer):
    """The maximum of the document in each channel, which few tokens give: all others have no gradient."""

    traits: ClassVar[Traits] = Traits(full_context=False)

    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.value_proj = nn.Linear(hidden_size, hidden_size)
        self.reset_parameters()

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        value = self.value_proj(self.enter(x, layout))
        layout = layout or Layout.full(x.shape[0], x.shape[1], x.device)
        mask = layout.attention_mask(self.causal)
        if mask is None:
            return value.amax(1, keepdim=True).expand_as(value)
        return self.leave(value[:, None].masked_fill(~mask[:, 0, ..., None], -torch.inf).amax(2), layout)


class Alone(Maximum):
    """Every token by itself."""

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return self.leave(self.value_proj(self.enter(x, layout)), layout)


@pytest.mark.parametrize("case", [*block_cases([Maximum])], ids=str)
def test_a_maximum_depends_on_a_token_in_some_rows(case) -> None:
    RULES["B4"](case)


@pytest.mark.parametrize("case", [*block_cases([Alone])], ids=str)
def test_no_row_shows_a_dependence(case) -> None:
    with pytest.raises(RuleBroken, match="has a gradient below 1e-08 with respect to token"):
        RULES["B4"](case)
