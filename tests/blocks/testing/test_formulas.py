"""The comparison with references: the lengths and the options at which it takes place."""

from typing import Any

import pytest
import torch
from blocks.testing.mutants.formulas import HasAWiderWindow, SharesTheGainOfQueries
from torch import Tensor

from ultra_blocks.layout import Layout
from ultra_blocks.mixers.base import Mixer
from ultra_blocks.mixers.standard_attn import StandardAttention
from ultra_blocks.positions.learned import Learned
from ultra_blocks.testing import POSITION_RULES, RULES, RuleBroken, block_cases, position_cases


class FailsFrom(StandardAttention):
    """Its outputs are off from the 65th token on, as with a table of 64 positions."""

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        y = super().forward(x, layout)
        return torch.cat((y[:, :64], y[:, 64:] * (1 + 1e-6)), 1)


@pytest.mark.parametrize(
    ("cls", "seen"),
    [
        (FailsFrom, r"output\[\d+, \d+\] is .*; length 130"),
        (SharesTheGainOfQueries, "; qk_norm=True, length 19"),
        (HasAWiderWindow, "; window=3, length 19"),
    ],
)
def test_long_rows_and_other_options_are_compared(cls: type[Mixer], seen: str) -> None:
    with pytest.raises(RuleBroken, match=seen):
        RULES["B30"](next(iter(block_cases([cls]))))


def test_an_option_may_refuse_a_length() -> None:
    """A table of a few positions is too short for the length that is compared."""
    (case,) = position_cases([Learned])
    short: Any = case.build(max_positions=3)
    with pytest.raises(ValueError, match="the table has 3"):
        short.embed(Layout.full(1, 19))
    POSITION_RULES["P6"](case)
