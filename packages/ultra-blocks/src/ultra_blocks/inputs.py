"""Checks of the tensors that modules are called with; their errors name the module and both sizes."""

from __future__ import annotations

from torch import Tensor, nn


def check_tokens(module: nn.Module, x: Tensor, hidden_size: int) -> None:
    """Raise unless ``x`` is ``(B, T, D)`` of a floating dtype with D = ``hidden_size``.

    Raises:
        ValueError: it is not.
    """
    name = type(module).__name__
    if x.ndim != 3:
        hint = "; for one row of tokens give x[None]" if x.ndim == 2 else ""
        raise ValueError(
            f"{name} takes tokens (batch, length, hidden_size); the input is {tuple(x.shape)}{hint}"
        )
    check_width(module, x, hidden_size)


def check_width(module: nn.Module, x: Tensor, hidden_size: int) -> None:
    """Raise unless ``x`` is ``(..., D)`` of a floating dtype with D = ``hidden_size``.

    Raises:
        ValueError: it is not.
    """
    name = type(module).__name__
    if x.ndim == 0 or x.shape[-1] != hidden_size:
        given = f"has {x.shape[-1]} in its last dimension" if x.ndim else "is a single number"
        raise ValueError(f"{name} was built for hidden_size {hidden_size}; the input {given}")
    if not x.is_floating_point():
        raise ValueError(
            f"{name} takes activations of a floating dtype; the input is {x.dtype} (token ids pass through "
            "an embedding first)"
        )
