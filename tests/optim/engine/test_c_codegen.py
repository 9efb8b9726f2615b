"""C source from traced updates: each operation, and those that cannot be traced."""

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ultra_optim.engine.c_backend import Signature, loop_for
from ultra_optim.engine.c_codegen import source_of
from ultra_optim.engine.c_operations import OPERATIONS
from ultra_optim.engine.compilation import compilable

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="needs a C compiler"
)


CALLS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "abs": lambda x, y, z: x.abs(),
    "add": lambda x, y, z: torch.add(x, y, alpha=3),
    "addcdiv": lambda x, y, z: torch.addcdiv(x, y, z, value=0.5),
    "addcmul": lambda x, y, z: torch.addcmul(x, y, z, value=0.5),
    "clamp": lambda x, y, z: x.clamp(-0.5, 0.25),
    "clamp_max": lambda x, y, z: x.clamp_max(0.5),
    "clamp_min": lambda x, y, z: x.clamp_min(0.5),
    "clone": lambda x, y, z: x.clone().mul_(2).add_(x),
    "div": lambda x, y, z: x / y,
    "ge": lambda x, y, z: x.clone().ge_(y),
    "lerp": lambda x, y, z: torch.lerp(x, y, 0.3),
    "lt": lambda x, y, z: torch.where(x < y, x, y),
    "mul": lambda x, y, z: 3 * x * y,
    "neg": lambda x, y, z: -x,
    "reciprocal": lambda x, y, z: x.reciprocal(),
    "rsqrt": lambda x, y, z: x.rsqrt(),
    "rsub": lambda x, y, z: 2 - x,
    "sign": lambda x, y, z: x.sign(),
    "sqrt": lambda x, y, z: x.sqrt(),
    "square": lambda x, y, z: x.square(),
    "sub": lambda x, y, z: torch.sub(x, y, alpha=0.25),
    "where": lambda x, y, z: torch.where(x >= y, y, z),
}


def test_every_operation_is_tried() -> None:
    assert CALLS.keys() == OPERATIONS.keys()


@needs_compiler
@pytest.mark.parametrize("name", CALLS)
@torch.no_grad()
def test_operations_on_all_kinds_of_numbers(name: str) -> None:
    @compilable
    def update(params: list[Tensor], grads: list[Tensor], third: list[Tensor], *, one: Any) -> None:
        params[0].copy_(CALLS[name](params[0], grads[0], third[0]) * one)

    infinity = float("inf")
    kinds = [0.0, -0.0, 1.0, -2.5, 1e-40, infinity, -infinity, float("nan"), 0.5, -0.5]
    pairs = torch.cartesian_prod(torch.tensor(kinds), torch.tensor(kinds))
    for dtype in (torch.float32, torch.float64):
        x, y = pairs.to(dtype).unbind(1)
        rows = [[x.clone(), y.clone(), y.flip(0)] for _ in range(2)]
        loop_for(update, Signature(dtype, (False,) * 3), {"one": 1.0})(rows[:1])
        update(*([t] for t in rows[1]), one=1.0)
        torch.testing.assert_close(rows[0][0], rows[1][0], rtol=1e-6, atol=0, equal_nan=True)


def test_operations_that_are_not_known() -> None:
    def update(params: list[Tensor], grads: list[Tensor], *, lr: Any) -> None:
        params[0].sub_(grads[0].sin() * lr)

    def rounded(params: list[Tensor], grads: list[Tensor]) -> None:
        params[0].div_(grads[0], rounding_mode="floor")

    def filled(params: list[Tensor], grads: list[Tensor]) -> None:
        params[0].copy_(grads[0].sum())

    def mixed(params: list[Tensor], grads: list[Tensor]) -> None:
        params[0].sub_(grads[0] / grads[0].sum())

    with pytest.raises(
        NotImplementedError, match=r"^update .* calls sin; known are abs, add, .*_vector_norm"
    ):
        source_of(update, [False, False], ["lr"], {}, torch.float32)
    with pytest.raises(NotImplementedError, match="calls div_ with 2, rounding_mode arguments"):
        source_of(rounded, [False, False], [], {}, torch.float32)
    with pytest.raises(NotImplementedError, match="on elements and a sum"):
        source_of(filled, [False, False], [], {}, torch.float32)
    with pytest.raises(NotImplementedError, match="on elements and a sum of all of them"):
        source_of(mixed, [False, False], [], {}, torch.float32)
