"""Rules of numerics: gradients, finiteness, determinism, activation checkpointing, half precision."""

from __future__ import annotations

import itertools
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ultra_blocks.layout import Layout
from ultra_blocks.testing.cases import BlockCase, check_gradients, gradients, output
from ultra_blocks.testing.construction import BLOCK_RULES
from ultra_blocks.testing.draws import Batch, batches, relative_error


def _placed(case: BlockCase, batch: Batch, dtype: torch.dtype = torch.float64) -> Tensor:
    return (
        batch.place(batch.tokens(case.hidden_size), batch.layout(), case.hidden_size, 1.0).to(dtype).detach()
    )


@BLOCK_RULES("B10", draw=batches(rows=(1, 2), documents=(1, 2), longest=4), examples=3)
def gradient_check(case: BlockCase, batch: Batch) -> None:
    """Gradients agree with finite differences in fp64."""
    module, layout = case.build(), batch.layout()
    check_gradients(lambda x: output(module, x, layout), _placed(case, batch), module)


EXTREMES = ((1e-4, 0.0), (1e4, 0.0), (1.0, 30.0), (1.0, -30.0))
"""Scales of the input, and shifts of all vectors, which open or close gates and decays."""


@BLOCK_RULES("B11")
def finiteness(case: BlockCase) -> None:
    """Outputs and gradients of long rows are finite for inputs from 1e-4 to 1e4 and for extreme gates."""
    tokens = torch.randn(1, 2048, case.hidden_size, generator=torch.Generator().manual_seed(0))
    # fp64 has a wider range than these two
    for (scale, shift), dtype in itertools.product(EXTREMES, (torch.float32, torch.bfloat16)):
        module, leaf = case.build(dtype), (scale * tokens).to(dtype).requires_grad_()
        with torch.no_grad():
            for vector in (p for p in module.parameters() if p.ndim == 1):
                vector.add_(shift)
        y = output(module, leaf, None)
        found = [y, *gradients(y, torch.ones_like(y), [leaf, *module.parameters()])]
        finite = all(t.isfinite().all() for t in found)
        assert finite, f"NaN or infinity at input scale {scale:g}, vectors + {shift:g}, in {dtype}"


@BLOCK_RULES("B12", draw=batches(rows=(1, 2)))
def determinism(case: BlockCase, batch: Batch) -> None:
    """Evaluation is deterministic, and training without dropout gives the same output."""
    dropout: dict[str, Any] = {"dropout": 0.0} if case.takes("dropout") else {}
    module, x = case.build(**dropout), _placed(case, batch)
    first = output(module, x, batch.layout())
    assert torch.equal(first, output(module, x, batch.layout())), "two calls in evaluation differ"
    assert torch.equal(first, output(module.train(), x, batch.layout())), "training differs from evaluation"


@BLOCK_RULES("B13", draw=batches(rows=(1, 2), documents=(1, 2)), examples=3)
def checkpointing(case: BlockCase, batch: Batch) -> None:
    """Activation checkpointing changes neither outputs nor gradients."""
    module = case.build()
    results = []
    for recompute in (False, True):
        x = _placed(case, batch).requires_grad_()
        layout = batch.layout()
        y = (
            checkpoint(output, module, x, layout, use_reentrant=False)
            if recompute
            else output(module, x, layout)
        )
        assert isinstance(y, Tensor)
        results.append([y, *gradients(y, torch.ones_like(y), [x, *module.parameters()])])
    for kept, recomputed in zip(*results, strict=True):
        error = relative_error(recomputed, kept)
        assert error <= 1e-12, f"they differ by {error:.1e}"


@BLOCK_RULES("B13c", least="thorough")
def tracing(case: BlockCase) -> None:
    """A block traced by ``torch.compile`` has the same outputs and gradients as in eager mode."""
    _compare_compiled(case, "aot_eager")


@BLOCK_RULES("B13d", least="thorough")
def compiling(case: BlockCase) -> None:
    """A block compiled by ``torch.compile`` has the same outputs and gradients as in eager mode."""
    _compare_compiled(case, "inductor")


def _compare_compiled(case: BlockCase, backend: str) -> None:
    torch._dynamo.reset()
    module = case.build()
    compiled = cast(nn.Module, torch.compile(module, backend=backend))
    x = torch.randn(2, 13, case.hidden_size, generator=torch.Generator().manual_seed(0)).double()
    mask = torch.arange(13) < torch.tensor([[13], [8]])
    for layout in (None, Layout.from_mask(mask)):
        results = []
        for function in (module, compiled):
            leaf = x.clone().requires_grad_()
            y = output(function, leaf, layout)
            results.append([y, *gradients(y, torch.ones_like(y), [leaf, *module.parameters()])])
        for eager, graph in zip(*results, strict=True):
            error = relative_error(graph, eager)
            assert error <= 1e-11, f"they differ by {error:.1e}"


@BLOCK_RULES("B14", draw=batches(rows=(1, 2), documents=(1, 2)), examples=3)
def autocast(case: BlockCase, batch: Batch) -> None:
    """Under bf16 autocast the output is within 5 % (Frobenius norm) of fp32, and gradients are finite."""
    module, x = case.build(torch.float32), _placed(case, batch, torch.float32)
    exact = output(module, x, batch.layout()).detach()
    with torch.autocast("cpu", torch.bfloat16):
        y = output(module, x, batch.layout())
    error = float((y.detach().float() - exact).norm() / (exact.norm() + 1e-30))
    assert error <= 5e-2, f"the outputs are {error:.1%} apart"
    found = gradients(y, torch.ones_like(y), list(module.parameters()))
    assert all(g.isfinite().all() for g in found), "a gradient is NaN or infinite"
