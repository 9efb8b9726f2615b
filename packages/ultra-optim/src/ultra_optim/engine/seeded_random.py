"""Random tensors that follow from plain numbers, so that they need no state beside those numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def normal(shape: Sequence[int], *key: int, like: Tensor) -> Tensor:
    """Return standard normal numbers that depend on shape and key alone.

    Devices of different types draw different numbers.

    Args:
        shape: of the result.
        *key: seed, step, whatever tells this draw from others.
        like: gives dtype and device.
    """
    digest = hashlib.blake2b(repr((key, tuple(shape))).encode(), digest_size=7).digest()
    generator = torch.Generator(device=like.device).manual_seed(int.from_bytes(digest, "big"))
    return torch.randn(tuple(shape), generator=generator, device=like.device, dtype=like.dtype)
