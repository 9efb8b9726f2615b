"""Calls of the kernels of flash-linear-attention: when these apply, and how a batch is laid out for them.

A kernel computes one direction, over rows of equal length or over documents laid end to end. Both directions
go into one call, in which the reversed sequences are additional rows or documents.
"""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

DTYPES = (torch.bfloat16, torch.float16)
"""Dtypes of values for which kernels are used; for fp32 the chunked forms keep fp32 throughout."""

NARROWEST, WIDEST = 16, 256
"""Widths of heads: tensor cores multiply 16 numbers at a time, and kernels hold at most 256 key channels."""

FLOOR = -40.0
"""Lowest log decay. Kernels subtract sums of log decays, and -inf - -inf is NaN; exp(-40) = 4e-18 of a state
vanishes in the rounding of half precision."""

_PLACES = WeakTensorKeyDictionary()


def usable(values: Tensor, key_dim: int) -> bool:
    """Whether kernels accept values ``(B, T, H, d_v)`` with keys of that width, and are allowed.

    They are not allowed while torch.compile traces, because they would break the graph; with deterministic
    algorithms, because autotuning chooses their block sizes; and with ``ULTRA_DISABLE_FLA=1`` in the
    environment.
    """
    return (
        _on_gpu(values)
        and values.dtype in DTYPES
        and min(key_dim, values.shape[-1]) >= NARROWEST
        and key_dim <= WIDEST
        and values.numel() > 0
        and os.environ.get("ULTRA_DISABLE_FLA", "") in ("", "0")
        and not torch.compiler.is_compiling()
        and not torch.are_deterministic_algorithms_enabled()
        and _ops() is not None
    )


def read(
    name: str,
    lanes: Sequence[Mapping[str, Tensor]],
    documents: Tensor | None,
    exact: torch.dtype,
    *,
    order: Sequence[bool] = (False, True),
    **constants: Tensor,
) -> list[Tensor]:
    """Return the unscaled output of each lane, ``(B, T, H, d_v)``, the term of each token itself included.

    Args:
        name: name of the kernel in ``fla.ops``.
        lanes: arguments of the kernel for each direction, ``(B, T, H, ...)`` each; ``g`` are log decays.
        documents: ``(B, T)`` ids, -1 at padding, where the output is 0. None: one document per row, followed
            by padding at which keys or values are 0.
        exact: dtype of the result.
        order: whether each lane runs from the end to the start.
        constants: arguments that all lanes share.
    """
    order = tuple(order[: len(lanes)])
    place, borders = (None, None) if documents is None else _places(documents, order)
    side_by_side = 0 if place is None else 1
    given = {}
    for key in lanes[0]:
        parts = [lane[key].clamp(min=FLOOR) if key == "g" else lane[key] for lane in lanes]
        if place is not None:
            parts = [x.flatten(0, 1).index_select(0, place)[None] for x in parts]
        parts = [x.flip(1) if back else x for x, back in zip(parts, order, strict=True)]
        given[key] = parts[0] if len(parts) == 1 else torch.cat(parts, side_by_side)
    with torch.autocast(given["v"].device.type, enabled=False):
        y, _ = getattr(_ops(), name)(**given, **constants, scale=1.0, cu_seqlens=borders)
    parts = y.to(exact).chunk(len(lanes), side_by_side)
    outputs = [x.flip(1) if back else x for x, back in zip(parts, order, strict=True)]
    if documents is None or place is None:
        return outputs
    empty = outputs[0].new_zeros(documents.numel(), *y.shape[2:])
    return [empty.index_copy(0, place, x[0]).unflatten(0, documents.shape) for x in outputs]


def _places(documents: Tensor, order: tuple[bool, ...]) -> tuple[Tensor, Tensor]:
    """Return the indices of real tokens in the flattened batch, and the borders of documents in all lanes.

    They are cached for the layers of a forward pass, which share ``documents``, because computing them
    synchronises the device.
    """
    known = _PLACES.setdefault(documents, {})
    if order not in known:
        place = (documents >= 0).flatten().nonzero().flatten()
        if not len(place):  # nothing but padding: any one token will do
            place = place.new_zeros(1)
        owner = torch.stack([place // documents.shape[1], documents.flatten()[place]])
        cuts = (owner[:, 1:] != owner[:, :-1]).any(0).nonzero().flatten() + 1
        length = len(place)
        inner = [length - cuts.flip(0) if back else cuts for back in order]
        ends = [F.pad(x, (0, 1), value=length) + i * length for i, x in enumerate(inner)]
        known[order] = place, F.pad(torch.cat(ends), (1, 0))
    return known[order]


def _on_gpu(x: Tensor) -> bool:
    return x.is_cuda and _recent(x.device)


@functools.cache
def _recent(device: torch.device) -> bool:
    """Whether Triton multiplies in bf16 on a device: NVIDIA GPUs from Ampere on, and AMD GPUs."""
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)


@functools.cache
def _ops() -> Any:
    """Return ``fla.ops``, or None if the package is missing or broken."""
    try:
        return importlib.import_module("fla.ops")
    except Exception as error:  # the import inspects drivers and compilers, which fail in many ways
        if not (isinstance(error, ModuleNotFoundError) and error.name in ("fla", "fla.ops")):
            warnings.warn(
                f"flash-linear-attention is installed but cannot be imported ({error!r}); blocks compute "
                "without its kernels. Set ULTRA_DISABLE_FLA=1 to skip the import",
                RuntimeWarning,
                stacklevel=2,
            )
        return None
