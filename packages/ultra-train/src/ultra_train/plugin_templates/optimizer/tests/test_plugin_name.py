"""The optimizer ``plugin_name`` keeps the rules of optimizers, and does what it says."""

import pytest
import torch
from ultra_optim.testing import cases, check_optimizer

from plugin_name.optimizer import PluginName


@pytest.mark.parametrize(("name", "rule"), cases(["plugin_name"]))
def test_it_keeps_the_rules_of_optimizers(name: str, rule: str) -> None:
    check_optimizer(name, rule)


def test_a_step_has_the_root_mean_square_of_the_learning_rate() -> None:
    p = torch.nn.Parameter(torch.zeros(3, 4))
    p.grad = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    PluginName([p], lr=0.1).step()
    assert p.detach().square().mean().sqrt().item() == pytest.approx(0.1)


def test_an_option_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="momentum"):
        PluginName([torch.nn.Parameter(torch.zeros(2))], momentum=1.0)
