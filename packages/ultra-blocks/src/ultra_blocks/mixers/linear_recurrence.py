"""LinearRecurrence, the base of linear-recurrent blocks: projections, convolution, directions, output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from ultra_blocks.conv import DepthwiseConv, convolve, convolve_step
from ultra_blocks.linear import LinearFactory, fused_linear
from ultra_blocks.mixers.base import Traits
from ultra_blocks.mixers.contiguous import ContiguousMixer
from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_core.contracts import ParamInfo
from ultra_core.plugins.signatures import require

OutputGate = Literal["swish", "sigmoid", "none"]

Gates = tuple[Tensor, ...]
"""Gates of one direction, ``(B, T, H, ...)`` each: decays, write strengths, keys of its own."""


class RecurrentState(NamedTuple):
    """Decoding state of a causal block, at least fp32.

    Attributes:
        memory: ``(B, H, d_k, d_v)``, recurrent state.
        window: ``(B, K - 1, E)``, last inputs of the convolution.
    """

    memory: Tensor
    window: Tensor


class LinearRecurrence(ContiguousMixer):
    """Base of blocks whose heads have a matrix-valued state ``S_t`` and the output ``q_t S_t``.

    ::

        q, k, v, g = W_in x;   q, k, v = silu(conv(q, k, v))      short, depthwise, inside documents
        y = F(q, k, v)                                            causal
        y = F_1(q, k, v) + rev F_2(rev q, rev k, rev v) - own     bidirectional
        out = W_out (act(g) * RMSNorm(d_k^{-1/2} y))              norm over each head, shared gain

    F is the recurrence of the subclass. The directions share everything except their gates. ``own`` is the
    term of the token itself, which counts once, with the mean of both directions.

    A subclass implements ``gates``, ``scan`` and ``recur``, and optionally ``features``. It builds the
    modules of its gates, names them in ``gate_modules`` and calls ``reset_parameters`` at the end of its
    constructor.

    Args:
        hidden_size: width D of the residual stream.
        num_heads: number of heads H.
        key_dim: width d_k of the queries and keys of a head.
        value_dim: width d_v of the values of a head.
        causal: process the past only; ``init_state`` and ``step`` then decode token by token.
        conv_size: kernel size of the convolution; None: 4 if causal, else 5, centred and therefore odd; 0: no
            convolution.
        output_gate: activation of the output gate; "none": no gate.
        eps: added to the mean square of the norm.
        linear: factory of the input and output projections.

    Raises:
        ValueError: the kernel size of a centred convolution is even.
    """

    traits: ClassVar[Traits] = Traits(
        recurrent_step=True, linear_time=True, speed_only=frozenset({"chunk_size"})
    )
    projects_keys: ClassVar[bool] = True
    """Whether keys are projected; False: they are among the gates, and ``k`` is an empty tensor."""
    gate_modules: ClassVar[tuple[str, ...]] = ()
    """Children whose parameters are gates, with full precision and without weight decay."""

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: int,
        key_dim: int,
        value_dim: int,
        causal: bool,
        conv_size: int | None,
        output_gate: OutputGate,
        eps: float,
        linear: LinearFactory,
    ) -> None:
        super().__init__(hidden_size, causal=causal)
        require(type(self), conv_size=conv_size, output_gate=output_gate, eps=eps)
        kernel = (4 if causal else 5) if conv_size is None else conv_size
        if not causal and kernel and kernel % 2 == 0:
            raise ValueError(
                f"{type(self).__name__}: conv_size {kernel} has no middle; a bidirectional block needs an "
                "odd one, or 0 for none"
            )
        self.num_heads, self.key_dim, self.value_dim = num_heads, key_dim, value_dim
        self.directions = 1 if causal else 2
        self.output_gate: OutputGate = output_gate
        keys, values = num_heads * key_dim, num_heads * value_dim
        self.conv_widths = (keys, keys if self.projects_keys else 0, values)
        self.gate_width = 0 if output_gate == "none" else values
        heights = (*self.conv_widths, self.gate_width)
        self.in_heights = tuple(height for height in heights if height)
        self.in_proj = fused_linear(linear, hidden_size, self.in_heights)
        width = sum(self.conv_widths)
        self.conv1d = DepthwiseConv(width, kernel, causal=causal, bias=False) if kernel else None
        self.kernel = kernel
        # y lacks the factor d_k^-1/2, which eps contains instead
        self.norm = RMSNorm(value_dim, eps=eps * key_dim)
        self.out_proj = linear(values, hidden_size, bias=False)

    def gates(self, x: Tensor) -> list[Gates]:
        """Return the gates of each direction at tokens ``(..., D)``, as ``(..., H, ...)``, at least fp32."""
        raise TypeError(f"{type(self).__name__} has no gates; a linear recurrence must define them")

    def features(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return queries and keys transformed for the recurrence; zeros must stay zeros."""
        return q, k

    def recur(self, q: Tensor, k: Tensor, v: Tensor, gates: Gates, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``y`` ``(B, H, d_v)`` at one token and the state after it, in the dtype of the state."""
        raise TypeError(f"{type(self).__name__} has no recur; a linear recurrence must define it")

    def scan(
        self, q: Tensor, k: Tensor, v: Tensor, gates: Sequence[Gates], documents: Tensor | None
    ) -> Tensor:
        """Return ``y_t = q_t S_t`` ``(B, T, H, d_v)``, not scaled, at least fp32.

        Args:
            q: ``(B, T, H, d_k)``; like k and v 0 at padding, which is at the end of the row.
            k: ``(B, T, H, d_k)``.
            v: ``(B, T, H, d_v)``.
            gates: gates of one direction, or of two whose outputs are added, with the term of the token
                itself counted once.
            documents: ``(B, T)`` ids, -1 at padding; the state is reset where they change. None: one
                document per row.
        """
        raise TypeError(f"{type(self).__name__} has no scan; a linear recurrence must define it")

    @torch.no_grad()
    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        """Initialise the weights: projections and gates N(0, std^2), the convolution as ``nn.Conv1d``."""
        super().reset_parameters(std=std, residual_scale=residual_scale)

    def row_blocks(self) -> dict[str, tuple[int, ...]]:
        """Return the heights of the matrices stacked in ``in_proj``: queries, keys, values, gate."""
        return {"in_proj.weight": self.in_heights}

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe the parameters; gates have no weight decay."""
        info = super().parameter_info()
        gates = [name for name in info if name.split(".")[0] in (*self.exact_parameters, *self.gate_modules)]
        info.update({name: attrs.evolve(info[name], kind="gate", decay=False) for name in gates})
        if self.conv1d is not None:
            info["conv1d.weight"] = ParamInfo(role=self.role, kind="conv")
        return info

    def mix_rows(self, x: Tensor, real: Tensor | None, documents: Tensor | None) -> Tensor:
        """Mix the tokens of each document; see :meth:`ContiguousMixer.mix_rows`."""
        u, gate = self.in_proj(x).split((sum(self.conv_widths), self.gate_width), -1)
        if self.conv1d is not None:
            u = convolve(self.conv1d, u, documents, kernel=self.kernel)
        if real is not None:
            u = u * real[..., None]  # the convolution window of padding contains tokens
        q, k, v = self._heads(F.silu(u))
        y = self.scan(q, k, v, self.gates(x), documents)
        return self._read_out(y, gate)

    def init_state(self, batch: int) -> RecurrentState:
        """Return the initial state of ``batch`` rows."""
        self.require_causal()
        weight = self.norm.weight
        empty = weight.new_zeros(batch, dtype=torch.promote_types(weight.dtype, torch.float32))
        kernel = max(self.kernel, 1)
        return RecurrentState(
            empty[:, None, None, None].repeat(1, self.num_heads, self.key_dim, self.value_dim),
            empty[:, None, None].repeat(1, kernel - 1, sum(self.conv_widths)),
        )

    def step(self, x_t: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """Return the output ``(B, D)`` at the next token ``x_t`` ``(B, D)``, and the state after it."""
        self.enter_step(x_t, state)
        memory, window = state
        u, gate = self.in_proj(x_t).split((sum(self.conv_widths), self.gate_width), -1)
        if self.conv1d is not None:
            u, window = convolve_step(self.conv1d, u, window)
        q, k, v = (y.to(memory.dtype) for y in self._heads(F.silu(u)))
        y, memory = self.recur(q, k, v, self.gates(x_t)[0], memory)
        return self._read_out(y, gate), RecurrentState(memory, window)

    def _heads(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries and keys ``(..., H, d_k)`` and values ``(..., H, d_v)``."""
        heads = u.split(self.conv_widths, -1)
        q, k, v = (y.unflatten(-1, (self.num_heads, y.shape[-1] // self.num_heads)) for y in heads)
        return *self.features(q, k), v

    def _read_out(self, y: Tensor, gate: Tensor) -> Tensor:
        """Apply the norm of each head, the output gate and the output projection."""
        y = self.norm(y).flatten(-2).to(gate.dtype)
        if self.output_gate != "none":
            y = y * (F.silu(gate) if self.output_gate == "swish" else gate.sigmoid())
        return self.out_proj(y)


def head_width(
    block: str, hidden_size: int, num_heads: int, option: str = "hidden_size", expansion: float = 1.0
) -> int:
    """Return the width of a head, ``expansion * hidden_size / num_heads``.

    Raises:
        ValueError: the width is not an integer; the message names ``option``, which sets the expansion.
    """
    width = round(expansion * hidden_size / num_heads)
    if width < 1 or abs(width * num_heads - expansion * hidden_size) > 1e-6:
        given = "" if option == "hidden_size" else f"{option} {expansion:g} of "
        raise ValueError(
            f"{block}: {given}hidden_size {hidden_size} is not a multiple of its {num_heads} heads; change "
            f"{option} or num_heads"
        )
    return width
