"""The head that gives every token scores."""

from __future__ import annotations

from torch import Tensor, nn

from ultra_core.contracts import ParamInfo


class LabelHead(nn.Module):
    """``logits = U dropout(h) + c`` of the state h of every token, as in BERT.

    Args:
        hidden_size: width D.
        num_labels: number of classes or scores K.
        dropout: dropout probability.

    Shapes:
        hidden ``(..., D)`` -> logits ``(..., K)``.
    """

    def __init__(self, hidden_size: int, num_labels: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.out_proj = nn.Linear(hidden_size, num_labels)
        self.reset_parameters()

    def reset_parameters(self, *, std: float = 0.02) -> None:
        """Initialise the matrix from N(0, std^2) and the biases with 0."""
        nn.init.normal_(self.out_proj.weight, 0.0, std)
        nn.init.zeros_(self.out_proj.bias)

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe the matrix as a head; biases have no weight decay."""
        return {
            "out_proj.weight": ParamInfo(kind="head"),
            "out_proj.bias": ParamInfo(kind="vector", decay=False),
        }

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the logits of every token."""
        logits: Tensor = self.out_proj(self.dropout(hidden))
        return logits
