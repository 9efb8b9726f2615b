"""Rules of exactness: padding, packing and other rows change neither outputs nor gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.testing.cases import BlockCase, gradients, output
from ultra_blocks.testing.construction import BLOCK_RULES
from ultra_blocks.testing.draws import FILLS, Batch, batches, relative_error

ALL_DTYPES = (torch.float64, torch.float64, torch.float32, torch.bfloat16)
TOLERANCES = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-2}
PACKED_TOLERANCES = TOLERANCES | {torch.float32: 5e-5}


@BLOCK_RULES("B0", draw=batches(paddings=("none",), rows=(1, 1)))
def full_is_none(case: BlockCase, batch: Batch) -> None:
    """A layout without padding gives the same output as no layout, with the shape and dtype of the input."""
    module = case.build()
    x = batch.place(batch.tokens(case.hidden_size), batch.layout(), case.hidden_size)
    bare, whole = output(module, x, None), output(module, x, batch.layout())
    assert bare.shape == x.shape, f"input {tuple(x.shape)}, output {tuple(bare.shape)}"
    assert bare.dtype == x.dtype, f"input {x.dtype}, output {bare.dtype}"
    error = relative_error(whole, bare)
    assert error <= 1e-12, f"they differ by {error:.1e}"


@BLOCK_RULES("B1", draw=batches(rows=(1, 1), dtypes=ALL_DTYPES), examples=10)
def padding_invariance(case: BlockCase, batch: Batch) -> None:
    """Outputs at real tokens do not depend on the amount, the place or the content of padding."""
    _same_alone(case, batch, TOLERANCES)


@BLOCK_RULES("B1b", draw=batches(rows=(1, 2), documents=(0, 2), dtypes=(torch.float64, torch.float32)))
def padding_content(case: BlockCase, batch: Batch) -> None:
    """Different values at padding give bit-identical outputs and gradients."""
    module, layout = case.build(batch.dtype), batch.layout()
    first: list[Tensor] | None = None
    for fill in FILLS:
        tokens = batch.tokens(case.hidden_size)
        x = batch.place(tokens, layout, case.hidden_size, fill)
        y = output(module, x, batch.layout())
        found = [y, *gradients(y, torch.ones_like(y), [*tokens, *module.parameters()])]
        first = first or found
        same = all(torch.equal(a, b) for a, b in zip(found, first, strict=True))
        assert same, f"padding of {fill} and of {FILLS[0]} give different numbers"


@BLOCK_RULES("B2", draw=batches(rows=(2, 3), paddings=("right",), dtypes=ALL_DTYPES))
def batch_independence(case: BlockCase, batch: Batch) -> None:
    """The output of a row does not depend on the other rows of the batch."""
    _same_alone(case, batch, TOLERANCES)


@BLOCK_RULES(
    "B7",
    draw=batches(
        rows=(1, 2),
        documents=(2, 4),
        paddings=("none", "left", "right", "inside"),
        dtypes=ALL_DTYPES,
        longest=9,
    ),
    examples=10,
)
def packing_invariance(case: BlockCase, batch: Batch) -> None:
    """Documents that are packed into one row have the same outputs as in separate rows."""
    _same_alone(case, batch, PACKED_TOLERANCES)


@BLOCK_RULES("B16", draw=batches(rows=(1, 3), documents=(0, 1)))
def empty_rows(case: BlockCase, batch: Batch) -> None:
    """Outputs at padding are exact zeros, also in rows without real tokens, and all gradients are finite."""
    module, layout = case.build(), batch.layout()
    tokens = batch.tokens(case.hidden_size)
    x = batch.place(tokens, layout, case.hidden_size).detach().requires_grad_()
    y = output(module, x, layout)
    assert (y[~layout.mask] == 0).all(), "an output at padding is not zero"
    found = gradients(y, torch.ones_like(y), [x, *module.parameters()])
    assert all(g.isfinite().all() for g in found), "a gradient is NaN or infinite"
    assert (found[0][~layout.mask] == 0).all(), "the input at padding has a gradient"


@BLOCK_RULES("B16b")
def empty_batches(case: BlockCase) -> None:
    """A batch without rows or without tokens gives an output of the same shape, and zero gradients."""
    module = case.build()
    for shape in ((0, 3), (2, 0), (0, 0)):
        mask = torch.ones(shape, dtype=torch.bool)
        for layout in (None, Layout.full(*shape), Layout.from_mask(mask)):
            x = torch.zeros(*shape, case.hidden_size, dtype=torch.float64, requires_grad=True)
            try:
                y = output(module, x, layout)
                found = gradients(y, torch.ones_like(y), [x, *module.parameters()])
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
                raise AssertionError(f"an input {tuple(x.shape)} raises {problem}") from error
            assert y.shape == x.shape, f"input {tuple(x.shape)}, output {tuple(y.shape)}"
            assert not any(g.any() for g in found), f"an input {tuple(x.shape)} gives a gradient"


def _same_alone(case: BlockCase, batch: Batch, tolerances: dict[torch.dtype, float]) -> None:
    """Compare a batch with its documents in separate calls, without padding or layout."""
    module = case.build(batch.dtype)
    wide = batch.dtype is not torch.bfloat16  # sums over documents round too often to compare gradients
    apart = _outcome(module, batch, case.hidden_size, wide, None)
    together = _outcome(module, batch, case.hidden_size, wide, batch.layout())
    largest = torch.stack([g.abs().max() for g in apart[1]]).max() if wide else None
    errors = [relative_error(together[0], apart[0])]
    errors += [relative_error(a, b, largest) for a, b in zip(together[1], apart[1], strict=True)]
    limit = tolerances[batch.dtype]
    assert errors[0] <= limit, f"outputs differ by {errors[0]:.1e}, limit {limit:.0e}, in {batch}"
    assert max(errors) <= limit, f"gradients differ by {max(errors):.1e}, limit {limit:.0e}, in {batch}"


def _outcome(
    module: nn.Module, batch: Batch, width: int, wide: bool, layout: Layout | None
) -> tuple[Tensor, list[Tensor]]:
    """Return the outputs ``(N, D)`` at real tokens, and gradients of tokens and parameters."""
    tokens = batch.tokens(width)
    if layout is None:
        y = torch.cat([output(module, t[None], None)[0] for t in tokens])
    else:
        y = output(module, batch.place(tokens, layout, width), layout)[layout.mask]
    noise = torch.randn(y.shape, generator=batch.generator(4)).to(y.dtype)
    return y, gradients(y, noise, [*tokens, *module.parameters()]) if wide else []
