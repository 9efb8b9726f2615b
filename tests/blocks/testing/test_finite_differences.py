"""Gradients are compared as exactly as the traits of a plugin allow, and no trait excuses a wrong one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ultra_blocks.testing import FFNCase
from ultra_blocks.testing.finite_differences import check_gradients, check_precision
from ultra_blocks.traits import NumericTraits
from ultra_core.testing import Finding

EXACT, FP32, BF16 = NumericTraits(), NumericTraits(precision="fp32"), NumericTraits(precision="bf16")
STEPS = NumericTraits(straight_through=True)


def rounded(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x + (x.to(dtype).to(x.dtype) - x).detach()


def stepped(x: Tensor) -> Tensor:
    return x + (x.mul(4).round().div(4) - x).detach()


def smooth(x: Tensor) -> Tensor:
    return x.tanh()


def wrong(x: Tensor) -> Tensor:
    return smooth(x) + 0.2 * (smooth(x) - smooth(x).detach())


def examine(traits: NumericTraits, activation: Callable[[Tensor], Tensor], check: Any) -> None:
    """Check ``activation(W x)`` as a plugin with these traits."""
    torch.manual_seed(0)
    module = nn.Linear(6, 6).double()
    case = FFNCase(name="case", cls=type("Plugin", (), {"traits": traits}))
    check(case, lambda x: activation(module(x)), torch.randn(5, 6, dtype=torch.float64), module)


@pytest.mark.parametrize(
    ("traits", "activation"),
    [
        (EXACT, smooth),
        (FP32, lambda x: rounded(smooth(x), torch.float32)),
        (BF16, lambda x: rounded(smooth(x), torch.bfloat16)),
        (STEPS, lambda x: stepped(smooth(x))),
    ],
)
def test_right_gradients(traits: NumericTraits, activation: Callable[[Tensor], Tensor]) -> None:
    examine(traits, activation, check_gradients)
    examine(traits, activation, check_precision)


@pytest.mark.parametrize(
    ("traits", "activation", "message"),
    [
        (EXACT, wrong, "along the gradient of the input"),
        (FP32, lambda x: rounded(wrong(x), torch.float32), "along the gradient of the input"),
        (BF16, lambda x: rounded(wrong(x), torch.bfloat16), "along the gradient of the input"),
        (EXACT, lambda x: rounded(smooth(x), torch.float32), "along the gradient of"),
        (FP32, lambda x: rounded(smooth(x), torch.bfloat16), "limit 1e-02"),
        (STEPS, smooth, "has no jump"),
        (STEPS, wrong, "has no jump"),
        (STEPS, lambda x: stepped(x).detach() + 0 * x, "the gradient of the input .* is zero"),
        (STEPS, lambda x: stepped(x) - 2 * (x - x.detach()), "the ratio is not between"),
        (STEPS, lambda x: stepped(x) + 9 * (x - x.detach()), "the ratio is not between"),
    ],
)
def test_wrong_gradients(traits: NumericTraits, activation: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(Finding, match=message):
        examine(traits, activation, check_gradients)


@pytest.mark.parametrize("traits", [FP32, BF16])
def test_a_precision_that_is_not_needed(traits: NumericTraits) -> None:
    with pytest.raises(Finding, match="exact in fp64"):
        examine(traits, smooth, check_precision)


def test_a_precision_that_is_too_coarse() -> None:
    with pytest.raises(Finding, match="exact in fp32"):
        examine(BF16, lambda x: rounded(smooth(x), torch.float32), check_precision)


def test_the_module_is_as_it_was_before() -> None:
    for traits, activation in ((EXACT, smooth), (STEPS, stepped)):
        module = nn.Linear(3, 3).double()
        before = module.weight.detach().clone()
        case = FFNCase(name="case", cls=type("Plugin", (), {"traits": traits}))
        x = torch.ones(2, 3, dtype=torch.float64)
        check_gradients(case, lambda x, f=activation, m=module: f(m(x)), x, module)  # type: ignore[misc]
        assert torch.equal(module.weight, before)
