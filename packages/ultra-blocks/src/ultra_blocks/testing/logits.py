"""Rules for blocks that record their attention logits for optimizers that bound them."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from ultra_blocks.layout import Layout
from ultra_blocks.testing.cases import BlockCase, output
from ultra_blocks.testing.construction import BLOCK_RULES
from ultra_blocks.testing.differences import check_close
from ultra_blocks.testing.draws import Batch, batches
from ultra_core.contracts import RecordsLogits


def _records(case: BlockCase) -> bool:
    try:
        module = case.build()
        return isinstance(module, RecordsLogits) and bool(module.logit_rows())
    except Exception:  # rule C1 reports it
        return False


def _largest(module: Any, x: Tensor, layout: Layout | None) -> Tensor:
    module.record_logits(True)
    output(module.train(), x, layout)
    maxima = module.take_max_logits()
    assert isinstance(maxima, Tensor), "a forward pass in training recorded nothing"
    return maxima


@BLOCK_RULES("B21", draw=batches(rows=(1, 2), documents=(1, 3)), when=_records, examples=3, after=("B1",))
def recording(case: BlockCase, batch: Batch) -> None:
    """Recording changes no output, ignores padding and packing, and its result can be taken once.

    Fix: take the maximum over ``layout.attention_mask(self.causal)``, not over all pairs, keep a running
    maximum while ``self.training`` and gradients are enabled, and set it to None when it is taken.
    """
    module: Any = case.build()
    layout, tokens = batch.layout(), batch.tokens(case.hidden_size)
    x = batch.place(tokens, layout, case.hidden_size)
    plain = output(module.train(), x, layout)
    assert module.take_max_logits() is None, "something was recorded before record_logits(True)"
    maxima = _largest(module, x, layout)
    assert module.take_max_logits() is None, "the maxima are still there after they were taken"
    check_close(output(module, x, layout), plain, 0.0, what="output while recording", other="without")
    alone = [_largest(module, document[None], None) for document in tokens]
    wanted = torch.stack(alone).amax(0)
    check_close(maxima, wanted, case.allows(1e-10), what="maximum of head", other="of the documents alone")
    module.take_max_logits()
    output(module.eval(), x, layout)
    with torch.no_grad():
        output(module.train(), x, layout)
    assert module.take_max_logits() is None, "evaluation was recorded"


@BLOCK_RULES(
    "B22", draw=st.tuples(st.integers(0, 99), st.booleans()), when=_records, examples=3, after=("B21",)
)
def scaling(case: BlockCase, drawn: tuple[int, bool]) -> None:
    """Scaling the query rows or the key rows of a head scales its largest logit by the same factor.

    Fix: ``logit_rows`` names rows of dimension 0, with ``start`` at the first row of the part in a fused
    projection, and biases as parameters of their own; it is empty where QK-norm undoes any scaling.
    """
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
    wanted = factors * before
    part = "query" if by_query else "key"
    what = f"with scaled {part} rows, maximum of head"
    check_close(_largest(module, x, None), wanted, case.allows(1e-10), what=what, other="scaled before")
