"""Correct optimizers of other libraries keep every rule, with the traits that say what they are."""

import pytest
from optim.testing.outside import pytorch_optimizers, torch_optimizers

from ultra_optim.testing import cases, check_optimizer

CLASSES = [*torch_optimizers.CLASSES, *pytorch_optimizers.CLASSES]


@pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled")  # torch's own warning
@pytest.mark.parametrize(("cls", "rule"), cases(CLASSES), ids=lambda value: getattr(value, "__name__", value))
def test_a_correct_optimizer_passes(cls: type, rule: str) -> None:
    check_optimizer(cls, rule)
