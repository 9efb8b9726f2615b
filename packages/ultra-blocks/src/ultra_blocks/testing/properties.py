"""Rules about formulas that need no reference: sums of weights, the scale of scores, statistics of norms."""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor, nn

from ultra_blocks.testing.cases import BlockCase, Case, NormCase, output
from ultra_blocks.testing.construction import BLOCK_RULES, NORM_RULES
from ultra_blocks.testing.differences import check_close
from ultra_blocks.testing.seeding import seeded
from ultra_blocks.traits import NormTraits
from ultra_core.testing import Finding


@BLOCK_RULES("B31", after=("B0",), when=lambda case: case.traits.averages, least="quick")
def averages(case: BlockCase) -> None:
    """With the same vector at every token, a block that averages has one output at every token and length.

    Weights that sum to 1 return the value that all tokens have. Rows of 2, 7, 70 and 150 equal tokens are
    compared with a single token.

    Fix: divide by the sum of exactly those weights that are used: no extra term, no constant length, and
    masked keys left out of it.
    """
    module = case.build()
    vector = torch.randn(case.hidden_size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        alone = output(module, vector.expand(1, 1, -1), None)
        for length in map(case.length, (2, 7, 70, 150)):
            y = output(module, vector.expand(1, length, -1), None)
            what = f"among {length} equal tokens, output"
            check_close(y, alone.expand_as(y), case.allows(1e-10), what=what, other="that of one alone")


SCALED_LENGTH, SCALED_ROWS, SCALED_SEEDS = 32, 32, 24
SPREAD = (2.05, 5.0)
"""Bounds of T E[sum_j a_j^2], which is ``exp(variance of the scores)`` for many tokens, thus about 2.7."""


def _wider(case: BlockCase) -> BlockCase:
    return attrs.evolve(case, hidden_size=4 * case.hidden_size)


def _keeps_its_width(case: BlockCase) -> str:
    try:
        _wider(case).build()
    except Exception:
        return f"{case.name} cannot be built with hidden_size {4 * case.hidden_size} and these options"
    return ""


@BLOCK_RULES("B32", after=("B31",), when=lambda case: case.traits.scaled_scores, unless=_keeps_its_width)
def scaled_scores(case: BlockCase) -> None:
    """Scores of queries and keys of unit variance have unit variance: they are divided by sqrt(d).

    Matrices are drawn with variance ``1 / inputs`` and tokens with variance 1, at four times the width. The
    variance of the output over rows, divided by that of a single token, is then the sum of the squared
    weights, which says how far scores are spread. Biases have no part in a variance.

    Fix: divide ``q k^T`` once by ``sqrt(d)``, where d is the width of a head, not of the block.
    """
    wide = _wider(case)
    found = sum(_spread(wide, seed) for seed in range(SCALED_SEEDS)) / SCALED_SEEDS
    low, high = SPREAD
    if not low <= found <= high:
        raise Finding(
            f"the variance of the scores is about {math.log(max(found, 1.0)):.2f}, not 1: T times the sum of "
            f"the squared weights is {found:.2f}, bounds {low} and {high}, at width {wide.hidden_size}"
        )


def _spread(case: BlockCase, seed: int) -> float:
    """Return T times the mean sum of the squared weights with which the last of T tokens reads the others."""
    module = case.build(torch.float32, seed=seed)
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                drawn = torch.randn(parameter.shape, generator=g) / math.sqrt(parameter.shape[-1])
                parameter.copy_(drawn)
        x = torch.randn(SCALED_ROWS, case.length(SCALED_LENGTH), case.hidden_size, generator=g)
        read = output(module, x, None)[:, -1].var(0).mean()
        alone = output(module, x[:, -1:], None)[:, 0].var(0).mean()
    return float(x.shape[1] * read / alone)


def _may_be_unbiased(case: Case) -> bool:
    return (
        isinstance(case, NormCase)
        and not _norm_traits(case).unit_rms
        and getattr(case.cls, "reference", None) is None
    )


def _norm_traits(case: NormCase) -> NormTraits:
    return case.traits if isinstance(case.traits, NormTraits) else NormTraits()


def _initial(case: Case) -> nn.Module:
    """Return a norm as the constructor leaves it, in fp64."""
    with seeded(0):
        module: nn.Module = case.cls(**case.arguments())
    return module.double().eval()


def _large_tokens(case: Case) -> Tensor:
    """Return tokens beside which ``eps`` has no effect, with a mean that is not 0."""
    g = torch.Generator().manual_seed(0)
    return 1e3 * (torch.randn(5, case.hidden_size, generator=g, dtype=torch.float64) + 0.7)


@NORM_RULES("N6", after=("N1",), when=lambda case: _norm_traits(case) != NormTraits(), least="quick")
def statistics(case: NormCase) -> None:
    """A norm has the invariances and the statistics that its traits declare, with its initial parameters.

    Fix: divide by the root of the mean square over all D channels (``unbiased=False``, not D - 1), subtract
    the mean before it where the norm has one, and add ``eps`` under the root; or declare fewer traits.
    """
    traits, module, x = _norm_traits(case), _initial(case), _large_tokens(case)
    limit, y = case.allows(1e-6), module(x).detach()
    if traits.scale_invariant:
        check_close(module(37 * x), y, limit, what="of tokens times 37, output", other="of the tokens")
    if traits.shift_invariant:
        check_close(module(x + 1e3), y, limit, what="of tokens plus 1000, output", other="of the tokens")
    if traits.zero_mean:
        mean = y.mean(-1)
        check_close(mean, mean * 0, limit, what="mean of the output", scale=torch.ones(()))
    if traits.unit_rms:
        rms = y.square().mean(-1).sqrt()
        check_close(rms, torch.ones_like(rms), limit, what="root mean square of the output")


@NORM_RULES("N6b", after=("N1",), when=_may_be_unbiased, least="quick")
def variance(case: NormCase) -> None:
    """A norm that subtracts the mean divides by the root of the mean square over D channels, not D - 1.

    Fix: ``x.var(-1, keepdim=True, unbiased=False)``; torch's default is the unbiased estimate. A norm that
    means D - 1 proves it by a ``reference``.
    """
    y = _initial(case)(_large_tokens(case)).detach()
    mean, square, width = y.mean(-1), y.square().mean(-1), case.hidden_size
    if mean.abs().max() < 1e-6 and (square - (width - 1) / width).abs().max() < 1e-4:
        raise Finding(
            f"the mean square of the output is {float(square[0]):.6f}, that is (D - 1) / D at width {width}"
        )
