"""An FFN that mixes tokens is told so, not to clear padding."""

from __future__ import annotations

from torch import Tensor

from ultra_blocks.ffn.mlp import MLP
from ultra_blocks.layout import Layout
from ultra_blocks.testing import ffn_cases, trials
from ultra_core.testing import run


class NormalisesTheColumn(MLP):
    """A softmax over the wrong dimension."""

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        x = self.enter(x, layout)
        return self.leave(super().forward(x, layout) * x.softmax(1), layout)


def test_mixing_comes_before_padding() -> None:
    report = run(trials(ffn_cases([NormalisesTheColumn]), ["F1", "F1b"]))
    assert [(outcome.trial.rule.id, outcome.kind) for outcome in report.outcomes] == [
        ("F1b", "broken"),
        ("F1", "left out"),
    ]
