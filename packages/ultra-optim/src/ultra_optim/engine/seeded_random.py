"""Random tensors that are functions of plain numbers, so that no generator state has to be saved."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def normal(shape: Sequence[int], *key: int, like: Tensor) -> Tensor:
    """Return standard normal numbers that depend only on shape and key.

    They differ between types of devices.

    Args:
        shape: shape of the result.
        *key: seed, step and other numbers that identify this draw.
        like: a tensor of the dtype and on the device of the result.
    """
    digest = hashlib.blake2b(repr((key, tuple(shape))).encode(), digest_size=7).digest()
    generator = torch.Generator(device=like.device).manual_seed(int.from_bytes(digest, "big"))
    return torch.randn(tuple(shape), generator=generator, device=like.device, dtype=like.dtype)
