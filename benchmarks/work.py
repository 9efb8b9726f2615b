"""The unit of work of the block benchmark: forward and backward of a module, timed, with peak memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import attrs
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from ultra_blocks.layout import Layout

REAL = 7 / 8
"""Fraction of real tokens; rows are padded on the right, the shortest by a quarter."""


@attrs.frozen
class Setting:
    """Settings of a table: sizes, device and dtype."""

    width: int = 256
    heads: int = 4
    tokens: int = 4096
    device: str = "cpu"
    dtype: torch.dtype = torch.float32

    def mask(self, length: int) -> Tensor:
        """Return the ``(B, T)`` mask of ``tokens`` positions in rows of ``length``."""
        rows = self.tokens // length
        spread = torch.linspace(-1, 1, rows) if rows > 1 else torch.zeros(1)
        real = (length * (REAL + (1 - REAL) * spread)).long()
        return (torch.arange(length) < real[:, None]).to(self.device)

    def autocast(self) -> AbstractContextManager[object]:
        """Weights stay fp32; a lower dtype is autocast's, as in training."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device, self.dtype)


Call = Callable[[Tensor, Tensor], Tensor]
"""Output of ``(x, mask)``."""


class Work:
    """Forward and backward, including the gradient of the input; a call returns the seconds it took."""

    def __init__(
        self, setting: Setting, module: nn.Module, length: int, call: Call, width: int | None = None
    ) -> None:
        self.setting, self.call = setting, call
        self.module = module.to(setting.device).train()
        self.mask = setting.mask(length)
        shape = (*self.mask.shape, width or setting.width)
        self.x = torch.randn(shape, device=setting.device, requires_grad=True)
        self.gradient = torch.randn(shape, device=setting.device)

    def step(self) -> None:
        self.x.grad = None
        self.module.zero_grad(set_to_none=True)
        y = self.output()
        y.backward(self.gradient.to(y.dtype))

    def output(self) -> Tensor:
        with self.setting.autocast():
            return self.call(self.x, self.mask)

    def __call__(self) -> float:
        start = time.perf_counter()
        self.step()
        if self.setting.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def peak(self) -> float:
        """Return the peak memory of a step in bytes, above the memory before it."""
        self.step()
        self.x.grad = None
        self.module.zero_grad(set_to_none=True)
        if self.setting.device != "cpu":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            self.step()
            return torch.cuda.max_memory_allocated() - before
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
            self.step()
        events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
        held = highest = 0
        for event in sorted(events, key=lambda e: e.start_ns()):
            held += event.nbytes()
            highest = max(highest, held)
        return highest


def of_block(block: nn.Module) -> Call:
    """Call a block of ultra with a new layout and new tables, which layers of a model would share."""

    def call(x: Tensor, mask: Tensor) -> Tensor:
        y = block(x, Layout.from_mask(mask))
        return y[0] if isinstance(y, tuple) else y

    return call


def without_fla(call: Call) -> Call:
    """Disable the kernels of flash-linear-attention."""

    def switched(x: Tensor, mask: Tensor) -> Tensor:
        os.environ["ULTRA_DISABLE_FLA"] = "1"
        try:
            return call(x, mask)
        finally:
            del os.environ["ULTRA_DISABLE_FLA"]

    return switched


class Projections(Work):
    """The large projections of a layer, which every implementation of it needs."""

    def __init__(self, setting: Setting, module: nn.Module, length: int) -> None:
        layers = [m for m in module.modules() if isinstance(m, nn.Linear) and m.out_features >= setting.width]
        self.layers = layers
        widest = max(layer.in_features for layer in layers)
        super().__init__(setting, nn.ModuleList(layers), length, of_block(nn.Identity()), widest)
        self.gradients = [self.x.new_ones(*self.mask.shape, layer.out_features) for layer in layers]

    def step(self) -> None:
        self.x.grad = None
        self.module.zero_grad(set_to_none=True)
        with self.setting.autocast():
            outputs = [layer(self.x[..., : layer.in_features]) for layer in self.layers]
        pairs = zip(self.gradients, outputs, strict=True)
        torch.autograd.backward(outputs, [gradient.to(y.dtype) for gradient, y in pairs])
