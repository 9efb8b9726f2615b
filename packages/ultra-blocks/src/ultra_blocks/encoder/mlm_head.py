"""The masked language modelling head, computed at masked positions only, and its loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultra_blocks.activations import Activation
from ultra_blocks.config import UltraConfig
from ultra_blocks.encoder.build import build_norm
from ultra_blocks.encoder.embeddings import Embeddings
from ultra_blocks.ffn.base import ACTIVATIONS
from ultra_blocks.linear import Transposed
from ultra_core.contracts import ParamInfo

IGNORED = -100
"""The label of a position that is not predicted."""


class MLMHead(nn.Module):
    """``logits = norm(act(W h + b)) P E^T + c``: BERT's head, whose decoder may share the embedding table.

    ``E (V, R)`` is the decoder's weight. With factorized embeddings ``P (D, R)`` comes first, so that a
    position costs ``R (D + V)`` multiply-adds; otherwise R = D and there is no ``P``.

    Args:
        hidden_size: width D.
        vocab_size: vocabulary size V.
        norm: norm before the decoder.
        factor: width R of factorized embeddings; None: R = D.
        activation: name of the activation.
        bias: whether there is the bias b.
        decoder_bias: whether there is the bias c.

    Shapes:
        hidden ``(..., D)`` -> logits ``(..., V)``.

    Paper: Devlin et al. 2018, "BERT", arXiv:1810.04805.
    Differs from the paper: ``P`` is added, and the norm is that of the model.
    """

    def __init__(
        self,
        hidden_size: int,
        vocab_size: int,
        *,
        norm: nn.Module,
        factor: int | None = None,
        activation: Activation = "gelu",
        bias: bool = True,
        decoder_bias: bool = True,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.dense = nn.Linear(hidden_size, hidden_size, bias=bias)
        self.norm = norm
        self.factor = None if factor is None else Transposed(factor, hidden_size)
        self.decoder = nn.Linear(hidden_size if factor is None else factor, vocab_size, bias=decoder_bias)
        self.reset_parameters()

    @classmethod
    def from_config(cls, config: UltraConfig) -> MLMHead:
        """Build the head of a config; call :meth:`tie` if ``tie_embeddings`` is set."""
        return cls(
            config.hidden_size,
            config.vocab_size,
            norm=build_norm(config, "head"),
            factor=config.factorized_embedding_dim if config.use_factorized_embedding else None,
            activation=config.head_activation,
            bias=config.head_bias,
            decoder_bias=config.decoder_bias,
        )

    def tie(self, embeddings: Embeddings) -> None:
        """Share the weights of the embeddings with the decoder."""
        self.decoder.weight = embeddings.tokens.weight
        if self.factor is not None and embeddings.projection is not None:
            self.factor.weight = embeddings.projection.weight

    def reset_parameters(self, *, std: float = 0.02) -> None:
        """Initialise the matrices from N(0, std^2), ``P`` from N(0, 1/R) and biases with 0."""
        for layer in (self.dense, self.decoder):
            nn.init.normal_(layer.weight, 0.0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        if self.factor is not None:
            nn.init.normal_(self.factor.weight, 0.0, self.factor.in_features**-0.5)
        if callable(reset := getattr(self.norm, "reset_parameters", None)):
            reset()

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe the decoder as a head and the dense matrix as a matrix; biases have no weight decay."""
        info = {"dense.weight": ParamInfo(), "decoder.weight": ParamInfo(kind="head")}
        for name, layer in (("dense", self.dense), ("decoder", self.decoder)):
            if layer.bias is not None:
                info[f"{name}.bias"] = ParamInfo(kind="vector", decay=False)
        if self.factor is not None:
            info["factor.weight"] = ParamInfo(role="embeddings", kind="matrix")
        return info

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the logits of every position."""
        h = self.norm(ACTIVATIONS[self.activation](self.dense(hidden)))
        if self.factor is not None:
            h = self.factor(h)
        return self.decoder(h)


def mlm_loss(logits: Tensor, labels: Tensor, *, num_items: Tensor | int | None = None) -> Tensor:
    """Return the cross entropy of masked tokens, in at least fp32.

    Args:
        logits: ``(M, V)``.
        labels: ``(M,)``; labels equal to :data:`IGNORED` do not count.
        num_items: divisor of the sum: the number of masked tokens in all micro-batches of an update. None:
            the number of labels that count. With no such label the loss is 0 and has a gradient of zeros.
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    total = F.cross_entropy(logits.to(wide), labels, ignore_index=IGNORED, reduction="sum")
    return total / _items(labels, num_items).to(total.dtype)


def share_of_update(labels: Tensor, num_items: Tensor | int | None, dtype: torch.dtype) -> Tensor:
    """Return the fraction of an update's labels in this micro-batch, which weights its auxiliary losses."""
    items = _items(labels, num_items).to(dtype)
    return torch.ones_like(items) if num_items is None else (labels != IGNORED).sum() / items


def _items(labels: Tensor, num_items: Tensor | int | None) -> Tensor:
    """Return the divisor of a sum over labels, at least 1."""
    if num_items is None:
        num_items = (labels != IGNORED).sum()
    return torch.as_tensor(num_items, device=labels.device).clamp(min=1)


def masked_positions(hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return hidden ``(M, D)`` and labels ``(M,)`` of the M positions whose labels ``(B, T)`` are set."""
    index = (labels.flatten() != IGNORED).nonzero().squeeze(1)
    return hidden.flatten(0, 1).index_select(0, index), labels.flatten().index_select(0, index)
