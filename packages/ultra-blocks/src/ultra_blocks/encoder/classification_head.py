"""The head that puts texts into classes, or gives them scores."""

from __future__ import annotations

from torch import Tensor, nn

from ultra_core.contracts import ParamInfo


class ClassificationHead(nn.Module):
    """``logits = U dropout(tanh(W dropout(h) + b)) + c`` of the state h of the first token, as in RoBERTa.

    Args:
        hidden_size: width D.
        num_labels: number of classes or scores K.
        dropout: dropout probability.

    Shapes:
        hidden ``(B, D)`` -> logits ``(B, K)``.
    """

    def __init__(self, hidden_size: int, num_labels: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.out_proj = nn.Linear(hidden_size, num_labels)
        self.reset_parameters()

    def reset_parameters(self, *, std: float = 0.02) -> None:
        """Initialise the matrices from N(0, std^2) and the biases with 0."""
        for layer in (self.dense, self.out_proj):
            nn.init.normal_(layer.weight, 0.0, std)
            nn.init.zeros_(layer.bias)

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe the last layer as a head and the dense matrix as a matrix; biases have no weight decay."""
        return {
            "dense.weight": ParamInfo(),
            "dense.bias": ParamInfo(kind="vector", decay=False),
            "out_proj.weight": ParamInfo(kind="head"),
            "out_proj.bias": ParamInfo(kind="vector", decay=False),
        }

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the logits of every text."""
        states = self.dropout(self.dense(self.dropout(hidden)).tanh())
        logits: Tensor = self.out_proj(states)
        return logits
