"""Constructors and traits of third parties, as they come: what cannot be used is said in one line."""

import re
from typing import Any, ClassVar

import pytest
import torch
from optim.testing.sound import Sound

from ultra_core.errors import PluginError
from ultra_core.testing import run
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.testing import trials


class Untyped(torch.optim.SGD):
    def __init__(self, params, lr=1e-3):  # type: ignore[no-untyped-def]
        super().__init__(params, lr)


class HidesItsOptions(torch.optim.SGD):
    def __init__(self, params: Any, **options: Any) -> None:
        super().__init__(params, **options)


class NoOptimizer:
    def __init__(self, params: Any, lr: float = 1e-3) -> None:
        self.param_groups = list(params)


class TraitsByHand(Sound):
    traits: ClassVar = {"decay": "coupled"}


class RateIsRequired(Sound):
    def __init__(self, params: Any, lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Untyped, "lr has no type to check a value against; annotate it: lr: float"),
        (HidesItsOptions, r"\*\*options hides the options; name every keyword argument"),
        (NoOptimizer, r"NoOptimizer\(\.\.\.\) is a NoOptimizer, no Optimizer"),
    ],
)
def test_what_is_no_optimizer_is_said_in_one_line(cls: Any, message: str) -> None:
    report = run(trials([cls]))
    (broken,) = report.broken
    assert broken.trial.rule.id == "C1"
    assert broken.error is not None
    assert re.search(message, broken.error.seen)


def test_traits_of_another_type_are_said_in_one_line() -> None:
    with pytest.raises(PluginError, match=r"TraitsByHand.traits is a dict; write traits = OptimizerTraits"):
        trials([TraitsByHand])
    with pytest.raises(ValueError, match="decay is 'l2'; one of"):
        OptimizerTraits(decay="l2")  # type: ignore[arg-type]


def test_a_required_learning_rate_will_do() -> None:
    assert not run(trials([RateIsRequired])).broken
