"""Rules of numerics: gradients, finiteness, determinism, activation checkpointing, half precision."""

from __future__ import annotations

import itertools
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ultra_blocks.layout import Layout
from ultra_blocks.testing.cases import ROUNDING, BlockCase, output
from ultra_blocks.testing.construction import BLOCK_RULES
from ultra_blocks.testing.differences import check_close, check_finite
from ultra_blocks.testing.draws import Batch, batches
from ultra_blocks.testing.exactness import named_gradients
from ultra_blocks.testing.finite_differences import check_gradients, check_precision
from ultra_core.testing import Finding


def _placed(case: BlockCase, batch: Batch, dtype: torch.dtype = torch.float64) -> Tensor:
    return (
        batch.place(batch.tokens(case.hidden_size), batch.layout(), case.hidden_size, 1.0).to(dtype).detach()
    )


@BLOCK_RULES("B10", draw=batches(rows=(1, 2), documents=(1, 2), longest=4), examples=3)
def gradient_check(case: BlockCase, batch: Batch) -> None:
    """Gradients agree with finite differences in fp64.

    Fix: look for ``detach()``, ``torch.no_grad()``, ``.data`` and in-place writes on the way from the input
    to the output, and for a wrong ``backward`` of an ``autograd.Function``. A block that computes in a fixed
    dtype declares ``Traits(precision="fp32")`` (or ``"bf16"``), and one that rounds with a straight-through
    gradient ``Traits(straight_through=True)``.
    """
    module, layout = case.build(), batch.layout()
    check_gradients(case, lambda x: output(module, x, layout), _placed(case, batch), module)


AUTOCAST, AUTOCAST_STEPS = 0.05, 0.15
"""Limits of the error under autocast; the second for blocks that round, where small errors cross a step."""


@BLOCK_RULES("B10c", when=lambda case: case.traits.precision is not None, after=("B10",))
def precision(case: BlockCase) -> None:
    """A block that declares a ``precision`` needs it: its gradients are not exact in a finer dtype.

    Fix: leave the trait out, or declare ``precision="fp32"`` where nothing is rounded to bf16.
    """
    x = torch.randn(2, 7, case.hidden_size, generator=torch.Generator().manual_seed(0)).double()
    module = case.build()
    check_precision(case, lambda x: output(module, x, None), x, module)


LEAST_INPUT = 10.0
"""Magnitude of the input that every block must take, whatever its traits declare."""

EXTREMES = ((1e-4, 0.0), (1e4, 0.0), (1.0, 30.0), (1.0, -30.0))
"""Scales of the input, and shifts of all vectors, which open or close gates and decays."""


@BLOCK_RULES("B11")
def finiteness(case: BlockCase) -> None:
    """Outputs and gradients of long rows are finite for inputs from 1e-4 to 1e4 and for extreme gates.

    Traits that declare a smaller ``largest_input`` lower the 1e4, to no less than 10.

    Fix: compute exponentials in log space or after subtracting the maximum, clamp or normalise what a
    recurrence accumulates, and use ``F.logsigmoid`` and ``F.softplus`` instead of the logarithm of a sigmoid.
    Where a fused kernel overflows in its backward pass, declare ``Traits(largest_input=1e3)``.
    """
    largest = max(case.traits.largest_input, LEAST_INPUT)
    tokens = torch.randn(1, case.length(1024), case.hidden_size, generator=torch.Generator().manual_seed(0))
    # fp64 has a wider range than these two; bf16 has that of fp32, and kernels of its own, which are slow
    lengths = {torch.float32: tokens.shape[1], torch.bfloat16: case.length(512)}
    for (scale, shift), (dtype, length) in itertools.product(EXTREMES, lengths.items()):
        scale = min(scale, largest)
        module, leaf = case.build(dtype), (scale * tokens[:, :length]).to(dtype).requires_grad_()
        with torch.no_grad():
            for vector in (p for p in module.parameters() if p.ndim <= 1):
                vector.add_(shift)
        y = output(module, leaf, None)
        found = {"output": y, **named_gradients(module, y, torch.ones_like(y), [leaf], ["the input"])}
        scales = f"input scale {scale:g}, vectors + {shift:g}, T = {length}, {dtype}"
        check_finite(found, scales)


