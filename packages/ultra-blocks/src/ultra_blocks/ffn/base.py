"""FeedForward, the base of the dense FFNs: activations, padding, initialisation, parameter roles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from ultra_blocks.activations import Activation
from ultra_blocks.inputs import check_width
from ultra_blocks.layout import Layout, check_layout
from ultra_core.contracts import ParamInfo
from ultra_core.module_types import is_norm, kind_by_type

__all__ = ["ACTIVATIONS", "Activation", "FeedForward"]


def _squared_relu(x: Tensor) -> Tensor:
    return F.relu(x).square()


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    name: getattr(F, name)
    for name in get_args(Activation)
    if name not in ("gelu_tanh", "relu2")  # these have no function of their own in torch
} | {"gelu_tanh": partial(F.gelu, approximate="tanh"), "relu2": _squared_relu}
"""``gelu`` is the exact x Phi(x), as in BERT."""


def keeps_zero(activation: Activation) -> bool:
    """Whether an activation maps 0 to 0, so that without biases zeros stay zeros."""
    return activation not in {"hardsigmoid", "logsigmoid", "sigmoid", "softplus"}


class FeedForward(nn.Module):
    """Base of the dense FFNs; the last projection has the name ``down``.

    Raises:
        ValueError: a width below 1, an unknown activation, or a dropout outside [0, 1).
    """

    variations: ClassVar[Mapping[str, Any]] = {
        # celu is elu with its default slope
        "activation": tuple({"activation": name} for name in ACTIVATIONS if name != "celu")
    }
    """By option, arguments under which it is seen to act, where the conformance kit cannot guess them."""
    reference: ClassVar[Callable[..., Any] | str | None] = None
    """Plain function ``reference(x, state, **arguments)`` of tokens ``(T, D)``, see ``Mixer.reference``.

    An FFN with auxiliary losses returns ``(y, {name: loss})`` as in training.
    """

    def __init__(
        self, hidden_size: int, ffn_hidden_size: int, *, activation: Activation, dropout: float, bias: bool
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if min(hidden_size, ffn_hidden_size) < 1:
            raise ValueError(f"{name}: widths must be 1 or more; given {hidden_size} and {ffn_hidden_size}")
        if activation not in ACTIVATIONS:
            raise ValueError(f"{name}: activation must be one of {list(ACTIVATIONS)}; given {activation!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"{name}: dropout must be at least 0 and below 1; given {dropout}")
        self.hidden_size = hidden_size
        self.ffn_hidden_size = ffn_hidden_size
        self.activation = activation
        self.has_bias = bias
        self.moves_zero = bias or not keeps_zero(activation)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def enter(self, x: Tensor, layout: Layout | None) -> Tensor:
        """Return ``x`` with zeros at padding, so that NaN there does not reach the gradients of the weights.

        Raises:
            ValueError: ``x`` is not ``(..., D)`` of a floating dtype with the width of the FFN, or the layout
                belongs to another batch or is a bare mask.
        """
        check_width(self, x, self.hidden_size)
        check_layout(x, layout)
        return x if layout is None else layout.zero_padding(x)

    def leave(self, y: Tensor, layout: Layout | None) -> Tensor:
        """Return ``y`` with zeros at padding, which it already has if the layer maps zeros to zeros."""
        return layout.zero_padding(y) if layout is not None and self.moves_zero else y

    def row_blocks(self) -> Mapping[str, tuple[int, ...]]:
        """Return the heights of the matrices stacked in fused projections, by dotted parameter name."""
        return {}

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe every parameter: matrices with the role ``other``, and biases without weight decay.

        Norms, convolutions and embeddings of torch are described by their type.
        """
        blocks, info = self.row_blocks(), {}
        for path, module in self.named_modules():
            if module is not self and is_norm(module):
                continue
            for name, parameter in module.named_parameters(recurse=False):
                dotted = f"{path}.{name}" if path else name
                if parameter.ndim < 2:
                    info[dotted] = ParamInfo(kind="vector", decay=False)
                else:
                    kind = kind_by_type(module) or "matrix"
                    info[dotted] = ParamInfo(kind=kind, row_blocks=blocks.get(dotted, ()))
        return info

    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        """Initialise weights from N(0, std^2), those of ``down`` times ``residual_scale``; biases are 0.

        Norms and convolutions reset themselves.
        """
        for path, module in self.named_modules():
            if module is not self and (is_norm(module) or kind_by_type(module) == "conv"):
                if callable(reset := getattr(module, "reset_parameters", None)):
                    reset()
                continue
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.ndim > 1:
                    last = (path, name) == ("down", "weight")
                    nn.init.normal_(parameter, 0.0, std * (residual_scale if last else 1.0))
                else:
                    nn.init.zeros_(parameter)
