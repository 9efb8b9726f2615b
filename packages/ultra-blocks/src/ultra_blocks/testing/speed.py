"""The rule of speed: no loop in Python over tokens."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ultra_blocks.layout import Layout
from ultra_blocks.testing.cases import Case, gradients, output, takes_columns
from ultra_blocks.testing.construction import BLOCK_RULES, FFN_RULES
from ultra_core.testing import Finding

LENGTHS = (128, 256)

KIT = __name__.rpartition(".")[0]

LEAST_CHUNK = 8
"""A loop over chunks takes at least so many tokens at once; half of what is usual, since ends may overlap."""

Site = tuple[CodeType, int, str]
"""Where a torch function is called: the code, the offset of its instruction, and the function's name."""


class Sites:
    """Counts calls by the place in the plugin's code that they come from."""

    def __init__(self) -> None:
        self.counts: Counter[Site] = Counter()
        self.lines: dict[Site, str] = {}

    def count(self, name: str) -> None:
        """Count a call of a torch function, made by the innermost frame that is not torch's."""
        frame = sys._getframe(2)
        while frame.f_back is not None and _package(frame) == "torch":
            frame = frame.f_back
        if str(frame.f_globals.get("__name__")).startswith(KIT):
            return
        site = (frame.f_code, frame.f_lasti, name)
        self.counts[site] += 1
        if site not in self.lines:
            self.lines[site] = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _package(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0]


class Calls(TorchFunctionMode):
    """Counts the calls of torch functions that Python makes; loops inside of torch are not seen."""

    def __init__(self, sites: Sites) -> None:
        super().__init__()
        self.sites = sites

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count a call and make it."""
        self.sites.count(getattr(func, "__name__", str(func)))
        return func(*args, **(kwargs or {}))


class Operations(TorchDispatchMode):
    """Counts operations that Python code causes, also in a backward pass, where the other mode is off."""

    def __init__(self, sites: Sites) -> None:
        super().__init__()
        self.sites = sites

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count an operation and run it."""
        self.sites.count(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def no_loop_over_tokens(case: Case) -> None:
    """Python makes no more calls to torch for longer rows, except for chunks of at least 8 tokens.

    Calls are counted in forward and backward passes over rows of 128 and 256 tokens, place by place.

    Fix: compute all tokens of a chunk by matrix products, and loop over chunks only; a recurrence that is
    linear in its state has such a form. Loops inside of torch (``nn.LSTM``) and compiled ones do not count.
    """
    module = case.build()
    for padded in (False, True):
        found = []
        for length in LENGTHS:
            x = _tokens(case, length).requires_grad_()
            layout, sites = _layout(length, packed=case.packs) if padded else None, Sites()
            with Calls(sites):
                y = output(module, x, layout)
            with Operations(sites):
                gradients(y, torch.ones_like(y), [x, *module.parameters()])
            found.append(sites)
        short, long = (sites.counts for sites in found)
        growth = {site: (long[site] - short[site]) / (LENGTHS[1] - LENGTHS[0]) for site in long}
        site = max(growth, key=growth.__getitem__, default=None)
        if site is not None and growth[site] > 1 / LEAST_CHUNK:
            code, _, name = site
            raise Finding(
                f"{found[1].lines[site]} in {code.co_name} calls {name} {short[site]} times for {LENGTHS[0]} "
                f"tokens and {long[site]} times for {LENGTHS[1]}, {growth[site]:.2g} times a token"
            )


def _tokens(case: Case, length: int) -> Tensor:
    g = torch.Generator().manual_seed(71)
    return torch.randn(2, length, case.hidden_size, generator=g, dtype=torch.float64)


def _layout(length: int, *, packed: bool) -> Layout:
    """Return a layout with padding; ``packed``: of two documents a row."""
    mask = torch.ones(2, length, dtype=torch.bool)
    mask[0, -5:] = False
    documents = (torch.arange(length) >= length // 3).long().expand(2, -1)
    return Layout.from_mask(mask, documents if packed else None)


BLOCK_RULES("B28", least="quick", unless=takes_columns(LENGTHS[1]))(no_loop_over_tokens)
FFN_RULES("F15")(no_loop_over_tokens)
