"""Rules for blocks that record their attention logits for optimizers that bound them."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from ultra_blocks.layout import Layout
from ultra_blocks.testing.cases import BlockCase, output
from ultra_blocks.testing.construction import BLOCK_RULES
from ultra_blocks.testing.draws import Batch, batches, relative_error
from ultra_core.contracts import RecordsLogits


def _records(case: BlockCase) -> bool:
    if not issubclass(case.cls, RecordsLogits):
        return False
    module: Any = case.build()
    return bool(module.logit_rows())


def _largest(module: Any, x: Tensor, layout: Layout | None) -> Tensor:
    module.record_logits(True)
    output(module.train(), x, layout)
    maxima = module.take_max_logits()
    assert isinstance(maxima, Tensor), "a forward pass in training recorded nothing"
    return maxima


@BLOCK_RULES("B21", draw=batches(rows=(1, 2), documents=(1, 3)), when=_records, examples=3)
def recording(case: BlockCase, batch: Batch) -> None:
    """Recording changes no output, ignores padding and packing, and its result can be taken once."""
    module: Any = case.build()
    layout, tokens = batch.layout(), batch.tokens(case.hidden_size)
    x = batch.place(tokens, layout, case.hidden_size)
    plain = output(module.train(), x, layout)
    assert module.take_max_logits() is None, "something was recorded before record_logits(True)"
    maxima = _largest(module, x, layout)
    assert module.take_max_logits() is None, "the maxima are still there after they were taken"
    assert torch.equal(output(module, x, layout), plain), "recording changes the output"
    alone = [_largest(module, document[None], None) for document in tokens]
    error = relative_error(maxima, torch.stack(alone).amax(0))
    assert error <= 1e-10, f"the maxima depend on padding or packing: they differ by {error:.1e}"
    module.take_max_logits()
    output(module.eval(), x, layout)
    with torch.no_grad():
        output(module.train(), x, layout)
    assert module.take_max_logits() is None, "evaluation was recorded"


@BLOCK_RULES("B22", draw=st.tuples(st.integers(0, 99), st.booleans()), when=_records, examples=3)
def scaling(case: BlockCase, drawn: tuple[int, bool]) -> None:
    """Scaling the query rows or the key rows of a head scales its largest logit by the same factor."""
    seed, by_query = drawn
    g = torch.Generator().manual_seed(seed)
    module: Any = case.build()
    x = torch.randn(2, 7, case.hidden_size, generator=g).double()
    before = _largest(module, x, None)
    groups = next(rows.heads for rows in module.logit_rows() if rows.part == "key")
    factors = 0.1 + torch.rand(groups, generator=g).double()
    factors = factors.repeat_interleave(len(before) // groups)
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for rows in module.logit_rows():
            if rows.part == "lone_query" or (rows.part == "query") == by_query:
                own = factors[:: len(before) // rows.heads].repeat_interleave(rows.width)
                part = parameters[rows.parameter][rows.start : rows.stop]
                part.mul_(own.view(-1, *[1] * (part.ndim - 1)))
    error = relative_error(_largest(module, x, None), factors * before)
    assert error <= 1e-10, f"the logits are off by {error:.1e}"
