"""Rules of long rows: what holds for a few tokens also holds beyond chunks, tables and windows.

The rules compare one row of 514 tokens with shorter rows, with decoding, and with itself after a change.
"""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.testing.cases import ROUNDING, BlockCase, gradients, output, takes_columns
from ultra_blocks.testing.construction import BLOCK_RULES
from ultra_blocks.testing.differences import check_close
from ultra_blocks.testing.draws import relative_error
from ultra_blocks.testing.sharing import once_a_case
from ultra_core.testing import Finding

POWERS = tuple(2**k for k in range(2, 10))
"""Sizes that chunks, tiles, tables and windows usually have."""

LENGTHS = tuple(sorted({70, 150, 300} | {power + d for power in POWERS for d in (-1, 0, 1)}))
"""Lengths at which a block may switch to another path, or fill a chunk exactly, or by one token too many."""

LONGEST = LENGTHS[-1] + 1

BORDERS = (31, 63, 127, 255, 511)
"""The last tokens before a border between chunks, counted from 0."""

READERS = (0, 64, 150, 300, LONGEST - 1)
"""Tokens whose outputs are differentiated."""

STEPS = (1e-6, 1e-7, 2e-8)
"""Steps of finite differences; a kink that is within the first is rarely within the others."""

LIMIT = 1e-10
"""Largest relative error in fp64; rounding of our own blocks at 514 tokens is below 1e-12."""

UNDERFLOW = 1e-140
"""An influence that decays below this may be an exact zero soon after."""


@attrs.frozen
class LongRow:
    """A block, a row of 514 tokens ``(1, T, D)``, and the output."""

    module: nn.Module
    x: Tensor
    y: Tensor


@once_a_case
def long_row(case: BlockCase) -> LongRow:
    """Return the long row of a case."""
    module, x = case.build(), tokens(case, LONGEST)
    return LongRow(module, x, output(module, x, None).detach())


@once_a_case
def influences(case: BlockCase) -> dict[int, Tensor]:
    """Return the gradient ``(T, D)`` of a random sum of each reader's output with respect to the long row."""
    row = long_row(case)
    x = row.x.clone().requires_grad_()
    y = output(row.module, x, None)
    weight = torch.randn(case.hidden_size, generator=torch.Generator().manual_seed(7), dtype=y.dtype)

    def gradient(t: int) -> Tensor:
        return torch.autograd.grad(y[0, t] @ weight, x, retain_graph=True, materialize_grads=True)[0][0]

    return {t: gradient(t) for t in READERS}


@once_a_case
def changed(case: BlockCase) -> dict[int, Tensor]:
    """Return the output ``(1, T, D)`` of the long row after a change of its token t, for t in BORDERS."""
    row, found = long_row(case), {}
    for t in BORDERS:
        x = row.x.clone()
        x[:, t] = 3 - x[:, t]
        with torch.no_grad():
            found[t] = output(row.module, x, None)
    return found


