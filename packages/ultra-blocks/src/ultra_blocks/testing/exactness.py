"""Rules of exactness: padding, packing and other rows change neither outputs nor gradients."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.testing.cases import BlockCase, gradients, output
from ultra_blocks.testing.construction import BLOCK_RULES
from ultra_blocks.testing.differences import check_close, check_finite
from ultra_blocks.testing.draws import FILLS, Batch, batches
from ultra_core.testing import Finding

ALL_DTYPES = (torch.float64, torch.float64, torch.float32, torch.bfloat16)
TOLERANCES = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-2}
ROUNDED_GRADIENTS = 0.1
"""Limit of gradients of blocks that round to bf16 inside."""

PACKED_TOLERANCES = TOLERANCES | {torch.float32: 5e-5}


@BLOCK_RULES("B0", least="quick", draw=batches(paddings=("none",), rows=(1, 1)))
def full_is_none(case: BlockCase, batch: Batch) -> None:
    """A layout without padding gives the same output as no layout, with the shape and dtype of the input.

    Fix: treat a missing layout as a full one, in the first line of ``forward``: ``layout = layout or
    Layout.full(*x.shape[:2], x.device)``.
    """
    module = case.build()
    x = batch.place(batch.tokens(case.hidden_size), batch.layout(), case.hidden_size)
    bare, whole = output(module, x, None), output(module, x, batch.layout())
    check_answer(bare, x)
    check_close(whole, bare, case.allows(1e-12), other="without a layout")


def check_answer(y: Tensor, x: Tensor) -> None:
    """Raise a finding unless an output has the shape and the dtype of its input.

    Raises:
        Finding: it has not.
    """
    if y.shape != x.shape:
        raise Finding(f"the input is {tuple(x.shape)}, the output {tuple(y.shape)}")
    if y.dtype != x.dtype:
        raise Finding(f"the input is {x.dtype}, the output {y.dtype}", fix="end with `return y.to(x.dtype)`")


@BLOCK_RULES("B1", least="quick", draw=batches(rows=(1, 1), dtypes=ALL_DTYPES), examples=10, after=("B0",))
def padding_invariance(case: BlockCase, batch: Batch) -> None:
    """Outputs at real tokens do not depend on the amount, the place or the content of padding.

    Fix: clear padding before the first projection, ``x = self.enter(x, layout)``, and mask it wherever tokens
    meet: ``attn_mask=layout.attention_mask(self.causal)`` for attention; for anything that runs along the
    row, ``by_document(function, x, layout)`` of ``ultra_blocks.documents`` hands each document without
    padding before it.
    """
    _same_alone(case, batch, TOLERANCES)


@BLOCK_RULES(
    "B1b",
    least="quick",
    draw=batches(rows=(1, 2), documents=(0, 2), dtypes=(torch.float64, torch.float32)),
    after=("B1",),
)
def padding_content(case: BlockCase, batch: Batch) -> None:
    """Different values at padding give bit-identical outputs and gradients.

    Fix: replace padding, do not multiply it by 0, which keeps NaN: ``x = self.enter(x, layout)`` (a plain
    module: ``layout.zero_padding(x)``) before anything else reads ``x``.
    """
    module, layout = case.build(batch.dtype), batch.layout()
    first: dict[str, Tensor] | None = None
    for fill in FILLS:
        tokens = batch.tokens(case.hidden_size)
        x = batch.place(tokens, layout, case.hidden_size, fill)
        y = output(module, x, batch.layout())
        found = {"output": y, **named_gradients(module, y, torch.ones_like(y), tokens)}
        first = first or found
        for name, tensor in found.items():
            if not torch.equal(tensor, first[name]):
                other = f"with {FILLS[0]:g} at padding"
                check_close(
                    tensor, first[name], 0.0, what=name, other=other, note=f"padding is {fill:g} x noise"
                )


@BLOCK_RULES(
    "B2", least="quick", draw=batches(rows=(2, 3), paddings=("right",), dtypes=ALL_DTYPES), after=("B1",)
)
def batch_independence(case: BlockCase, batch: Batch) -> None:
    """The output of a row does not depend on the other rows of the batch.

    Fix: reduce over the tokens and features of a row only (``dim=1`` and ``dim=-1``), never over ``dim=0``;
    batch statistics and limits that experts share are the usual causes.
    """
    _same_alone(case, batch, TOLERANCES)


@BLOCK_RULES(
    "B7",
    least="quick",
    draw=batches(
        rows=(1, 2),
        documents=(2, 4),
        paddings=("none", "left", "right", "inside"),
        dtypes=ALL_DTYPES,
        longest=9,
    ),
    examples=10,
    when=lambda case: case.traits.packing,
    after=("B1", "B2"),
)
def packing_invariance(case: BlockCase, batch: Batch) -> None:
    """Documents that are packed into one row have the same outputs as in separate rows.

    Fix: separate documents, not rows: ``layout.attention_mask(self.causal)`` masks other documents,
    ``layout.starts`` says where a recurrence starts anew, and ``by_document(function, x, layout)`` of
    ``ultra_blocks.documents`` hands each document as a row of its own. A block that cannot do it declares
    ``Traits(packing=False)``; the encoder then refuses such rows.
    """
    _same_alone(case, batch, PACKED_TOLERANCES)


@BLOCK_RULES("B16", least="quick", draw=batches(rows=(1, 3), documents=(0, 1)), after=("B1",))
def empty_rows(case: BlockCase, batch: Batch) -> None:
    """Outputs at padding are exact zeros, also in rows without real tokens, and all gradients are finite.

    Fix: end ``forward`` with ``return self.leave(y, layout)`` (a plain module: ``layout.zero_padding(y)``). A
    softmax over a row without keys is NaN: ``layout.attention_mask`` leaves such queries themselves to attend
    to.
    """
    module, layout = case.build(), batch.layout()
    tokens = batch.tokens(case.hidden_size)
    x = batch.place(tokens, layout, case.hidden_size).detach().requires_grad_()
    y = output(module, x, layout)
    check_zero("output", y, ~layout.mask)
    found = named_gradients(module, y, torch.ones_like(y), [x], ["the input"])
    check_finite({f"the {name}": g for name, g in found.items()}, "the loss is the sum of the outputs")
    check_zero("gradient of the input", found["gradient of the input"], ~layout.mask)


def check_zero(what: str, tensor: Tensor, padding: Tensor) -> None:
    """Raise a finding unless a tensor ``(B, T, D)`` is zero at padding ``(B, T)``.

    Raises:
        Finding: it is not.
    """
    wanted = torch.where(padding[..., None], 0.0, tensor.detach())
    check_close(tensor, wanted, 0.0, what=what, other="at padding", scale=torch.ones(1))


@BLOCK_RULES("B16b")
def empty_batches(case: BlockCase) -> None:
    """A batch without rows or without tokens gives an output of the same shape, and zero gradients.

    Fix: reductions without a neutral element (``max``, ``argmax``, ``stack`` of an empty list) need a case
    for empty inputs: ``if not x.numel(): return x``, or ``by_document`` of ``ultra_blocks.documents``, which
    has it.
    """
    module = case.build()
    for shape in ((0, 3), (2, 0), (0, 0)):
        mask = torch.ones(shape, dtype=torch.bool)
        for layout in (None, Layout.full(*shape), Layout.from_mask(mask)):
            x = torch.zeros(*shape, case.hidden_size, dtype=torch.float64, requires_grad=True)
            try:
                y = output(module, x, layout)
                found = named_gradients(module, y, torch.ones_like(y), [x], ["the input"])
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
                raise Finding(f"an input {tuple(x.shape)} raises {problem}") from error
            check_answer(y, x)
            for name, g in found.items():
                if g.any():
                    largest = float(g.abs().max())
                    raise Finding(f"an input {tuple(x.shape)} gives the {name}, up to {largest:.3g}")


def named_gradients(
    module: nn.Module, y: Tensor, weight: Tensor, inputs: list[Tensor], names: list[str] | None = None
) -> dict[str, Tensor]:
    """Return the gradients of ``sum(y * weight)`` by the name that a message gives them.

    Args:
        module: the module that computed ``y``; its parameters come last.
        y: the output.
        weight: of its shape.
        inputs: leaves that ``y`` was computed from.
        names: their names; None: documents, counted from 0.
    """
    names = names if names is not None else [f"document {i}" for i in range(len(inputs))]
    leaves = dict(zip(names, inputs, strict=True)) | dict(module.named_parameters())
    found = gradients(y, weight, list(leaves.values()))
    return {f"gradient of {name}": g for name, g in zip(leaves, found, strict=True)}


def _same_alone(case: BlockCase, batch: Batch, tolerances: dict[torch.dtype, float]) -> None:
    """Compare a batch with its documents in separate calls, without padding or layout."""
    if case.traits.straight_through:  # rounding errors of other dtypes reach the other side of a jump
        batch = attrs.evolve(batch, dtype=torch.float64)
    module, layout = case.build(batch.dtype), batch.layout()
    wide = batch.dtype is not torch.bfloat16  # sums over documents round too often to compare gradients
    apart = _outcome(module, batch, case.hidden_size, wide, None)
    together = _outcome(module, batch, case.hidden_size, wide, layout)
    dtype = case.rounds_to(batch.dtype)
    check_close(together[0], apart[0], tolerances[dtype], other="alone")
    limit = ROUNDED_GRADIENTS if dtype is torch.bfloat16 else tolerances[dtype]
    largest = torch.stack([g.abs().max() for g in apart[1].values()]).max() if wide else None
    for name, g in apart[1].items():
        check_close(together[1][name], g, limit, what=name, other="alone", scale=largest)


def _outcome(
    module: nn.Module, batch: Batch, width: int, wide: bool, layout: Layout | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the outputs ``(B, T, D)``, zero at padding, and gradients of tokens and parameters."""
    tokens = batch.tokens(width)
    whole = batch.layout()
    if layout is None:
        y = torch.cat([output(module, t[None], None)[0] for t in tokens])
    else:
        y = output(module, batch.place(tokens, layout, width), layout)[layout.mask]
    noise = torch.randn(y.shape, generator=batch.generator(4)).to(y.dtype)
    placed = torch.zeros(*whole.mask.shape, y.shape[-1], dtype=y.dtype)
    placed[whole.mask] = y.detach()
    return placed, named_gradients(module, y, noise, tokens) if wide else {}
