"""The norm ``scale_norm``."""

import torch
from torch import Tensor, nn

from ultra_core.contracts import ParamInfo


class ScaleNorm(nn.Module):
    r"""Scale every token to one learned length: $y = g\, x / \max(\lVert x \rVert_2, \epsilon)$.

    Shapes: x (..., hidden_size); returns the same.
    Reference: Nguyen and Salazar 2019, https://arxiv.org/abs/1910.05895.
    Differs from the paper: nothing.
    """

    def __init__(self, hidden_size: int, *, place: str = "mixer", eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.length = nn.Parameter(torch.tensor([hidden_size**0.5]))

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Say that the length belongs to the norms and is never decayed."""
        return {"length": ParamInfo(role="norms", kind="vector", decay=False)}

    def forward(self, x: Tensor) -> Tensor:
        """Scale (..., hidden_size); statistics in at least fp32."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).clamp(min=self.eps)
        return (self.length * wide / length).to(x.dtype)