@BLOCK_RULES("B12", least="quick", draw=batches(rows=(1, 2)))
def determinism(case: BlockCase, batch: Batch) -> None:
    """Evaluation is deterministic, and training without dropout gives the same output.

    Fix: draw random numbers only where ``self.training`` and a rate above 0 ask for them, and let nothing
    else depend on ``self.training``. A layer inside with a dropout of its own gets its rate from a keyword
    ``dropout`` of the constructor.
    """
    dropout: dict[str, Any] = {"dropout": 0.0} if case.takes("dropout") else {}
    module, x = case.build(**dropout), _placed(case, batch)
    first = output(module, x, batch.layout())
    check_close(output(module, x, batch.layout()), first, 0.0, other="the first time")
    trained = output(module.train(), x, batch.layout())
    check_close(trained, first, case.allows(ROUNDING), what="output in training", other="in evaluation")


@BLOCK_RULES("B13", draw=batches(rows=(1, 2), documents=(1, 2)), examples=3)
def checkpointing(case: BlockCase, batch: Batch) -> None:
    """Activation checkpointing changes neither outputs nor gradients.

    Fix: write nothing into the module in ``forward`` (counters, caches, buffers): it runs twice.
    """
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
        found = named_gradients(module, y, torch.ones_like(y), [x], ["the input"])
        results.append({"output": y, **found})
    for name, kept in results[0].items():
        check_close(results[1][name], kept, case.allows(1e-12), what=name, other="without checkpointing")


@BLOCK_RULES("B13c", least="thorough")
def tracing(case: BlockCase) -> None:
    """A block traced by ``torch.compile`` has the same outputs and gradients as in eager mode.

    Fix: branch on shapes and options, not on values of tensors, and keep Python objects that change
    (counters, lists) out of ``forward``.
    """
    _compare_compiled(case, "aot_eager")


@BLOCK_RULES("B13d", least="thorough")
def compiling(case: BlockCase) -> None:
    """A block compiled by ``torch.compile`` has the same outputs and gradients as in eager mode.

    Fix: see B13c; if that is kept, look for operators whose compiled form rounds otherwise.
    """
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
            found = named_gradients(module, y, torch.ones_like(y), [leaf], ["the input"])
            results.append({"output": y, **found})
        for name, eager in results[0].items():
            check_close(results[1][name], eager, case.allows(1e-11), what=name, other="in eager mode")


@BLOCK_RULES("B14", draw=batches(rows=(1, 2), documents=(1, 2)), examples=3)
def autocast(case: BlockCase, batch: Batch) -> None:
    """Under bf16 autocast the output is within 5 % (Frobenius norm) of fp32, and gradients are finite.

    Fix: compute what autocast leaves in bf16 and needs more digits (long sums, decays, normalisers,
    positions) in fp32: ``x.float()`` inside ``with torch.autocast(x.device.type, enabled=False)``.
    """
    module, x = case.build(torch.float32), _placed(case, batch, torch.float32)
    exact = output(module, x, batch.layout()).detach()
    with torch.autocast("cpu", torch.bfloat16):
        y = output(module, x, batch.layout())
    check_norm(y, exact, AUTOCAST_STEPS if case.traits.straight_through else AUTOCAST)
    check_finite(named_gradients(module, y, torch.ones_like(y), []), "under bf16 autocast")


def check_norm(y: Tensor, exact: Tensor, limit: float) -> None:
    """Raise a finding unless the Frobenius norm of ``y - exact`` is within ``limit`` times that of ``exact``.

    Raises:
        Finding: it is not.
    """
    error = float((y.detach().double() - exact.double()).norm() / (exact.double().norm() + 1e-30))
    if not error <= limit:
        raise Finding(f"under autocast the output {tuple(y.shape)} is {error:.1%} off, limit {limit:.0%}")