def tokens(case: BlockCase, length: int, rows: int = 1, seed: int = 11) -> Tensor:
    """Return random tokens ``(rows, length, D)`` in fp64."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, length, case.hidden_size, generator=g, dtype=torch.float64)


@BLOCK_RULES(
    "B3b", least="quick", when=lambda case: case.causal, after=("B3",), unless=takes_columns(LONGEST)
)
def long_causality(case: BlockCase) -> None:
    """In a causal block, the first n tokens of a long row have the outputs that a row of n tokens has.

    The row has 514 tokens, and n is 70, 150, 300, and every power of two from 4 to 512, minus or plus one.
    A change of a token and the gradient of a token's output reach no other side either.

    Fix: look for what depends on the length of the row: a mask that is left out or built otherwise for long
    rows, a chunk whose mask is not triangular, a total over the row (``x.mean(1)``, ``flip``, ``cumsum`` from
    the right), or a position that is counted from the end.
    """
    row = long_row(case)
    for t, y in changed(case).items():
        noise = case.allows(ROUNDING) * row.y.abs().max()
        moved = ((y[:, :t] - row.y[:, :t]).abs() > noise).any(-1)[0].nonzero().flatten()
        if len(moved):
            by = relative_error(y[:, :t], row.y[:, :t])
            where = f"in a row of {LONGEST}, a change of token {t} moves the output of token {int(moved[0])}"
            raise Finding(f"{where}, {len(moved)} earlier tokens in all, by {by:.1e} of the largest output")
    for reader, g in influences(case).items():
        if (later := g[reader + 1 :].abs().amax(-1).nonzero().flatten()).numel():
            read = reader + 1 + int(later[0])
            raise Finding(f"in a row of {LONGEST}, the output of token {reader} has a gradient at {read}")
    with torch.no_grad():
        for n in LENGTHS:
            y = output(row.module, row.x[:, :n], None)
            check_close(
                y,
                row.y[:, :n],
                case.allows(LIMIT),
                other=f"in the row of {LONGEST}",
                note=f"alone it is a row of {n}",
            )


@BLOCK_RULES("B4b", least="quick", after=("B4",), unless=takes_columns(LONGEST))
def long_context(case: BlockCase) -> None:
    """In a long row, a token still depends on its neighbours; with ``full_context``, on all tokens.

    Neighbours on both sides of the borders of chunks are tried (causal: the token before). With
    ``full_context``, the gradients of outputs of a row of 514 tokens may fade out with the distance, but not
    break off.

    Fix: carry the state (or the keys) of each chunk into the next one, and let tokens look across borders. A
    block that has a window by default declares ``Traits(full_context=False)``.
    """
    row, scale = long_row(case), long_row(case).y.abs().max()
    for t, y in changed(case).items():
        for reader in (t + 1,) if case.causal else (t - 1, t + 1):
            if (y[0, reader] - row.y[0, reader]).abs().max() <= 1e-8 * scale:
                raise Finding(f"in a row of {LONGEST}, the output of token {reader} ignores token {t}")
    if case.traits.full_context:
        faint = UNDERFLOW if case.traits.precision is None else 1e-30
        for reader, g in influences(case).items():
            strengths = g.abs().amax(-1)
            before, after = strengths[: reader + 1].flip(0), strengths[reader:]
            _check_reach(before, reader, -1, faint)
            if not case.causal:
                _check_reach(after, reader, 1, faint)


def _check_reach(strengths: Tensor, reader: int, sign: int, faint: float) -> None:
    """Raise a finding if an influence breaks off; ``strengths`` go from the reader to the end of the row."""
    zeros = (strengths == 0).nonzero().flatten()
    if not len(zeros) or (far := int(zeros[0])) == 0:
        return
    last = float(strengths[far - 1])
    if last > faint:
        missing, seen = reader + sign * far, reader + sign * (far - 1)
        raise Finding(
            f"in a row of {LONGEST}, the output of token {reader} ignores token {missing}, but depends "
            f"on token {seen} (gradient {last:.1e}); {len(zeros)} tokens on this side are out of its reach"
        )


@BLOCK_RULES("B4c", after=("B4",), unless=takes_columns(LONGEST))
def late_order(case: BlockCase) -> None:
    """If the order of tokens matters at the start of a row, it matters far from the start.

    Two tokens next to each other are exchanged, and the output of the second token after them is looked at.

    Fix: do not clamp positions at the size of a table; compute the table for the length of the row.
    """
    row = long_row(case)
    effects = {}
    for reader in (20, 100, 200, 400):
        x = row.x.clone()
        x[:, [reader - 3, reader - 2]] = x[:, [reader - 2, reader - 3]]
        with torch.no_grad():
            y = output(row.module, x, None)
        effects[reader] = relative_error(y[:, reader], row.y[:, reader], row.y)
    for reader, effect in effects.items():
        if effects[20] > 1e-6 and effect < 1e-12:
            pair = f"exchanging tokens {reader - 3} and {reader - 2} moves the output of token {reader}"
            raise Finding(f"{pair} by {effect:.1e}, while 17, 18 and 20 give {effects[20]:.1e}")


@BLOCK_RULES(
    "B5c",
    when=lambda case: case.causal and case.traits.recurrent_step,
    after=("B5",),
    unless=takes_columns(LONGEST),
)
def long_decoding(case: BlockCase) -> None:
    """Decoding a long row token by token gives the same outputs as the forward pass.

    Fix: compare the first token at which they differ with the sizes of chunks, windows and caches of the
    block: either the forward pass does not carry its whole state across a chunk, or ``step`` drops a part of
    it, or one of them rounds it.
    """
    row = long_row(case)
    module: Any = row.module
    state, steps = module.init_state(1), []
    with torch.no_grad():
        for t in range(LONGEST):
            y_t, state = module.step(row.x[:, t], state)
            steps.append(y_t)
    check_close(row.y, torch.stack(steps, 1), case.allows(LIMIT), what="output of forward", other="decoded")


@BLOCK_RULES("B5d", when=lambda case: case.takes("chunk_size"), after=("B5b",), unless=takes_columns(LONGEST))
def long_chunks(case: BlockCase) -> None:
    """The outputs and gradients of rows of many chunks do not depend on the chunk size.

    Fix: carry the state, with its decay over a whole chunk, from each chunk to the next, also when the last
    chunk is not full.
    """
    default, leaf = case.build(), tokens(case, 300).requires_grad_()
    wanted = _with_gradients(default, leaf)
    for size in (7, 16, 63, 128, 300):
        found = _with_gradients(case.copy_of(default, chunk_size=size), leaf)
        for name, tensor in found.items():
            note = f"a row of 300 with chunk_size {size}"
            check_close(
                tensor, wanted[name], case.allows(LIMIT), what=name, other="with the default", note=note
            )


@BLOCK_RULES("B8b", when=lambda case: case.traits.relative, after=("B8",), unless=takes_columns(LONGEST))
def long_shift(case: BlockCase) -> None:
    """The output of a long row does not change when all its positions are shifted by the same number.

    Fix: read positions from ``layout.positions``; do not clamp them, wrap them around, or take columns for
    them where the layout is None.
    """
    module, x = case.build(), tokens(case, 150)
    with torch.no_grad():
        wanted = output(module, x, None)
        for by in (1, 63, 1000):
            mask = torch.ones(x.shape[:2], dtype=torch.bool)
            moved = Layout.from_mask(mask, None, torch.arange(x.shape[1])[None] + by)
            note = f"positions are {by} to {by + x.shape[1] - 1}"
            check_close(
                output(module, x, moved), wanted, case.allows(1e-9), other="without a layout", note=note
            )


@BLOCK_RULES(
    "B10b",
    when=lambda case: case.traits.precision is None and not case.traits.straight_through,
    after=("B10",),
    unless=takes_columns(LONGEST),
)
def long_slopes(case: BlockCase) -> None:
    """The gradients of long rows agree with a finite difference along a random direction.

    All tokens and parameters move at once, by one part in a million, or less where a kink of relu is that
    near. An output that is computed in fp32 or bf16 is too coarse for that.

    Fix: detach no state between chunks, and keep states, sums and tables in the dtype of the input, or fp32
    where that is wider.
    """
    module = case.build()
    for n in (70, 150, 300, 513):
        trained = (parameter for parameter in module.parameters() if parameter.requires_grad)
        leaves = [tokens(case, n).requires_grad_(), *trained]
        g = torch.Generator().manual_seed(n)
        ways = [torch.randn(leaf.shape, generator=g, dtype=torch.float64).to(leaf.dtype) for leaf in leaves]
        y = output(module, leaves[0], None)
        weight = torch.randn(y.shape, generator=g, dtype=torch.float64).to(y.dtype)
        found = gradients(y, weight, leaves)
        wanted = sum(float((a.double() * b.double()).sum()) for a, b in zip(found, ways, strict=True))
        size = sum(float((a.double() * b.double()).square().sum()) for a, b in zip(found, ways, strict=True))
        for step in STEPS:
            slope = _slope(module, leaves, ways, weight, step)
            error = abs(slope - wanted) / (size**0.5 + abs(wanted) + 1e-30)
            if error <= 1e-5:
                break
        else:
            raise Finding(
                f"in a row of {n}, the outputs rise by {slope:.8g} along a random direction, the gradients "
                f"say {wanted:.8g} (relative error {error:.1e}, limit 1e-05)"
            )


@torch.no_grad()
def _slope(module: nn.Module, leaves: list[Tensor], ways: list[Tensor], weight: Tensor, step: float) -> float:
    """Return the slope of the weighted sum of the outputs, by a central difference."""
    ends, before = [], [leaf.detach().clone() for leaf in leaves]
    for sign in (1, -1):
        for leaf, start, way in zip(leaves, before, ways, strict=True):
            leaf.copy_(start + sign * step * way)
        ends.append(output(module, leaves[0], None))
    for leaf, start in zip(leaves, before, strict=True):
        leaf.copy_(start)
    return float(((ends[0] - ends[1]).double() * weight.double()).sum()) / (2 * step)


@BLOCK_RULES("B12b", after=("B12",), unless=takes_columns(LONGEST))
def long_determinism(case: BlockCase) -> None:
    """Evaluation of long rows is deterministic, and training without dropout gives the same output.

    Fix: a path for long rows needs the same treatment of ``self.training`` as the one for short rows.
    """
    dropout: dict[str, Any] = {"dropout": 0.0} if case.takes("dropout") else {}
    module = case.build(**dropout)
    for n in (70, 150, 300, 512):
        x = tokens(case, n)
        with torch.no_grad():
            first, second = output(module.eval(), x, None), output(module, x, None)
            train = output(module.train(), x, None)
        note = f"a row of {n}"
        check_close(second, first, 0.0, what="a second call in evaluation", other="the first", note=note)
        check_close(train, first, case.allows(ROUNDING), what="training", other="evaluation", note=note)


def _with_gradients(module: nn.Module, leaf: Tensor) -> dict[str, Tensor]:
    y = output(module, leaf, None)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    names = ["gradient of the input", *(f"gradient of {name}" for name, _ in module.named_parameters())]
    found = gradients(y, weight.to(y.dtype), [leaf, *module.parameters()])
    return {"output": y, **dict(zip(names, found, strict=True))}
