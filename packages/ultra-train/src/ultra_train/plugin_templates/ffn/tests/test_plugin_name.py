"""The FFN ``plugin_name`` keeps the rules of FFNs, and does what it says."""

import pytest
import torch
from torch.nn.functional import silu
from ultra_blocks.testing import FFNCase, ffn_cases, pytest_params
from ultra_core.testing import Rule

from plugin_name.ffn import PluginName


@pytest.mark.parametrize(("case", "rule"), pytest_params(ffn_cases(["plugin_name"])))
def test_it_keeps_the_rules_of_ffns(case: FFNCase, rule: Rule) -> None:
    rule(case)


def test_with_a_slope_of_1_it_is_swiglu() -> None:
    ffn = PluginName(8, 16)
    x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    gate, up = ffn.gate_up(x).chunk(2, dim=-1)
    torch.testing.assert_close(ffn(x), ffn.down(silu(gate) * up))


def test_an_option_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="slope"):
        PluginName(8, 16, slope=-1.0)
