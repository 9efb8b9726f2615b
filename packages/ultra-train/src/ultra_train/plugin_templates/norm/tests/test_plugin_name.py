"""The norm ``plugin_name`` keeps the rules of norms, and does what it says."""

import pytest
import torch
from ultra_blocks.testing import NormCase, norm_cases, pytest_params
from ultra_core.testing import Rule

from plugin_name.norm import PluginName


@pytest.mark.parametrize(("case", "rule"), pytest_params(norm_cases(["plugin_name"])))
def test_it_keeps_the_rules_of_norms(case: NormCase, rule: Rule) -> None:
    rule(case)


def test_the_mean_absolute_value_becomes_1() -> None:
    y = PluginName(16)(3 * torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(y.abs().mean(-1), torch.ones(2, 5))


def test_an_option_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="eps"):
        PluginName(8, eps=0.0)
