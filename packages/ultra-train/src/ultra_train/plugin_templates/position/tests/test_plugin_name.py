"""The position code ``plugin_name`` keeps the rules of position codes, and does what it says."""

import math

import pytest
import torch
from ultra_blocks.layout import Layout
from ultra_blocks.testing import PositionCase, position_cases, pytest_params
from ultra_core.testing import Rule

from plugin_name.position import PluginName


@pytest.mark.parametrize(("case", "rule"), pytest_params(position_cases(["plugin_name"])))
def test_it_keeps_the_rules_of_position_codes(case: PositionCase, rule: Rule) -> None:
    rule(case)


def test_the_bias_falls_with_the_logarithm_of_the_distance() -> None:
    bias = PluginName(2, strength=0.5).bias(Layout.full(1, 8), torch.float32)
    assert bias.shape == (1, 2, 8, 8)
    assert bias[0, 1, 7, 0].item() == pytest.approx(-0.5 * math.log(8))


def test_an_option_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="strength"):
        PluginName(2, strength=0.0)
