"""The block ``plugin_name`` keeps the rules of blocks, and does what it says."""

import pytest
import torch
from ultra_blocks.testing import BlockCase, block_cases, pytest_params
from ultra_core.testing import Rule

from plugin_name.block import PluginName


@pytest.mark.parametrize(("case", "rule"), pytest_params(block_cases(["plugin_name"])))
def test_it_keeps_the_rules_of_blocks(case: BlockCase, rule: Rule) -> None:
    rule(case)


def test_equal_tokens_are_their_own_average() -> None:
    block = PluginName(8, num_heads=2)
    x = torch.ones(1, 5, 8)
    value, gate = block.value_gate(x).chunk(2, dim=-1)
    torch.testing.assert_close(block(x), block.out_proj(torch.sigmoid(gate) * value))


def test_a_number_of_heads_that_does_not_divide_the_width_is_refused() -> None:
    with pytest.raises(ValueError, match="does not divide"):
        PluginName(8, num_heads=3)
