"""Rules for the traits of a block: directions, decoding, positions, symmetry, cost."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ultra_blocks.layout import Layout
from ultra_blocks.mixers.base import Mixer
from ultra_blocks.positions import PositionCode
from ultra_blocks.testing.cases import BlockCase, gradients, output
from ultra_blocks.testing.construction import BLOCK_RULES
from ultra_blocks.testing.draws import Batch, batches, relative_error

LENGTHS = st.tuples(st.integers(2, 23), st.integers(0, 99))


def _input(case: BlockCase, length: int, seed: int, rows: int = 1) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, length, case.hidden_size, generator=g, dtype=torch.float64)


def _influence(case: BlockCase, x: Tensor, token: int) -> Tensor:
    """Return the norm of the gradient of one output token with respect to each input ``(T,)``, at most 1."""
    x = x.clone().requires_grad_()
    y = output(case.build(), x, None)[:, token]
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(7), dtype=y.dtype)
    norms = gradients(y, weight, [x])[0].norm(dim=-1)[0]
    return norms / norms.max()


@BLOCK_RULES("B3", draw=LENGTHS, when=lambda case: case.causal, examples=8)
def causality(case: BlockCase, drawn: tuple[int, int]) -> None:
    """In a causal block, the output of a token and its gradient do not depend on later tokens."""
    x = _input(case, *drawn)
    here = drawn[1] % (drawn[0] - 1)
    ahead = _influence(case, x, here)[here + 1 :]
    assert (ahead == 0).all(), f"token {here} has a gradient with respect to a later one"
    module, other = case.build(), x.clone()
    other[:, here + 1 :] = 3 - other[:, here + 1 :]
    error = relative_error(output(module, other, None)[:, : here + 1], output(module, x, None)[:, : here + 1])
    assert error == 0, f"changing later tokens changes token {here} or one before it by {error:.1e}"


@BLOCK_RULES("B4", draw=LENGTHS)
def context(case: BlockCase, drawn: tuple[int, int]) -> None:
    """A token depends on its neighbours (causal: the previous one); with ``full_context``, on both ends."""
    x = _input(case, *drawn)
    last = drawn[0] - 1
    pairs = [(last, last - 1)] if case.causal else [(last, last - 1), (0, 1)]
    if case.traits.full_context:
        pairs += [(last, 0)] if case.causal else [(last, 0), (0, last)]
    for reader, read in pairs:
        seen = float(_influence(case, x, reader)[read])
        assert seen > 1e-8, f"token {reader} of {last + 1} does not depend on token {read}"


def _decodes(case: BlockCase) -> bool:
    return case.causal and case.traits.recurrent_step


@BLOCK_RULES("B5", draw=LENGTHS, when=_decodes)
def decoding(case: BlockCase, drawn: tuple[int, int]) -> None:
    """Decoding token by token gives the same outputs as the forward pass."""
    for dtype, limit in ((torch.float64, 1e-10), (torch.float32, 5e-4)):
        module: Any = case.build(dtype)
        x = _input(case, *drawn, rows=2).to(dtype)
        state, steps = module.init_state(2), []
        for t in range(drawn[0]):
            y_t, state = module.step(x[:, t], state)
            steps.append(y_t)
        error = relative_error(torch.stack(steps, 1), output(module, x, None))
        assert error <= limit, f"in {dtype} they differ by {error:.1e}, limit {limit:.0e}"


@BLOCK_RULES(
    "B5b",
    draw=st.tuples(batches(rows=(1, 2), documents=(1, 2)), st.sampled_from([1, 3, 16, 64])),
    when=lambda case: case.takes("chunk_size"),
)
def chunks(case: BlockCase, drawn: tuple[Batch, int]) -> None:
    """The result does not depend on the chunk size."""
    batch, size = drawn
    module = case.build()
    other = case.copy_of(module, chunk_size=size)
    x = batch.place(batch.tokens(case.hidden_size), batch.layout(), case.hidden_size)
    error = relative_error(output(other, x, batch.layout()), output(module, x, batch.layout()))
    assert error <= 1e-10, f"chunk_size {size} and the default differ by {error:.1e}"


@BLOCK_RULES(
    "B8",
    draw=st.tuples(batches(rows=(1, 2), documents=(1, 2)), st.integers(1, 10_000)),
    when=lambda case: case.traits.relative,
)
def shift(case: BlockCase, drawn: tuple[Batch, int]) -> None:
    """The output of a relative block does not change when all positions are shifted by the same number."""
    batch, by = drawn
    layout = batch.layout()
    moved = Layout.from_mask(layout.mask, layout.documents, layout.positions + by)
    for dtype, limit in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        x = batch.place(batch.tokens(case.hidden_size), layout, case.hidden_size).to(dtype)
        module = case.build(dtype)
        error = relative_error(output(module, x, moved), output(module, x, batch.layout()))
        assert error <= limit, f"moved by {by} in {dtype} they differ by {error:.1e}, limit {limit:.0e}"


def _symmetric(case: BlockCase) -> bool:
    return case.traits.symmetric and not case.causal


@BLOCK_RULES("B9", draw=batches(rows=(1, 2), documents=(1, 3)), when=_symmetric)
def reversal(case: BlockCase, batch: Batch) -> None:
    """Without a position code, a symmetric block maps reversed documents to reversed outputs."""
    none: dict[str, Any] = {"positions": "nope"} if case.takes("positions") else {}
    module = case.build(**none)
    layout = batch.layout()
    x = batch.place(batch.tokens(case.hidden_size), layout, case.hidden_size)
    index = layout.reversal[..., None].expand_as(x)
    error = relative_error(
        output(module, x.gather(1, index), layout), output(module, x, layout).gather(1, index)
    )
    assert error <= 1e-11, f"they differ by {error:.1e}"


@BLOCK_RULES("B17", when=lambda case: case.traits.linear_time)
def linear_time(case: BlockCase) -> None:
    """A linear-time block needs about twice the multiply-adds for twice the length."""
    costs = []
    for length in (1024, 2048):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            output(case.build(torch.float32), torch.zeros(1, length, case.hidden_size), None)
        costs.append(counter.get_total_flops())
    assert costs[1] <= 2.2 * costs[0], f"{costs[0]} for 1024 tokens, {costs[1]} for 2048"


@BLOCK_RULES("U1")
def undeclared(case: BlockCase) -> None:
    """Directions, decoding and position codes that a block does not declare raise ValueError."""
    traits = case.traits
    if not case.takes("causal"):
        both = traits.causal and traits.bidirectional
        assert not both, "it declares both directions, but its constructor has no causal"
    elif not (traits.causal and traits.bidirectional):
        _refuses(lambda: case.build(causal=not traits.causal), f"causal={not traits.causal}")
    module = case.build()
    if isinstance(module, Mixer) and not _decodes(case):
        _refuses(lambda: module.init_state(1), "init_state of a block that cannot decode")
    if case.takes("positions"):
        for kind in {"rotate", "bias", "scores"} - traits.positions:
            code = type("Undeclared", (PositionCode,), {"kind": kind})
            _refuses(partial(case.build, positions=code), f"a position code of kind {kind}")


def _refuses(ask: Callable[[], object], what: str) -> None:
    try:
        ask()
    except ValueError:
        return
    raise AssertionError(f"{what} was accepted")
