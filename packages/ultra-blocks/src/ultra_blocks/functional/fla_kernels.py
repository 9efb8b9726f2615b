"""How kernels of flash-linear-attention are reached: when, and with what batch. No parameters.

A kernel reads one direction, of rows of equal length or of documents laid end to end. Both directions go
into one call: beside what runs forward stands the same once more, reversed.
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
"""Of the values. Who computes in fp32 gets our products, which keep fp32 throughout."""

NARROWEST, WIDEST = 16, 256
"""Widths of heads: tensor cores multiply 16 numbers at a time, and kernels hold up to 256 keys at once."""

FLOOR = -40.0
"""Least log decay: kernels subtract sums of them, and -inf less -inf is no number. exp(-40) = 4e-18 of a
state vanishes in the rounding of half precision, the digits of which the sums of a chunk keep."""

_PLACES = WeakTensorKeyDictionary()


def usable(values: Tensor, key_dim: int) -> bool:
    """Whether kernels take values ``(B, T, H, d_v)`` with keys of that width, and may.

    Not while torch.compile traces, which they would interrupt; not where deterministic algorithms are asked
    for, since they choose their block sizes by trial; not with ``ULTRA_DISABLE_FLA=1`` in the environment.
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
    """Return what queries read in each lane, ``(B, T, H, d_v)``, own tokens included, not scaled.

    Args:
        name: of the kernel in ``fla.ops``.
        lanes: its arguments, ``(B, T, H, ...)`` each; ``g`` are log decays.
        documents: ``(B, T)`` ids, -1 at padding, where 0 comes out. None: rows, with keys or values 0 at
            padding, which stands at the end.
        exact: dtype of the result.
        order: whether a lane runs from the end to the start.
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
    """Return where real tokens stand in the flattened batch, and the borders of documents in all lanes.

    Found once for all layers of a forward, which share ``documents``: finding them waits for the device.
    """
    known = _PLACES.setdefault(documents, {})
    if order not in known:
        place = (documents >= 0).flatten().nonzero().flatten()
        if not len(place):  # padding alone, of which one token is as good as any other
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
    """Whether Triton multiplies in bf16 there: NVIDIA's since Ampere, AMD's."""
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)


@functools.cache
def _ops() -> Any:
    """Return ``fla.ops``, or None where the package is missing or broken."""
    try:
        return importlib.import_module("fla.ops")
    except Exception as error:  # importing looks at drivers and compilers, which fail in many ways
        if not (isinstance(error, ModuleNotFoundError) and error.name in ("fla", "fla.ops")):
            warnings.warn(
                f"flash-linear-attention is installed but cannot be imported ({error!r}); blocks compute "
                "without its kernels. ULTRA_DISABLE_FLA=1 keeps them from trying",
                RuntimeWarning,
                stacklevel=2,
            )
        return None
