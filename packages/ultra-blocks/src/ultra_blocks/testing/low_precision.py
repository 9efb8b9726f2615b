"""Rules of half precision: positions of blocks and statistics of norms are not rounded."""

from __future__ import annotations

import copy

import attrs
import torch

from ultra_blocks.layout import Layout
from ultra_blocks.testing.cases import BlockCase, NormCase, noise, output
from ultra_blocks.testing.construction import BLOCK_RULES, NORM_RULES
from ultra_blocks.testing.numerics import AUTOCAST, AUTOCAST_STEPS
from ultra_core.testing import Finding

FAR = (1000, 9001)
"""Shifts of positions after which bf16, with 8 bits, cannot tell neighbours apart."""

LENGTH = 40


@BLOCK_RULES("B8c", when=lambda case: case.traits.relative, after=("B8",))
@torch.no_grad()
def positions_in_bf16(case: BlockCase) -> None:
    """In bf16, too, the output of a relative block does not change when all positions are shifted.

    bf16 has 8 bits: 1000 and 1001 are the same number.

    Fix: compute angles and distances from integers, in fp32 at least, and cast the cosines or the bias:
    ``angles = layout.positions.float()[..., None] * frequencies``.
    """
    module, x = case.build(torch.bfloat16), noise(2, case.length(LENGTH), case.hidden_size, seed=6).bfloat16()
    wanted = output(module, x, None).double()
    for by in FAR:
        positions = torch.arange(x.shape[1]).expand(2, -1) + by
        layout = Layout.from_mask(torch.ones_like(positions), None, positions)
        error = float((output(module, x, layout).double() - wanted).norm() / wanted.norm())
        limit = AUTOCAST_STEPS if case.traits.straight_through else AUTOCAST
        if not error <= limit:
            seen = f"with positions + {by} in bf16, the output {tuple(x.shape)} is {error:.1%} off"
            raise Finding(f"{seen}, limit {limit:.0%}")


WIDTH = 512
"""Width at which the rounding of single channels cancels, and that of the statistics does not."""

SCALE_ERRORS = ((torch.bfloat16, 1.7, 7e-4), (torch.float16, 1e3, 2e-3))
"""Dtypes, sizes of tokens, and limits of the root mean square, over tokens, of the error of the size.

A factor just beside 1 (or 3/4) leaves many numbers of a token on the grid of bf16 and rounds all of them in
the same direction: tokens of size 1.7 keep away from that, and a mean does not depend on the few that do not.
It is 2e-4 for statistics in fp32, and 1.6e-3 for those in bf16.
"""


def _wide(case: NormCase) -> NormCase:
    return attrs.evolve(case, hidden_size=WIDTH)


def _keeps_its_width(case: NormCase) -> str:
    try:
        _wide(case).build()
    except Exception:
        return f"{case.name} cannot be built with hidden_size {WIDTH}"
    return ""


@NORM_RULES("N2b", after=("N2",), when=lambda case: case.traits.precision is None, unless=_keeps_its_width)
@torch.no_grad()
def norm_precision(case: NormCase) -> None:
    """Statistics are computed in fp32 at least: in half precision, only the result is rounded.

    The square of 300 is infinite in fp16, and a factor in bf16 has an error of up to 0.4 %, which all
    channels of a token share. The size of the output of each token is compared, in which other errors cancel.

    Fix: ``x.to(torch.promote_types(x.dtype, torch.float32))`` first, and ``.to(x.dtype)`` last.
    """
    for dtype, scale, limit in SCALE_ERRORS:
        x = (scale * noise(32, WIDTH, seed=8)).to(dtype)
        module = _wide(case).build(dtype)
        exact = copy.deepcopy(module).double()(x.double())
        sizes = (module(x).double() * exact).sum(-1) / exact.square().sum(-1)
        error = float((sizes - 1).square().mean().sqrt())
        if not error <= limit:
            raise Finding(
                f"in {dtype}, with tokens {tuple(x.shape)} of size {scale:g}, outputs are longer or shorter "
                f"than in fp64 by {error:.2g} of their length (root mean square over tokens, limit {limit:g})"
            )
