"""Properties that need no reference: what they are about, and what breaks them."""

import pytest
import torch
from blocks.testing.mutants.properties import Plain, ScalesNothing, Standard

from ultra_blocks.testing import (
    NORM_RULES,
    RULES,
    BlockCase,
    NormCase,
    RuleBroken,
    block_cases,
    norm_cases,
)
from ultra_blocks.testing.properties import SPREAD, _spread


@pytest.mark.parametrize("case", list(block_cases([Plain])), ids=str)
@pytest.mark.parametrize("rule", ["B31", "B32"])
def test_plain_attention_has_both_properties(case: BlockCase, rule: str) -> None:
    assert RULES[rule].applies(case)
    RULES[rule](case)


def test_a_norm_has_what_it_declares() -> None:
    for case in norm_cases([Standard]):
        NORM_RULES["N6"](case)


def test_the_rules_are_about_what_is_declared() -> None:
    blocks = {case.name: case for case in block_cases()}
    declared = {name for name, case in blocks.items() if RULES["B31"].applies(case)}
    assert declared == {
        "bigbird_attn",
        "fox_attn",
        "gated_softmax_attn",
        "gqa_attn",
        "latent_attn",
        "ode",
        "standard_attn",
    }
    scaled = {name for name, case in blocks.items() if RULES["B32"].applies(case)}
    assert scaled == declared - {"fox_attn", "ode"}
    norms = {case.name: case for case in norm_cases()}
    assert {name for name, case in norms.items() if NORM_RULES["N6"].applies(case)} == {
        "layer_norm",
        "rms_norm",
    }


@pytest.mark.parametrize("hidden_size", [16, 32])
def test_the_variance_of_scores_is_measured(hidden_size: int) -> None:
    """Of n tokens, n sum a^2 is e for scores of variance 1; without a scale one token takes nearly all."""
    plain, unscaled = (
        BlockCase(name="block", cls=cls, hidden_size=4 * hidden_size) for cls in (Plain, ScalesNothing)
    )
    found = torch.tensor([_spread(plain, seed) for seed in range(16)])
    low, high = SPREAD
    assert low < found.mean() - found.std() / 2
    assert found.mean() + found.std() / 2 < high
    assert _spread(unscaled, 0) > 2 * high


def test_a_message_says_what_was_measured() -> None:
    with pytest.raises(
        RuleBroken, match=r"the variance of the scores is about 3\.\d+, not 1: .* at width 64"
    ):
        RULES["B32"](next(iter(block_cases([ScalesNothing]))))
    case: NormCase = next(iter(norm_cases([Standard])))
    assert not NORM_RULES["N6"].unless(case)


class OfOneWidth(Plain):
    def __init__(self, hidden_size: int, *, num_heads: int = 2, causal: bool = False) -> None:
        if hidden_size != 16:
            raise ValueError("OfOneWidth: hidden_size must be 16")
        super().__init__(hidden_size, num_heads=num_heads, causal=causal)


def test_a_block_of_one_width_is_not_measured_at_another() -> None:
    case: BlockCase = next(iter(block_cases([OfOneWidth])))
    obstacle = "OfOneWidth cannot be built with hidden_size 64 and these options"
    assert RULES["B32"].unless(case) == obstacle
