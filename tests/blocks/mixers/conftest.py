from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode


class _Watch(TorchDispatchMode):
    """Counts operations, and the numbers in the largest tensor that one of them makes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.calls += 1
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().nbytes():
                held = tensor.untyped_storage().nbytes() // tensor.element_size()
                self.largest = max(self.largest, held)
        return made


@pytest.fixture
def watched() -> Callable[[nn.Module, int], tuple[int, int]]:
    """Forward and backward over that many tokens: operations, and numbers in the largest tensor."""

    def watch(module: nn.Module, length: int) -> tuple[int, int]:
        x = torch.randn(1, length, module.hidden_size, requires_grad=True)
        with _Watch() as mode:
            module(x).sum().backward()
        return mode.calls, mode.largest

    return watch
