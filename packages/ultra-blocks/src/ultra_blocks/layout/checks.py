"""Checks of the tensors that a layout is built from."""

from __future__ import annotations

import torch
from torch import Tensor


def check_mask(mask: Tensor) -> None:
    """Raise unless ``mask`` is a tensor ``(B, T)`` of real numbers or bool.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(mask, Tensor) or mask.ndim != 2 or mask.is_complex():
        given = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(
            f"Layout: mask must be a tensor (batch, length), True or 1 at real tokens; given {given}"
        )


def values_of(flags: Tensor) -> list[bool] | None:
    """Return the values of a bool tensor; None where they cannot be read: while tracing, under ``vmap``, and
    on the meta device.
    """
    if torch.compiler.is_compiling():
        return None
    try:
        values: list[bool] = flags.tolist()
    except RuntimeError:
        return None
    return values


def check_integers(name: str, given: Tensor | None, mask: Tensor) -> None:
    """Raise unless ``given`` is None or an integer tensor of the shape of ``mask``.

    Raises:
        ValueError: it is neither; the message calls it ``name``.
    """
    if given is None:
        return
    if given.shape != mask.shape or given.is_floating_point() or given.dtype is torch.bool:
        raise ValueError(
            f"Layout: {name} must be an integer tensor of the mask's shape {tuple(mask.shape)}; "
            f"given {given.dtype} {tuple(given.shape)}"
        )


def check_values(*, binary: bool, ordered: bool, positive: bool) -> None:
    """Raise unless the values of mask, documents and positions are valid.

    Args:
        binary: the mask holds 0 and 1 only, and a 1 in every row of floats.
        ordered: document ids are at least 0 and do not decrease along a row.
        positive: positions are at least 0.

    Raises:
        ValueError: one of these is False.
    """
    if not binary:
        raise ValueError(
            "Layout: a mask of numbers (attention_mask) must be 1 at real tokens and 0 at padding, but holds "
            "other numbers, or a row of floats without a 1, as masks do that are added to scores; numbers of "
            "packed documents are given as documents (document_ids)"
        )
    if not ordered:
        raise ValueError(
            "Layout: the documents of a row must be numbered 0 or more, in reading order, each in one "
            "piece; a number goes down along a row or is negative at a real token"
        )
    if not positive:
        raise ValueError("Layout: positions must be 0 or more at real tokens; one is negative")
