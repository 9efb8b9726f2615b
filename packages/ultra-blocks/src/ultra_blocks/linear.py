"""Linear maps of full precision, or with ternary weights and 8-bit activations (BitNet b1.58)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

LinearFactory = Callable[..., nn.Module]
"""``linear(in_features, out_features, bias=...)``: returns a module with ``weight`` ``(out, in)``."""

SMALLEST_SCALE = 1e-5


class BitLinear(nn.Linear):
    """Linear map with ternary weights and 8-bit activations, whose latent weights have full precision.

    ::

        x^  = x / sqrt(mean(x**2) + eps)                    per token, no gain
        s_x = max |x^| per token,  s_w = mean |W| per logical matrix, both at least 1e-5
        x_q = round(127 x^ / s_x) in [-128, 127],  W_q = clip(round(W / s_w), -1, 1)
        y   = (s_x s_w / 127) x_q W_q^T + bias

    Rounding uses the straight-through estimator: gradients are those of ``x^ W^T`` with quantised factors.
    The integers of ``x_q`` and ``W_q`` are exact in bfloat16, so that autocast only rounds the sum. It
    replaces projections of blocks and FFNs only, never embeddings, heads, routers, norms or gates. It saves
    no memory in training, since the optimizer updates the latent weights.

    Args:
        in_features: width of the input.
        out_features: width of the output.
        bias: whether there is a bias, in full precision.
        row_blocks: heights of the matrices stacked in a fused projection, each with its own ``s_w``.
        eps: added to the mean square.

    Shapes:
        x ``(..., in_features)`` -> y ``(..., out_features)``.

    Raises:
        ValueError: the sum of ``row_blocks`` is not ``out_features``.

    Paper: Ma et al. 2024, "The Era of 1-bit LLMs", arXiv:2402.17764.
    Differs from the paper: the input norm has no gain (every block has a norm before it), and stacked
    projections are scaled separately.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        row_blocks: Sequence[int] = (),
        eps: float = 1e-6,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_features, out_features, bias, **kwargs)
        self.eps = eps
        self.row_blocks = tuple(row_blocks) or (out_features,)

    @property
    def row_blocks(self) -> tuple[int, ...]:
        """Heights of the matrices stacked in ``weight``."""
        return self._row_blocks

    @row_blocks.setter
    def row_blocks(self, heights: Sequence[int]) -> None:
        if sum(heights) != self.out_features:
            raise ValueError(
                f"BitLinear: row_blocks {tuple(heights)} add up to {sum(heights)}, not to out_features "
                f"{self.out_features}"
            )
        self._row_blocks = tuple(heights)

    def quantised_weight(self) -> tuple[Tensor, Tensor]:
        """Return ternary weights ``(out, in)``, with straight-through gradients, and ``s_w`` ``(out,)``."""
        return quantise_weight(self.weight, self.row_blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map to the last dimension."""
        activations, scale = quantise_activations(x, self.eps)
        weight, weight_scale = self.quantised_weight()
        y = F.linear(activations.to(x.dtype), weight.to(x.dtype))
        y = (y * (scale * weight_scale)).to(y.dtype)
        return y if self.bias is None else y + self.bias.to(y.dtype)


def quantise_activations(x: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Return ``x_q`` in at least fp32, with straight-through gradients, and ``s_x / 127`` ``(..., 1)``.

    Args:
        x: ``(..., in)``; the last dimension is one token.
        eps: added to the mean square.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    normed = F.rms_norm(x.to(wide), (x.shape[-1],), None, eps)
    scale = normed.detach().abs().amax(-1, keepdim=True).clamp(min=SMALLEST_SCALE) / 127
    return _straight_through(normed / scale, -128, 127), scale


def quantise_weight(weight: Tensor, row_blocks: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return ``W_q`` in at least fp32, with straight-through gradients, and ``s_w`` ``(..., out)``.

    Args:
        weight: ``(..., out, in)``; leading dimensions are separate matrices, each with its own scales.
        row_blocks: heights of the matrices stacked in ``out``.
    """
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    with torch.no_grad():
        means = [block.abs().mean((-2, -1)) for block in weight.split(list(row_blocks), -2)]
        heights = torch.tensor(row_blocks, device=weight.device)
        scale = torch.stack(means, -1).clamp(min=SMALLEST_SCALE)
        scale = scale.repeat_interleave(heights, -1, output_size=weight.shape[-2])
    return _straight_through(weight / scale[..., None], -1, 1), scale


def _straight_through(x: Tensor, low: int, high: int) -> Tensor:
    """Round and clip, with the gradient of the identity."""
    return x + (x.round().clamp(low, high) - x).detach()


def linear_factory(use_bitnet: bool) -> LinearFactory:
    """Return the factory of projections of blocks and FFNs: :class:`BitLinear` or ``nn.Linear``."""
    return BitLinear if use_bitnet else nn.Linear


def fused_linear(
    linear: LinearFactory, in_features: int, heights: Sequence[int], *, bias: bool = False
) -> nn.Module:
    """Build one projection that stacks several; a quantising projection gets the height of each.

    Args:
        linear: factory of projections.
        in_features: width of the input.
        heights: output widths of the stacked projections.
        bias: whether there is a bias.
    """
    module = linear(in_features, sum(heights), bias=bias)
    if isinstance(module, BitLinear):
        module.row_blocks = tuple(heights)
    return module


class Transposed(nn.Module):
    """The transpose of a linear map without bias, whose weight it can share: ``y = x W``.

    Args:
        in_features: width of the input of that map, and of this output.
        out_features: width of its output, and of this input.

    Shapes:
        x ``(..., out_features)`` -> y ``(..., in_features)``; the weight is ``(out_features, in_features)``.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight: Tensor = nn.Parameter(torch.empty(out_features, in_features))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x W``."""
        return F.linear(x, self.weight.t())


def in_high_precision(linear: nn.Module, x: Tensor) -> Tensor:
    """Return ``linear(x)`` in at least fp32, under autocast and for weights of half precision too.

    Args:
        linear: a linear map, or an adapter around one.
        x: ``(..., in_features)``.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        if all(p.dtype == wide for p in linear.parameters()):
            y: Tensor = linear(x.to(wide))
        else:
            weights = {name: p.to(wide) for name, p in linear.named_parameters()}
            y = functional_call(linear, weights, (x.to(wide),))
    return y
