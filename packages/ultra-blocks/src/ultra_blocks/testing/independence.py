"""Rules of FFNs and norms: every token is computed by itself, whatever else is in the batch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ultra_blocks.testing.cases import Case, FFNCase, NormCase, gradients, noise, output
from ultra_blocks.testing.construction import FFN_RULES, NORM_RULES
from ultra_blocks.testing.differences import check_close
from ultra_blocks.testing.exactness import check_answer
from ultra_blocks.testing.seeding import seeded
from ultra_core.testing import Finding

LENGTH = 300
"""Tokens of a row: more than an expert of four can take under a capacity factor of two."""

SAMPLE = (0, 1, 31, 63, 64, 65, 127, 128, 255, 256, LENGTH - 1)
"""Tokens that are computed again, alone."""

LARGE = 7
"""The token of the third row that is 100 times as large."""


def crowd(width: int) -> Tensor:
    """Return ``(3, T, D)``: a row of random tokens, one of equal tokens, and one with a very large token.

    Equal tokens go to the same expert, and a large token dominates any statistics of the batch.
    """
    x = noise(3, LENGTH, width, seed=31)
    x[1] = x[1, :1]
    x[2, LARGE] *= 100
    return x


@torch.no_grad()
def _check_alone(case: Case, module: nn.Module, x: Tensor, together: Tensor, mode: str) -> None:
    for row, token in [*((0, t) for t in SAMPLE), (1, 0), (2, 0), (2, LARGE)]:
        one = x[row : row + 1, token : token + 1]
        alone = module(one) if isinstance(case, NormCase) else output(module, one, None)
        got = together[1] if row == 1 else together[row, token][None]
        what = (
            f"token {token} of row {row}{' and its copies' if row == 1 else ''} of a batch {tuple(x.shape)}"
        )
        check_close(
            got,
            alone[0].expand_as(got),
            case.allows(1e-11),
            what=f"{what}, in {mode}, output",
            other="alone",
        )


@FFN_RULES("F1b", least="quick")
def ffn_independence(case: FFNCase) -> None:
    """The output of a token depends on no other token, also in large batches and through expert routing.

    A capacity limit of experts, a statistic of the batch or a scale of quantisation that tokens share would
    let a causal model see the future, and make outputs depend on how batches are put together.

    Fix: choose experts for each token by its own scores, without a capacity limit; compute means, maxima and
    scales over the last dimension only.
    """
    module: Any = case.build()
    x = crowd(case.hidden_size)
    _check_alone(case, module, x, output(module, x, None), "evaluation")
    for mode in (False, True):
        _check_copies(case, module.train(mode), x[1:2], "training" if mode else "evaluation")
        leaf = x[:, :70].clone().requires_grad_()
        with seeded(0):
            y = output(module.train(mode), leaf, None)[0, 65]
        slopes = gradients(y, noise(*y.shape), [leaf])[0]
        slopes[0, 65] = 0
        if slopes.any():
            row, token = (int(i) for i in slopes.abs().amax(-1).nonzero()[0])
            name = "training" if mode else "evaluation"
            raise Finding(
                f"in {name}, token 65 of row 0 of a batch {tuple(leaf.shape)} has a gradient of "
                f"{float(slopes[row, token].norm()):.3g} at token {token} of row {row}"
            )


@torch.no_grad()
def _check_copies(case: Case, module: nn.Module, copies: Tensor, mode: str) -> None:
    """Compare a row of equal tokens, which all go to the same experts, with one of them; unless it draws."""
    whole, alone, again = (
        _seeded(module, part, seed) for part, seed in ((copies, 0), (copies[:, :1], 0), (copies[:, :1], 1))
    )
    if torch.equal(alone, again):
        what = f"a row of {LENGTH} equal tokens, in {mode}, output"
        check_close(
            whole, alone.expand_as(whole), case.allows(1e-11), what=what, other="of one of them alone"
        )


def _seeded(module: nn.Module, x: Tensor, seed: int) -> Tensor:
    with seeded(seed):
        return output(module, x, None)


EMPTY = ((0, 3), (2, 0), (0, 0))
"""Shapes of batches without tokens."""


@FFN_RULES("F1c", least="quick")
def ffn_empty_batches(case: FFNCase) -> None:
    """A batch without rows or without tokens gives an output of its shape, in evaluation and in training.

    Fix: avoid ``max()`` and ``mean()`` over tokens; ``sum() / count.clamp(min=1)`` has no NaN.
    """
    module: Any = case.build()
    for shape in EMPTY:
        x = torch.zeros(*shape, case.hidden_size, dtype=torch.float64, requires_grad=True)
        for mode in (False, True):
            try:
                check_answer(output(module.train(mode), x, None), x)
            except (RuntimeError, IndexError, ValueError) as error:
                raise Finding(f"an input {tuple(x.shape)} raises {type(error).__name__}: {error}") from error


SHAPES = ((LENGTH,), (5, 6, 10), (2, 2, 3, 5, 5), *EMPTY)
"""Leading dimensions of inputs of norms."""


@NORM_RULES("N1b", after=("N1",), least="quick")
def norm_shapes(case: NormCase) -> None:
    """A norm takes any leading dimensions, none and empty ones too, and is the same in training.

    It gets ``(B, T, D)`` from layers and ``(B, H, T, d)`` or ``(N, D)`` from blocks.

    Fix: reduce over ``dim=-1`` and keep it, instead of naming dimensions from the left; keep no running
    statistics.
    """
    module: Any = case.build()
    width, x = case.hidden_size, crowd(case.hidden_size)
    for mode in (False, True):
        name = "training" if mode else "evaluation"
        together = module.train(mode)(x)
        check_answer(together, x)
        _check_alone(case, module.eval(), x, together, name)
        for shape in SHAPES:
            part = (
                x[0, : math.prod(shape)].reshape(*shape, -1) if 0 not in shape else x.new_empty(*shape, width)
            )
            y = module.train(mode)(part)
            check_answer(y, part)
            flat = module.eval()(part.reshape(-1, width)).view_as(part)
            what = f"of {tuple(part.shape)} in {name}, output"
            check_close(y, flat, case.allows(1e-14), what=what, other="as (N, D)")
        turned = module.train(mode)(x.transpose(0, 1)).transpose(0, 1)
        what = f"of a transposed input {tuple(x.transpose(0, 1).shape)} in {name}, output"
        check_close(turned, together, case.allows(1e-14), what=what, other="of the input")
    vector = module.eval()(x[0, 0])
    check_close(vector, module(x[:1, :1])[0, 0], case.allows(1e-14), what="of one vector, output")
