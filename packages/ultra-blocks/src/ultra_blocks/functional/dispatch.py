"""Linear recurrences, computed by kernels of flash-linear-attention where these apply, else in chunks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ultra_blocks.functional import delta_rule as delta
from ultra_blocks.functional import fla_forms
from ultra_blocks.functional import gated_linear as gated
from ultra_blocks.functional import ssd as state_space
from ultra_blocks.functional.fla_kernels import usable


def gated_linear(
    q: Tensor,
    keys: Sequence[Tensor],
    v: Tensor,
    log_decays: Sequence[Tensor],
    *,
    chunk_size: int = 128,
    documents: Tensor | None = None,
) -> Tensor:
    """Return gated linear attention, as :func:`ultra_blocks.functional.gated_linear.gated_linear` does."""
    if usable(v, q.shape[-1]):
        return fla_forms.gated_linear(q, keys, v, log_decays, documents)
    return gated.gated_linear(q, keys, v, log_decays, chunk_size=chunk_size, documents=documents)


def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    forward: delta.DeltaGates,
    backward: delta.DeltaGates | None = None,
    *,
    chunk_size: int = 32,
    documents: Tensor | None = None,
) -> Tensor:
    """Return the output of the delta rule, as :func:`ultra_blocks.functional.delta_rule.delta_rule` does."""
    if usable(v, k.shape[-1]):
        return fla_forms.delta_rule(q, k, v, forward, backward, documents)
    return delta.delta_rule(q, k, v, forward, backward, chunk_size=chunk_size, documents=documents)


def ssd(
    x: Tensor,
    forward: state_space.Scan,
    backward: state_space.Scan | None = None,
    *,
    shifted: bool = False,
    chunk_size: int = 64,
    documents: Tensor | None = None,
) -> Tensor:
    """Return the output of a state space scan, as :func:`ultra_blocks.functional.ssd.ssd` does."""
    if usable(x, forward.read.shape[-1]):
        return fla_forms.ssd(x, forward, backward, shifted=shifted, documents=documents)
    return state_space.ssd(x, forward, backward, shifted=shifted, chunk_size=chunk_size, documents=documents)
