"""Experts of a mixture of experts: stacked weights for mlp and glu, separate modules for other FFNs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ultra_blocks.ffn.base import ACTIVATIONS, FeedForward
from ultra_blocks.ffn.glu import GLU
from ultra_blocks.ffn.mlp import MLP
from ultra_blocks.functional.experts import grouped_linear
from ultra_blocks.init import initialise
from ultra_blocks.linear import BitLinear, quantise_activations, quantise_weight
from ultra_core.contracts import ParamInfo


class ExpertLinear(nn.Module):
    """One projection of every expert, ``y_n = W_e x_n + b_e``, with stacked weights ``(E, out, in)``.

    Args:
        like: the projection of a single expert; a :class:`BitLinear` is quantised per expert and row block.
        num_experts: number of experts E.
        row_blocks: heights of the matrices stacked in a fused projection.

    Shapes:
        x ``(N, in)`` sorted by expert, loads ``(E,)``, number of rows of each -> y ``(N, out)``.
    """

    def __init__(self, like: nn.Linear, num_experts: int, row_blocks: Sequence[int] = ()) -> None:
        super().__init__()
        self.row_blocks = tuple(row_blocks)
        self.eps = like.eps if isinstance(like, BitLinear) else None
        self.weight = nn.Parameter(torch.empty(num_experts, like.out_features, like.in_features))
        self.bias = None if like.bias is None else nn.Parameter(torch.empty(num_experts, like.out_features))

    def reset_parameters(self, *, std: float = 0.02) -> None:
        """Initialise the weights from N(0, std^2), and biases with 0."""
        nn.init.normal_(self.weight, 0.0, std)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe one matrix per expert, and biases without weight decay."""
        info = {"weight": ParamInfo(kind="expert", expert_dim=0, row_blocks=self.row_blocks)}
        if self.bias is not None:
            info["bias"] = ParamInfo(kind="vector", decay=False)
        return info

    def forward(self, x: Tensor, loads: Tensor) -> Tensor:
        """Apply the projection of each row's expert."""
        if self.eps is None:
            y = grouped_linear(x, self.weight, loads)
        else:
            activations, scale = quantise_activations(x, self.eps)
            weight, weight_scale = quantise_weight(self.weight, self.row_blocks or self.weight.shape[1:2])
            y = grouped_linear(activations.to(x.dtype), weight.to(x.dtype), loads)
            y = (y * (scale * by_row(weight_scale, loads, len(x)))).to(y.dtype)
        return y if self.bias is None else y + by_row(self.bias, loads, len(x)).to(y.dtype)


def by_row(of_expert: Tensor, loads: Tensor, rows: int) -> Tensor:
    """Return the entries ``(N, ...)`` of ``of_expert`` ``(E, ...)`` for each row's expert."""
    return of_expert.repeat_interleave(loads, 0, output_size=rows)


class StackedExperts(nn.Module, ABC):
    """Experts of a dense FFN that are computed together, on rows sorted by expert.

    Shapes:
        x ``(N, D)`` sorted by expert, loads ``(E,)`` -> y ``(N, D)``.
    """

    down: ExpertLinear

    def __init__(self, template: FeedForward, num_experts: int) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[template.activation]
        self.dropout = template.dropout
        for name, child in template.named_children():
            if isinstance(child, nn.Linear):
                rows = template.row_blocks().get(f"{name}.weight", ())
                self.add_module(name, ExpertLinear(child, num_experts, rows))
        self.reset_parameters()

    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        """Initialise weights from N(0, std^2), those of ``down`` times ``residual_scale``; biases are 0."""
        for name, child in self.named_children():
            if isinstance(child, ExpertLinear):
                child.reset_parameters(std=std * (residual_scale if name == "down" else 1.0))

    def forward(self, x: Tensor, loads: Tensor) -> Tensor:
        """Return the output of each row's expert."""
        y: Tensor = self.down(self.dropout(self.inner(x, loads)), loads)
        return y

    @abstractmethod
    def inner(self, x: Tensor, loads: Tensor) -> Tensor:
        """Return the inner activations ``(N, F)``."""


class StackedMLP(StackedExperts):
    """Experts ``W_down act(W_up x)``."""

    up: ExpertLinear

    def inner(self, x: Tensor, loads: Tensor) -> Tensor:
        """Return ``act(W_up x)``."""
        return self.activation(self.up(x, loads))


class StackedGLU(StackedExperts):
    """Experts ``W_down (act(W_gate x) * W_up x)``."""

    gate_up: ExpertLinear

    def inner(self, x: Tensor, loads: Tensor) -> Tensor:
        """Return ``act(W_gate x) * W_up x``."""
        gate, up = self.gate_up(x, loads).chunk(2, dim=-1)
        return self.activation(gate) * up


STACKED: dict[type, type[StackedExperts]] = {MLP: StackedMLP, GLU: StackedGLU}
"""FFNs with stacked experts."""


class SeparateExperts(nn.ModuleList):
    """Experts of any FFN that processes tokens independently, called one after another.

    Raises:
        ValueError: an expert has auxiliary losses.
    """

    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        """Initialise the weights of every expert."""
        for expert in self:
            initialise(expert, std=std, residual_scale=residual_scale)

    def forward(self, x: Tensor, loads: Tensor) -> Tensor:
        """Return the output of each row's expert."""
        parts = x.split(loads.tolist())
        return torch.cat([apply(expert, part) for expert, part in zip(self, parts, strict=True)])


def apply(ffn: nn.Module, tokens: Tensor) -> Tensor:
    """Return the output of an FFN for tokens ``(N, D)``.

    Raises:
        ValueError: the FFN has auxiliary losses.
    """
    y = ffn(tokens[None], None)
    if isinstance(y, tuple):
        raise ValueError(f"{type(ffn).__name__} has auxiliary losses and cannot be an expert of a mixture")
    return y[0]


def build_experts(
    cls: type, make: Callable[[], nn.Module], num_experts: int
) -> StackedExperts | SeparateExperts:
    """Return the experts, stacked if their class and projections allow, else as separate modules.

    Args:
        cls: FFN class of the experts.
        make: builds one expert.
        num_experts: number of experts E.
    """
    if cls in STACKED:
        with torch.device("meta"):
            template = make()
        assert isinstance(template, FeedForward)
        projections = [child for child in template.children() if list(child.parameters())]
        if all(type(child) in (nn.Linear, BitLinear) for child in projections):
            return STACKED[cls](template, num_experts)
    return SeparateExperts(make() for _ in range(num_experts))
