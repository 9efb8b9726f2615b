"""Rules for the traits of a block: directions, decoding, positions, symmetry, cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ultra_blocks.layout import Layout
from ultra_blocks.mixers.base import Mixer
from ultra_blocks.positions import PositionCode
from ultra_blocks.testing.cases import ROUNDING, BlockCase, gradients, output
from ultra_blocks.testing.construction import BLOCK_RULES
from ultra_blocks.testing.differences import check_close
from ultra_blocks.testing.draws import Batch, Row, batches
from ultra_core.testing import Finding

FAINT = 1e-8
"""Gradients that are smaller than this, relative to the largest, show no dependence."""

LENGTHS = st.builds(Row, st.integers(2, 23), st.integers(0, 99))


def _input(case: BlockCase, length: int, seed: int, rows: int = 1) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, case.length(length), case.hidden_size, generator=g, dtype=torch.float64)


def _inputs(case: BlockCase, drawn: Row) -> Iterator[Tensor]:
    """Yield the input of an example, and others: a maximum depends on each token in some of them only."""
    for attempt in range(16):
        yield _input(case, drawn.length, drawn.seed + 100 * attempt)


def influence(case: BlockCase, x: Tensor, token: int, **options: Any) -> Tensor:
    """Return the norm of the gradient of one output token with respect to each input ``(T,)``, at most 1."""
    x = x.clone().requires_grad_()
    y = output(case.build(**options), x, None)[:, token]
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(7), dtype=y.dtype)
    norms = gradients(y, weight, [x])[0].norm(dim=-1)[0]
    return norms / norms.max()


@BLOCK_RULES("B3", least="quick", draw=LENGTHS, when=lambda case: case.causal, examples=8)
def causality(case: BlockCase, drawn: Row) -> None:
    """In a causal block, the output of a token and its gradient do not depend on later tokens.

    Fix: pass ``is_causal=self.causal`` or ``layout.attention_mask(self.causal)`` to attention, pad causal
    convolutions on the left only, and run a second direction only if ``not self.causal``.
    """
    x = _input(case, *drawn)
    here = drawn[1] % (x.shape[1] - 1)
    ahead = influence(case, x, here)[here + 1 :]
    if ahead.any():
        seen = here + 1 + int(ahead.argmax())
        raise Finding(
            f"the output at token {here} of {x.shape[1]} has a gradient with respect to token {seen}"
        )
    module, other = case.build(), x.clone()
    other[:, here + 1 :] = 3 - other[:, here + 1 :]
    before, after = output(module, x, None)[:, : here + 1], output(module, other, None)[:, : here + 1]
    note = f"T = {x.shape[1]}, and the tokens from {here + 1} on were changed"
    check_close(after, before, case.allows(ROUNDING), other="before", note=note)


@BLOCK_RULES("B4", least="quick", draw=LENGTHS)
def context(case: BlockCase, drawn: Row) -> None:
    """A token depends on its neighbours (causal: the previous one); with ``full_context``, on both ends.

    Fix: a block that sees a window, or one side of a token, is not bidirectional over the whole document:
    declare ``Traits(full_context=False)``. A bidirectional block reads tokens after its own, too.
    """
    last = case.length(drawn.length) - 1
    pairs = [(last, last - 1)] if case.causal else [(last, last - 1), (0, 1)]
    if case.traits.full_context:
        pairs += [(last, 0)] if case.causal else [(last, 0), (0, last)]
    for reader, read in pairs:
        if not any(influence(case, x, reader)[read] > FAINT for x in _inputs(case, drawn)):
            raise Finding(
                f"the output at token {reader} of {last + 1} has a gradient below {FAINT:.0e} with respect "
                f"to token {read}, relative to that of the token it depends on most"
            )


def _decodes(case: BlockCase) -> bool:
    return case.causal and case.traits.recurrent_step


@BLOCK_RULES("B5", least="quick", draw=LENGTHS, when=_decodes, after=("B3",))
def decoding(case: BlockCase, drawn: Row) -> None:
    """Decoding token by token gives the same outputs as the forward pass.

    ``step`` leaves the state that it was given as it was, so that a row can be continued in several ways.

    Fix: compare ``step`` with ``forward`` at T = 2: the first output shows the projections, the second the
    state (decay before or after the update, the position of the token, normalisers that count tokens).
    """
    for dtype, limit in ((torch.float64, 1e-10), (torch.float32, 5e-4)):
        module: Any = case.build(dtype)
        x = _input(case, *drawn, rows=2).to(dtype)
        state, steps = module.init_state(2), []
        for t in range(x.shape[1]):
            y_t, after = module.step(x[:, t], state)
            steps.append(y_t)
            if t == SECOND:
                _check_again(module, x[:, t], state, y_t, case.allows(limit))
            state = after
        decoded = torch.stack(steps, 1)
        check_close(
            decoded,
            output(module, x, None),
            case.allows(limit),
            what="step",
            other="forward",
            note=str(dtype),
        )


SECOND = 1
"""The token of which the step is made twice: the first one with a state that is not empty."""


def _check_again(module: Any, x_t: Tensor, state: Any, wanted: Tensor, limit: float) -> None:
    fix = (
        "compute a new state, `state = decay * state + update`, instead of writing into the one that is given"
    )
    again, _ = module.step(x_t, state)
    check_close(
        again, wanted, limit, what="a second step from one state, output", other="of the first", fix=fix
    )


@BLOCK_RULES(
    "B5b",
    draw=st.tuples(batches(rows=(1, 2), documents=(1, 2)), st.sampled_from([1, 3, 16, 64])),
    when=lambda case: case.takes("chunk_size"),
)
def chunks(case: BlockCase, drawn: tuple[Batch, int]) -> None:
    """The result does not depend on the chunk size.

    Fix: carry the state from chunk to chunk, with the decay of the tokens between, and let the last chunk be
    shorter.
    """
    batch, size = drawn
    module = case.build()
    other = case.copy_of(module, chunk_size=size)
    x = batch.place(batch.tokens(case.hidden_size), batch.layout(), case.hidden_size)
    wanted = output(module, x, batch.layout())
    what = f"with chunk_size {size}, output"
    check_close(output(other, x, batch.layout()), wanted, case.allows(1e-10), what=what, other="by default")


@BLOCK_RULES(
    "B8",
    draw=st.tuples(batches(rows=(1, 2), documents=(1, 2)), st.integers(1, 10_000)),
    when=lambda case: case.traits.relative,
    after=("B1",),
)
def shift(case: BlockCase, drawn: tuple[Batch, int]) -> None:
    """The output of a relative block does not change when all positions are shifted by the same number.

    Fix: use differences of ``layout.positions`` only, computed as integers before any rounding; a block that
    reads absolute positions declares ``Traits(relative=False)``.
    """
    batch, by = drawn
    layout = batch.layout()
    moved = Layout.from_mask(layout.mask, layout.documents, layout.positions + by)
    for dtype, limit in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        x = batch.place(batch.tokens(case.hidden_size), layout, case.hidden_size).to(dtype)
        module = case.build(dtype)
        wanted = output(module, x, batch.layout())
        what = f"with positions + {by}, output"
        check_close(
            output(module, x, moved), wanted, case.allows(limit), what=what, other="without", note=str(dtype)
        )


def _symmetric(case: BlockCase) -> bool:
    return case.traits.symmetric and not case.causal


@BLOCK_RULES("B9", draw=batches(rows=(1, 2), documents=(1, 3)), when=_symmetric, after=("B1",))
def reversal(case: BlockCase, batch: Batch) -> None:
    """Without a position code, a symmetric block maps reversed documents to reversed outputs.

    Fix: a block that treats the two sides of a token differently (two recurrences with weights of their own,
    a causal part) declares ``Traits(symmetric=False)``.
    """
    none: dict[str, Any] = {"positions": "nope"} if case.takes("positions") else {}
    module = case.build(**none)
    layout = batch.layout()
    x = batch.place(batch.tokens(case.hidden_size), layout, case.hidden_size)
    index = layout.reversal[..., None].expand_as(x)
    got, wanted = output(module, x.gather(1, index), layout), output(module, x, layout).gather(1, index)
    check_close(got, wanted, case.allows(1e-11), what="output of the reversed input", other="reversed output")


LINEAR_LENGTHS = (1024, 2048)


def _long_enough(case: BlockCase) -> str:
    short = case.length(LINEAR_LENGTHS[1]) < LINEAR_LENGTHS[1]
    return f"rows have at most {case.length(LINEAR_LENGTHS[1])} tokens" if short else ""


@BLOCK_RULES("B17", when=lambda case: case.traits.linear_time, unless=_long_enough)
def linear_time(case: BlockCase) -> None:
    """A linear-time block needs about twice the multiply-adds for twice the length.

    Fix: chunk or scan the recurrence; a product of all pairs of tokens (``q @ k.mT`` over the whole row) is
    quadratic. Otherwise leave ``linear_time`` out of the traits.
    """
    costs = []
    for length in LINEAR_LENGTHS:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            output(case.build(torch.float32), torch.zeros(1, length, case.hidden_size), None)
        costs.append(counter.get_total_flops())
    short, long = LINEAR_LENGTHS
    assert costs[1] <= 2.2 * costs[0], (
        f"{costs[0]:,} for {short} tokens, {costs[1]:,} for {long}: {costs[1] / max(costs[0], 1):.1f} times"
    )


@BLOCK_RULES("U1")
def undeclared(case: BlockCase) -> None:
    """Directions, decoding and position codes that a block does not declare raise ValueError.

    Fix: call ``super().__init__(hidden_size, causal=causal)`` of ``Mixer``, ``self.require_causal()`` in
    ``init_state``, and ``self.build_positions(positions, ...)`` for position codes; they refuse by the
    traits.
    """
    traits = case.traits
    if case.takes("causal") and not (traits.causal and traits.bidirectional):
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
