"""Token embeddings: a table, optionally factorized, with a convolution over time and learned positions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultra_blocks.layout import Layout, check_layout
from ultra_blocks.positions import PositionCode
from ultra_core.contracts import ParamInfo


class EmbeddingConv(nn.Module):
    """Depthwise convolution over time: ``y[t] = sum_j w[j] * x[t - left + j]``, per channel, without bias.

    The kernel covers ``left = (K - 1) // 2`` tokens before and ``K - 1 - left`` tokens after each token, so
    that an even kernel is off-centre by half a token (15 and 16 for K = 32); causal: ``K - 1`` and 0.
    Neighbours are real tokens of the same document: padding anywhere in the row reads as zeros, and packed
    documents do not mix.

    Args:
        channels: width R of the embeddings.
        kernel: kernel size K in tokens.
        causal: cover earlier tokens only.

    Shapes:
        x, y: ``(B, T, R)``.

    Paper: the embedding block of Bravin et al. 2025, "EmbBERT-Q", arXiv:2502.10001.
    Differs from the paper: the convolution is depthwise and starts as the identity plus noise.
    """

    def __init__(self, channels: int, kernel: int, *, causal: bool = False) -> None:
        super().__init__()
        self.left = kernel - 1 if causal else (kernel - 1) // 2
        self.right = kernel - 1 - self.left
        self.weight = nn.Parameter(torch.empty(channels, 1, kernel))
        self.reset_parameters()

    def reset_parameters(self, *, std: float = 0.02) -> None:
        """Initialise the weights from N(0, std^2), and the tap at the token itself from N(1, std^2)."""
        nn.init.normal_(self.weight, 0.0, std)
        with torch.no_grad():
            self.weight[:, :, self.left] += 1

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe the kernels."""
        return {"weight": ParamInfo(role="embeddings", kind="conv")}

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Convolve every document of the batch."""
        check_layout(x, layout)
        if layout is None or layout.dense:
            return self._convolve(x)
        if (
            layout.indexed and not layout.packed
        ):  # one document per row, at its start: the zeros after it act as its border
            return self._convolve(layout.zero_padding(x))
        # concatenate the documents with gaps as wide as the reach of the kernel, so that none sees another
        real, borders, _ = layout.segments
        rows = torch.arange(len(real), device=x.device)
        document = torch.bucketize(rows, borders[1:].to(rows.dtype), right=True)
        places = rows + document * max(self.left, self.right)
        spread = x.new_zeros(int(places[-1]) + 1, x.shape[-1]).index_copy(0, places, x.flatten(0, 1)[real])
        mixed = self._convolve(spread[None])[0, places]
        return torch.zeros_like(x).flatten(0, 1).to(mixed.dtype).index_copy(0, real, mixed).view(x.shape)

    def _convolve(self, x: Tensor) -> Tensor:
        if not x.shape[1]:
            return x  # torch rejects rows shorter than the kernel
        padded = F.pad(x.transpose(1, 2), (self.left, self.right))
        return F.conv1d(padded, self.weight, groups=len(self.weight)).transpose(1, 2)


class Embeddings(nn.Module):
    """``x = dropout(norm(conv(E[ids]) P + S[types] + positions))``; every part except ``E`` is optional.

    Args:
        vocab_size: rows V of the table.
        hidden_size: width D of the residual stream.
        factor: width R of the table if it is factorized into ``(V, R)`` and ``P (R, D)``; None: R = D.
        conv_kernel: kernel size of the convolution over time on R channels; None: no convolution.
        causal: the convolution covers earlier tokens only.
        types: number of token types, whose embeddings ``S`` are added; 0: none.
        positions: a position code of kind "embed", whose output is added; None: no position code.
        norm: norm of the sum; None: no norm.
        dropout: dropout probability of the result in training.

    Shapes:
        input_ids ``(B, T)`` -> ``(B, T, D)``; values at padding are finite but meaningless.

    Paper: factorization: Lan et al. 2019, "ALBERT", arXiv:1909.11942, section 3.1.
    Differs from the paper: ``P`` starts with variance 1/R, which preserves the scale of a plain table.
    """

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        *,
        factor: int | None = None,
        conv_kernel: int | None = None,
        causal: bool = False,
        types: int = 0,
        positions: PositionCode | None = None,
        norm: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width = hidden_size if factor is None else factor
        self.tokens = nn.Embedding(vocab_size, width)
        self.conv = None if conv_kernel is None else EmbeddingConv(width, conv_kernel, causal=causal)
        self.projection = None if factor is None else nn.Linear(factor, hidden_size, bias=False)
        self.types = nn.Embedding(types, hidden_size) if types else None
        self.positions = positions
        self.norm = norm
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.reset_parameters()

    def reset_parameters(self, *, std: float = 0.02) -> None:
        """Initialise the tables from N(0, std^2), the projection from N(0, 1/R), and the convolution."""
        nn.init.normal_(self.tokens.weight, 0.0, std)
        if self.types is not None:
            nn.init.normal_(self.types.weight, 0.0, std)
        if self.conv is not None:
            self.conv.reset_parameters(std=std)
        if self.projection is not None:
            nn.init.normal_(self.projection.weight, 0.0, 1 / math.sqrt(self.projection.in_features))

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe the tables and the projection, all with the role ``embeddings``."""
        info = {"tokens.weight": ParamInfo(role="embeddings", kind="embedding")}
        if self.types is not None:
            info["types.weight"] = ParamInfo(role="embeddings", kind="embedding")
        if self.projection is not None:
            info["projection.weight"] = ParamInfo(role="embeddings", kind="matrix")
        return info

    def look_up(self, input_ids: Tensor, layout: Layout) -> Tensor:
        """Return rows of the table ``(B, T, R)``; ids at padding may have any value, even out of range."""
        ids = input_ids if layout.dense else torch.where(layout.mask, input_ids, 0)
        return self.tokens(ids)

    def look_up_types(self, token_type_ids: Tensor | None, layout: Layout) -> Tensor:
        """Return the embeddings of token types ``(B or 1, T or 1, D)``; None means that all are 0.

        Raises:
            ValueError: types are given, and there are no embeddings of them.
        """
        if self.types is None:
            raise ValueError("Embeddings: given token_type_ids, but there are no embeddings of token types")
        if token_type_ids is None:
            return self.types(layout.documents.new_zeros(1, 1))
        return self.types(token_type_ids if layout.dense else torch.where(layout.mask, token_type_ids, 0))

    def forward(
        self,
        input_ids: Tensor | None,
        layout: Layout,
        inputs_embeds: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:
        """Embed a batch.

        Args:
            input_ids: ``(B, T)``.
            layout: real tokens and documents of the batch.
            inputs_embeds: ``(B, T, R)``, which replaces the rows of the table.
            token_type_ids: ``(B, T)``; None: all are 0.

        Raises:
            ValueError: neither ids nor embeddings are given, or types without embeddings of them.
        """
        if inputs_embeds is not None:
            x = layout.zero_padding(inputs_embeds)
        elif input_ids is not None:
            x = self.look_up(input_ids, layout)
        else:
            raise ValueError("Embeddings: input_ids or inputs_embeds is required; both are None")
        if self.conv is not None:
            x = self.conv(x, layout)
        if self.projection is not None:
            x = self.projection(x)
        if self.types is not None or token_type_ids is not None:
            x = x + self.look_up_types(token_type_ids, layout).to(x.dtype)
        if self.positions is not None:
            x = x + self.positions.embed(layout).to(x.dtype)
        if self.norm is not None:
            x = self.norm(x)
        return self.dropout(x)
