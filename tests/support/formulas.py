"""Formulas of the papers that several tests evaluate by hand."""

from torch import Tensor, nn


def rms_norm(x: Tensor, norm: nn.Module | None) -> Tensor:
    """Return ``x / rms(x) * weight``; x itself if there is no norm."""
    return x if norm is None else x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight
