"""Hyperbolic rotary position encoding (HoPE), and its scores in O(T^2 d) by halving the row."""

from __future__ import annotations

from math import inf
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from ultra_blocks.layout import Layout
from ultra_blocks.positions.base import PositionCode, real_positions
from ultra_core.contracts import FromModel, Range
from ultra_core.plugins.signatures import require

SMALLEST_BLOCK = 4
"""Number of tokens up to which all pairs are computed one by one."""


class HoPE(PositionCode):
    """Hyperbolic rotary position encoding: products of q and k decay with distance, at a rate per channel.

    The paper applies a Lorentz boost to pairs of channels and damps the result::

        theta_j = base**(-2j/d),  j = 0..d/2-1,    B(x) = [[cosh x, sinh x], [sinh x, cosh x]]
        s(m, n) = sum_j exp(-D theta'_j) q_j^T B(D theta_j) k_j,    D = |m - n|

    B has the eigenvectors ``u = (a + b) / sqrt 2`` and ``w = (a - b) / sqrt 2`` of a pair (a, b), so that::

        s(m, n) = sum_j u^q_j u^k_j exp(-D (theta'_j - theta_j)) + w^q_j w^k_j exp(-D (theta'_j + theta_j))

    This form is computed: no exponent is positive, and nothing depends on m + n. All coefficients are at most
    1 and decay with D. At distances where all have decayed, scores are 0, so that the softmax is uniform
    there. An encoder learns from HoPE how far tokens are apart, but neither on which side nor at which exact
    distance; where that matters, use ``rope`` or combine both across layers.

    A pair is ``(x_j, x_{j+d/2})``. Factors are at least fp32 and shared through ``layout.memo``.

    Args:
        head_dim: width d of a head, even.
        causal: skip blocks of keys after the query, whose scores stay 0.
        base: base of the frequencies, about the ratio of the largest to the smallest theta.
        damping: decay per position of the slowest channel; 0.01 halves it every 69 positions.
        margin: excess of the damping over the minimum that the boost requires, relative to theta.
        damping_form: "pair": ``theta'_j = (1 + margin) theta_j + damping``; "global", the paper's:
            ``theta' = (1 + margin) max_j theta_j + damping`` for all pairs, with which nearly every channel
            vanishes after a few positions.

    Shapes:
        q, k ``(B, H, T, d)`` -> scores ``(B, H, T, T)``. Positions may be padded, packed, in any order and
        with gaps.

    Raises:
        ValueError: ``head_dim`` is odd, or an option is out of its range.

    Paper: Dai et al. 2025, "HoPE: Hyperbolic Rotary Positional Encoding", arXiv:2509.05218.
    Differs from the paper: damping per pair unless ``damping_form: global``; the distance is symmetric in
    encoders, a case that the paper, which assumes m >= n, leaves open.
    """

    kind = "scores"
    symmetric = True
    reference: ClassVar = "ultra_blocks.reference.hope:hope"

    def __init__(
        self,
        head_dim: int,
        *,
        causal: bool = False,
        base: Annotated[float, FromModel("hope_base"), Range(gt=1)] = 10000.0,
        damping: Annotated[float, FromModel("hope_damping"), Range(min=0)] = 0.01,
        margin: Annotated[float, Range(min=0)] = 0.1,
        damping_form: Literal["pair", "global"] = "pair",
    ) -> None:
        super().__init__()
        if head_dim < 2 or head_dim % 2:
            raise ValueError(f"HoPE: heads must have an even width to form pairs; given head_dim={head_dim}")
        if not 1 < base < inf:
            raise ValueError(f"HoPE: base must be above 1 and finite; given {base}")
        if not (0 <= damping < inf and 0 <= margin < inf):
            raise ValueError(
                f"HoPE: damping and margin must be 0 or more and finite, or scores would grow with distance; "
                f"given damping={damping}, margin={margin}"
            )
        require(HoPE, damping_form=damping_form)
        self.head_dim = head_dim
        self.causal = causal
        self.base, self.damping, self.margin = float(base), float(damping), float(margin)
        self.damping_form = damping_form

    @property
    def rates(self) -> tuple[float, ...]:
        """Decay rates of the d channels: those of u, then those of w."""
        thetas = [self.base ** (-2 * j / self.head_dim) for j in range(self.head_dim // 2)]
        if self.damping_form == "pair":
            slow = [self.margin * theta + self.damping for theta in thetas]
        else:
            slow = [(1 + self.margin) * max(thetas) + self.damping - theta for theta in thetas]
        return (*slow, *(rate + 2 * theta for rate, theta in zip(slow, thetas, strict=True)))

    def scores(self, q: Tensor, k: Tensor, layout: Layout) -> Tensor:
        """Return the scores before scaling and masks; across documents they are finite but meaningless."""
        wide = torch.promote_types(q.dtype, torch.float32)
        order = layout.remember("hope order", lambda: _order(layout))
        factors = layout.remember(
            ("hope", self.rates, wide),
            lambda: decay_factors(_clock(layout, order), self._rate_tensor(wide, q.device)),
        )
        q, k = _eigenvectors(q), _eigenvectors(k)
        if order is None:
            return decayed_scores(q, k, factors, lower=self.causal)
        # gather: a compiled take_along_dim makes a graph for every number of rows
        q, k = (x.gather(2, order[:, None, :, None].expand_as(x)) for x in (q, k))
        back, scores = order.argsort(1)[:, None], decayed_scores(q, k, factors)
        rows = scores.gather(2, back[..., None].expand_as(scores))
        return rows.gather(3, back[..., None, :].expand_as(rows))

    def _rate_tensor(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.tensor(self.rates, dtype=dtype, device=device)

    def extra_repr(self) -> str:
        """Return the options for ``print(model)``."""
        form = f"margin={self.margin:g}, damping_form={self.damping_form}"
        return f"{self.head_dim}, base={self.base:g}, damping={self.damping:g}, {form}"


def _eigenvectors(x: Tensor) -> Tensor:
    """Turn pairs ``(a, b)`` into ``((a + b) / sqrt 2, (a - b) / sqrt 2)``."""
    a, b = x.chunk(2, -1)
    return torch.cat((a + b, a - b), -1) * 0.5**0.5


def _clock(layout: Layout, order: Tensor | None) -> Tensor:
    if layout.indexed:
        return real_positions(layout)
    clock = clocks(layout.documents, layout.positions)
    return clock.cummax(1).values if order is None else clock.gather(1, order)


def _order(layout: Layout) -> Tensor | None:
    """Return the order ``(B, T)`` in which positions do not decrease; None if they already have it.

    They have it unless the caller passed positions in another order; finding out takes one synchronisation
    per forward pass. A compiled graph cannot read values and always sorts.
    """
    if layout.indexed:
        return None
    clock = clocks(layout.documents, layout.positions)
    rising = torch.where(layout.mask, clock == clock.cummax(1).values, True)
    if not torch.compiler.is_compiling() and bool(rising.all()):
        return None
    return clock.argsort(dim=1, stable=True)


def clocks(documents: Tensor, positions: Tensor) -> Tensor:
    """Return one number per token ``(B, T)`` whose differences are those of positions inside a document.

    Documents are 2^32 apart, so that products across them decay to 0; padding precedes all documents.

    Shapes: documents ``(B, T)``, -1 at padding, and positions ``(B, T)``, both int64.
    """
    return documents * 2**32 + torch.where(documents >= 0, positions, 0)


def decay_factors(clock: Tensor, rates: Tensor) -> list[Tensor]:
    """Return the factors by which :func:`decayed_scores` multiplies q and k, from the smallest blocks up.

    A row is halved until blocks have ``SMALLEST_BLOCK`` tokens. On the way up, two halves meet at the first
    token m of the right one, and a pair across it decays by ``exp(-r (c_i - c_m)) exp(-r (c_m - c_j))``: no
    exponent is positive, whatever the decay rate and the distance.

    Args:
        clock: ``(B or 1, T)`` int64, not decreasing along a row.
        rates: ``(d,)``, >= 0, at least fp32.

    Shapes:
        the first is ``(B or 1, 1, N, n, n, d)`` for N blocks of n tokens, the others
        ``(B or 1, 1, N, 2, h, d)`` for N pairs of halves of h tokens.
    """
    blocks, factors = clock[:, None, None], []
    while blocks.shape[-1] > SMALLEST_BLOCK:
        halves = _halves(blocks[..., None])[..., 0]
        distance = (halves - halves[..., 1:, :1]).abs()
        factors.append(torch.exp(-rates * distance[..., None].to(rates.dtype)))
        blocks = halves.flatten(2, 3)
    distance = (blocks[..., :, None] - blocks[..., None, :]).abs()
    factors.append(torch.exp(-rates * distance[..., None].to(rates.dtype)))
    return factors[::-1]


def decayed_scores(q: Tensor, k: Tensor, factors: list[Tensor], *, lower: bool = False) -> Tensor:
    """Return ``s_ij = sum_c q_ic k_jc exp(-r_c |c_i - c_j|)`` for all pairs of tokens.

    This takes as many multiply-adds as ``q k^T``, in log2(T) batched products, and ``2 log2(T)``
    multiplications per element of q and k.

    Args:
        q: ``(B, H, T, d)``.
        k: ``(B, H, T, d)``.
        factors: result of :func:`decay_factors` for the same T.
        lower: leave zeros where j > i, except inside the smallest blocks; saves half of the work.

    Shapes:
        returns ``(B, H, T, T)``.
    """
    return _block(q[:, :, None], k[:, :, None], factors, lower)[:, :, 0]


def _block(q: Tensor, k: Tensor, factors: list[Tensor], lower: bool) -> Tensor:
    """Return the products inside blocks: q and k ``(B, H, N, n, d)`` -> ``(B, H, N, n, n)``."""
    *below, factor = factors
    if not below:
        decayed = (q[..., :, None, :] * factor).to(q.dtype)  # each query as seen by each key
        return (decayed * k[..., None, :, :]).sum(-1)
    size = q.shape[-2]
    q, k = _halves(q), _halves(k)
    inner = _block(q.flatten(2, 3), k.flatten(2, 3), below, lower).unflatten(2, (-1, 2))
    q, k = (q * factor).to(q.dtype), (k * factor).to(k.dtype)
    back = q[..., 1, :, :] @ k[..., 0, :, :].mT
    ahead = torch.zeros_like(back) if lower else q[..., 0, :, :] @ k[..., 1, :, :].mT
    top = torch.cat((inner[..., 0, :, :], ahead.to(inner.dtype)), -1)
    bottom = torch.cat((back.to(inner.dtype), inner[..., 1, :, :]), -1)
    return torch.cat((top, bottom), -2)[..., :size, :size]


def _halves(x: Tensor) -> Tensor:
    """Divide ``(..., n, d)`` into ``(..., 2, h, d)``, repeating the last token if n is odd."""
    if x.shape[-2] % 2:
        x = torch.cat((x, x[..., -1:, :]), -2)
    return x.unflatten(-2, (2, -1))
