"""Hyperbolic rotary positions (HoPE)."""

from __future__ import annotations

from math import inf
from typing import Annotated, Literal

import torch
from torch import Tensor

from ultra_blocks.functional.faded_products import clocks, faded_products, fades
from ultra_blocks.layout import Layout
from ultra_blocks.positions.base import PositionCode, real_positions
from ultra_core.contracts import FromModel, Range
from ultra_core.plugins.signatures import require


class HoPE(PositionCode):
    """Lets the products of q and k fade with distance, every channel at a rate of its own.

    The paper boosts pairs of channels (a Lorentz rotation) and damps them::

        theta_j = base**(-2j/d),  j = 0..d/2-1,    B(x) = [[cosh x, sinh x], [sinh x, cosh x]]
        s(m, n) = sum_j exp(-D theta'_j) q_j^T B(D theta_j) k_j,    D = |m - n|

    B has the eigenvectors ``u = (a + b) / sqrt 2`` and ``w = (a - b) / sqrt 2`` of a pair (a, b), so that::

        s(m, n) = sum_j u^q_j u^k_j exp(-D (theta'_j - theta_j)) + w^q_j w^k_j exp(-D (theta'_j + theta_j))

    which is what is computed: no exponent is positive, and nothing depends on m + n. All coefficients are at
    most 1 and fade with D; where all have faded the scores are 0 and a softmax is uniform, it does not
    vanish. An encoder learns from it how far tokens are apart, not on which side, and picks no exact
    distance; where that matters, other layers or ``rope`` must tell.

    A pair is ``(x_j, x_{j+d/2})``. Factors are at least fp32 and kept in ``layout.memo``.

    Args:
        head_dim: width d of a head, even.
        causal: keys after the query need no score; blocks of them are left 0.
        base: ratio of the fastest to (nearly) the slowest theta.
        damping: what fades even the slowest channel, a position; 0.01 halves it every 69 positions.
        margin: by how much damping exceeds what the boost needs, relative to theta.
        damping_form: "pair": ``theta'_j = (1 + margin) theta_j + damping``; "global", the paper's:
            ``theta' = (1 + margin) max_j theta_j + damping`` for all pairs, with which nearly every channel
            is gone after a few positions.

    Shapes:
        q, k ``(B, H, T, d)`` -> scores ``(B, H, T, T)``. Any positions: padding, packing, gaps, any order.

    Raises:
        ValueError: ``head_dim`` is odd, or an option is out of its range.

    Paper: Dai et al. 2025, "HoPE: Hyperbolic Rotary Positional Encoding", arXiv:2509.05218.
    Differs from the paper: damping by pair unless ``damping_form: global``; the distance is symmetric in
    encoders, which the paper, made for m >= n, leaves open.
    """

    kind = "scores"
    symmetric = True

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
            raise ValueError(f"HoPE: heads must have an even width to form pairs, given head_dim={head_dim}")
        if not 1 < base < inf:
            raise ValueError(f"HoPE: base must be above 1 and finite, given {base}")
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
        """How fast each of the d channels fades: those of u, then those of w."""
        thetas = [self.base ** (-2 * j / self.head_dim) for j in range(self.head_dim // 2)]
        if self.damping_form == "pair":
            slow = [self.margin * theta + self.damping for theta in thetas]
        else:
            slow = [(1 + self.margin) * max(thetas) + self.damping - theta for theta in thetas]
        return (*slow, *(rate + 2 * theta for rate, theta in zip(slow, thetas, strict=True)))

    def scores(self, q: Tensor, k: Tensor, layout: Layout) -> Tensor:
        """Return the scores before scaling and masks; across documents they are of no use, but finite."""
        wide = torch.promote_types(q.dtype, torch.float32)
        order = layout.remember("hope order", lambda: _order(layout))
        factors = layout.remember(
            ("hope", self.rates, wide), lambda: fades(_clock(layout, order), self._tensor(wide, q.device))
        )
        q, k = _eigenvectors(q), _eigenvectors(k)
        if order is None:
            return faded_products(q, k, factors, lower=self.causal)
        q, k = (torch.take_along_dim(x, order[:, None, :, None], 2) for x in (q, k))
        back = order.argsort(1)[:, None]
        rows = torch.take_along_dim(faded_products(q, k, factors), back[..., None], 2)
        return torch.take_along_dim(rows, back[..., None, :], 3)

    def _tensor(self, dtype: torch.dtype, device: torch.device) -> Tensor:
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
    """Return the order ``(B, T)`` in which positions do not decrease; None where they stand in it.

    They do, padding apart, unless the caller numbered them otherwise: one synchronisation a forward. A graph
    cannot look at values and sorts always.
    """
    if layout.indexed:
        return None
    clock = clocks(layout.documents, layout.positions)
    rising = torch.where(layout.mask, clock == clock.cummax(1).values, True)
    if not torch.compiler.is_compiling() and bool(rising.all()):
        return None
    return clock.argsort(dim=1, stable=True)
