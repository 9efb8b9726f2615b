"""Multi-head latent attention with decoupled rotary positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ultra_blocks.functional.attention import explicit_attention
from ultra_blocks.functional.max_scores import max_scores
from ultra_blocks.functional.softcap_attention import softcap_attention
from ultra_blocks.layout import Layout
from ultra_blocks.linear import LinearFactory, fused_linear
from ultra_blocks.mixers.base import Mixer, Traits
from ultra_blocks.mixers.heads import number_of_heads
from ultra_blocks.mixers.max_logits import MaxLogits, rows_of
from ultra_blocks.mixers.softmax import check_options, columns
from ultra_blocks.norms.base import like
from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_blocks.positions import PositionSpec
from ultra_core.contracts import FromModel, LogitRows, Range
from ultra_core.plugins.aliases import Alias
from ultra_core.plugins.signatures import require


class LatentCache(NamedTuple):
    """Decoding state.

    Attributes:
        latents: ``(B, t, r)``, normalised latents.
        rotated: ``(B, t, d_r)``, rotated keys.
        length: number of tokens.
        scales: ``(B, H, t)``, with QK-norm the factors of the keys of each head.
    """

    latents: Tensor
    rotated: Tensor
    length: int
    scales: Tensor | None = None


class LatentAttention(MaxLogits, Mixer):
    """Multi-head attention whose keys and values are projected from one narrow latent per token (MLA).

    For head h, over the keys of the query's own document, where R rotates by the position::

        c = RMS(x W_DKV),   k_R = R(x W_KR)                                  shared by all heads
        q_N = u W_UQ,   q_R = R(u W_QR),   u = x, or RMS(x W_DQ) with query_latent_dim
        k_N = c W_UK,   v = c W_UV
        S = (q_N k_N^T + q_R k_R^T) / sqrt(d_n + d_r),   A = softmax(S),   Y = [A v over heads] W_O

    Only q_R and k_R depend on positions, so that W_UK can be absorbed into the query: decoding computes the
    scores ``(q_N W_UK^T) c^T`` and the output ``(A c) W_UV``, and caches only c and k_R of each token.

    QK-norm replaces each head's query ``[q_N, q_R]`` and key ``[k_N, k_R]``, before the rotation, by
    ``g * [..] / rms([..])`` with gains g of width ``d_n + d_r``. For a key, the gain commutes with W_UK and
    R, and decoding caches the factor ``1 / rms`` of each head and token, so that W_UK can still be absorbed.

    Args:
        hidden_size: width D of the residual stream.
        num_heads: number of heads H; None: the divisor of D with heads closest to 64 wide.
        causal: tokens attend only to themselves and earlier tokens.
        positions: code that rotates q_R and k_R: "rope", another one of kind "rotate", or "nope" for none; an
            encoder without one needs other layers that encode order.
        latent_dim: width r of c; None: D / 4.
        query_latent_dim: width of the latent of queries; None: queries are projected from x.
        head_dim: width d_n of the part of queries and keys without position; None: D / H.
        rope_dim: width d_r of the rotated part; None: half of ``D / H``, rounded up to an even number.
        value_dim: width d_v of the values of a head; None: D / H.
        qk_norm: RMS norm with gain of each head's query ``[q_N, q_R]`` and key ``[k_N, k_R]``, before the
            position code; the latents are normalised in any case.
        window: local attention to ``|p_i - p_j| <= window // 2``; causal: to ``0 <= p_i - p_j <= window``.
        softcap: scores become ``softcap * tanh(S / softcap)``, before masks.
        dropout: dropout probability of the attention weights A in training.
        bias: whether the projections from and to the residual stream have biases.
        linear: factory of the projections. Unless it is ``nn.Linear``, decoding cannot absorb W_UK and
            recomputes the keys of all cached tokens; the cache is the same.

    Shapes:
        x, y ``(B, T, D)``. Parameters: ``q_proj.weight`` ``(H (d_n + d_r), D)``, ``kv_down_proj.weight``
        ``(r + d_r, D)``, ``kv_up_proj.weight`` ``(H (d_n + d_v), r)``, ``out_proj.weight`` ``(D, H d_v)``;
        with a query latent, ``q_down_proj`` comes first. The order in stacked projections is q_N of all
        heads, then q_R; c, then k_R; k_N of all heads, then v. Decoding state: r + d_r elements per token,
        and H with QK-norm.

    Raises:
        ValueError: ``num_heads`` does not divide D although a width depends on it, an option is out of range,
            or the position code is not of kind "rotate".

    Paper: DeepSeek-AI 2024, "DeepSeek-V2", arXiv:2405.04434; QK-norm: Henry et al. 2020, arXiv:2010.04245;
    softcap: Gemma Team 2024, arXiv:2408.00118.
    Differs from the paper: bidirectional unless ``causal``; no query latent by default; pairs of rotary
    channels are the two halves unless ``{rope: {interleaved: true}}``. QK-norm, off by default, is not in the
    paper, which normalises only the latents; it normalises both parts together, so that it bounds S.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"latent": Alias(), "mla": Alias(), "mla_attn": Alias()}
    reference: ClassVar = "ultra_blocks.reference.latent_attn:latent_attn"
    role = "attention"
    traits: ClassVar[Traits] = Traits(
        recurrent_step=True,
        positions=frozenset({"rotate"}),
        symmetric=True,
        averages=True,
        scaled_scores=True,
    )

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int | None, FromModel("num_heads"), Range(min=1)] = None,
        causal: bool = False,
        positions: Annotated[PositionSpec, FromModel("positions")] = "rope",
        latent_dim: Annotated[int, Range(min=1)] | None = None,
        query_latent_dim: Annotated[int, Range(min=1)] | None = None,
        head_dim: Annotated[int, Range(min=1)] | None = None,
        rope_dim: Annotated[int, Range(min=1)] | None = None,
        value_dim: Annotated[int, Range(min=1)] | None = None,
        qk_norm: bool = False,
        window: Annotated[int, Range(min=1)] | None = None,
        softcap: Annotated[float, Range(gt=0)] | None = None,
        dropout: Annotated[float, FromModel("dropout"), Range(min=0, lt=1)] = 0.0,
        bias: bool = False,
        linear: Annotated[LinearFactory, FromModel("linear")] = nn.Linear,
    ) -> None:
        super().__init__(hidden_size, causal=causal)
        name = type(self).__name__
        check_options(name, window=window, softcap=softcap, dropout=dropout)
        num_heads = number_of_heads(num_heads, hidden_size)
        if num_heads < 1 or (hidden_size % num_heads and None in (head_dim, rope_dim, value_dim)):
            raise ValueError(
                f"{name}: num_heads={num_heads} does not divide hidden_size={hidden_size}; choose another, "
                "or set head_dim, rope_dim and value_dim"
            )
        width = hidden_size // num_heads
        self.latent_dim = max(1, hidden_size // 4) if latent_dim is None else latent_dim
        self.query_latent_dim = query_latent_dim
        self.head_dim = width if head_dim is None else head_dim
        self.rope_dim = -(-width // 4) * 2 if rope_dim is None else rope_dim
        self.value_dim = width if value_dim is None else value_dim
        for option in ("latent_dim", "query_latent_dim", "head_dim", "rope_dim", "value_dim"):
            if (given := getattr(self, option)) is not None and given < 1:
                raise ValueError(f"{name}: {option} must be 1 or more, or null; given {given}")
        widths = {"latent_dim": latent_dim, "query_latent_dim": query_latent_dim, "value_dim": value_dim}
        heads = {"num_heads": num_heads, "rope_dim": rope_dim}
        require(LatentAttention, **heads, **widths, window=window)
        self.num_heads = num_heads
        self.window, self.softcap, self.dropout = window, softcap, dropout
        self.query_heights = (num_heads * self.head_dim, num_heads * self.rope_dim)
        self.down_heights = (self.latent_dim, self.rope_dim)
        self.up_heights = (num_heads * self.head_dim, num_heads * self.value_dim)
        self.q_down_proj: nn.Module | None = None
        self.q_norm: RMSNorm | None = None
        if query_latent_dim is not None:
            self.q_down_proj = linear(hidden_size, query_latent_dim, bias=bias)
            self.q_norm = RMSNorm(query_latent_dim)
        self.q_proj = fused_linear(
            linear, query_latent_dim or hidden_size, self.query_heights, bias=bias and not query_latent_dim
        )
        self.kv_down_proj = fused_linear(linear, hidden_size, self.down_heights, bias=bias)
        self.kv_norm = RMSNorm(self.latent_dim)
        self.kv_up_proj = fused_linear(linear, self.latent_dim, self.up_heights)
        self.out_proj = linear(num_heads * self.value_dim, hidden_size, bias=bias)
        whole = self.head_dim + self.rope_dim
        self.query_norm = RMSNorm(whole) if qk_norm else None
        self.key_norm = RMSNorm(whole) if qk_norm else None
        self.positions = self.build_positions(positions, head_dim=self.rope_dim, num_heads=num_heads)
        self.reset_parameters()

    def row_blocks(self) -> Mapping[str, tuple[int, ...]]:
        """Return the heights of the matrices stacked in projections."""
        return {
            "q_proj.weight": self.query_heights,
            "kv_down_proj.weight": self.down_heights,
            "kv_up_proj.weight": self.up_heights,
        }

    def logit_rows(self) -> tuple[LogitRows, ...]:
        """Return the rows of q_N, q_R and k_N; none if they are normalised or quantised."""
        if self.key_norm is not None:
            return ()
        heads, start = self.num_heads, self.query_heights[0]
        return (
            *rows_of("q_proj", self.q_proj, "query", heads, self.head_dim),
            *rows_of("q_proj", self.q_proj, "lone_query", heads, self.rope_dim, start),
            *rows_of("kv_up_proj", self.kv_up_proj, "key", heads, self.head_dim),
        )

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Return the attention branch ``(B, T, D)`` of ``x`` ``(B, T, D)``; zeros at padding."""
        x = self.enter(x, layout)
        if layout is None:
            layout = Layout.full(x.shape[0], x.shape[1], x.device)
        q_own, q_rotated, latents, rotated, squares = self._project(x, layout)
        k_own, v = self._decompress(latents)
        q = torch.cat((q_own, q_rotated), -1)
        k = torch.cat((k_own, rotated[:, None].expand(-1, self.num_heads, -1, -1)), -1)
        if squares is not None:
            k = k * self._scales(k_own, squares)[..., None]
        self._record(lambda: max_scores(q, k, layout, causal=self.causal, window=self.window))
        dropout = self.dropout if self.training else 0.0
        y = softcap_attention(
            q,
            k,
            v,
            layout,
            causal=self.causal,
            window=self.window,
            softcap=self.softcap,
            dropout=dropout,
        )
        return self.leave(self.out_proj(y.transpose(1, 2).flatten(2)), layout)

    def _project(self, x: Tensor, layout: Layout) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Return q_N and q_R ``(B, H, T, .)``, normalised latents ``(B, T, r)`` and k_R ``(B, T, d_r)``.

        With QK-norm, q_N includes the gain of k_N, so that W_UK can be absorbed, k_R includes its gain, and
        the last result is the sum of squares of k_R before the gain, ``(B, T)``.
        """
        source = x
        if self.q_down_proj is not None and self.q_norm is not None:
            source = self.q_norm(self.q_down_proj(x))
        parts = self.q_proj(source).split(self.query_heights, -1)
        q_own, q_rotated = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        latents, rotated = self.kv_down_proj(x).split(self.down_heights, -1)
        squares = None
        if self.query_norm is not None and self.key_norm is not None:
            squares = _squares(rotated)
            widths = (self.head_dim, self.rope_dim)
            q_own, q_rotated = self.query_norm(torch.cat((q_own, q_rotated), -1)).split(widths, -1)
            own_gain, rotated_gain = like(self.key_norm.weight, rotated).split(widths)
            q_own, rotated = q_own * own_gain, rotated * rotated_gain
        if self.positions.kind == "rotate":
            q_rotated, keys = self.positions.rotate(q_rotated, rotated[:, None], layout)
            rotated = keys[:, 0]
        return q_own, q_rotated.to(q_own.dtype), self.kv_norm(latents), rotated.to(q_own.dtype), squares

    def _scales(self, k_own: Tensor, squares: Tensor) -> Tensor:
        """Return ``1 / rms`` ``(B, H, T)`` of keys, given k_N and the sums of squares of k_R."""
        assert self.key_norm is not None
        mean = (_squares(k_own) + squares[:, None]) / self.key_norm.hidden_size
        return (mean + self.key_norm.eps).rsqrt().to(k_own.dtype)

    def _decompress(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return k_N ``(B, H, T, d_n)`` and v ``(B, H, T, d_v)`` of latents ``(B, T, r)``."""
        parts = self.kv_up_proj(latents).split(self.up_heights, -1)
        k_own, v = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        return k_own, v

    def init_state(self, batch: int) -> LatentCache:
        """Return the empty cache of ``batch`` rows.

        Raises:
            ValueError: the block is not causal.
        """
        self.require_causal()
        some = next(self.parameters())
        scales = None if self.key_norm is None else some.new_empty(batch, self.num_heads, 0)
        return LatentCache(
            some.new_empty(batch, 0, self.latent_dim), some.new_empty(batch, 0, self.rope_dim), 0, scales
        )

    def step(self, x_t: Tensor, state: LatentCache) -> tuple[Tensor, LatentCache]:
        """Return the output ``(B, D)`` at the next token of every row, and the updated cache.

        The cache takes r + d_r elements per token, and H with QK-norm. Dropout is not applied.
        """
        self.enter_step(x_t, state)
        q_own, q_rotated, latent, rotated, squares = self._project(
            x_t[:, None], columns(x_t, state.length, 1)
        )
        latents, rotated = torch.cat([state.latents, latent], 1), torch.cat([state.rotated, rotated], 1)
        kept = slice(None) if self.window is None else slice(-self.window - 1, None)
        latents, rotated = latents[:, kept], rotated[:, kept]
        scale: float | Tensor = (self.head_dim + self.rope_dim) ** -0.5
        scales = None
        if squares is not None and state.scales is not None:
            scales = torch.cat([state.scales, self._scales(self._decompress(latent)[0], squares)], 2)
            scales = scales[..., kept]
            scale = scale * scales[:, :, None]
        scores = q_rotated @ rotated[:, None].mT
        if type(self.kv_up_proj) is nn.Linear:
            w_uk, w_uv = self.kv_up_proj.weight.split(self.up_heights)
            absorbed = q_own @ w_uk.unflatten(0, (self.num_heads, -1))
            scores = (scores + absorbed @ latents[:, None].mT) * scale
            read = explicit_attention(scores, latents[:, None], softcap=self.softcap)
            y = read @ w_uv.unflatten(0, (self.num_heads, -1)).mT
        else:
            k_own, v = self._decompress(latents)
            scores = (scores + q_own @ k_own.mT) * scale
            y = explicit_attention(scores, v, softcap=self.softcap)
        y = self.out_proj(y.transpose(1, 2).flatten(1))
        return y, LatentCache(latents, rotated, state.length + 1, scales)


def _squares(x: Tensor) -> Tensor:
    """Return the sums of squares over the last dimension, in at least fp32."""
    return x.to(torch.promote_types(x.dtype, torch.float32)).square().sum(-1)
