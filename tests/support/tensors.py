"""Random tensors and parameters that depend on nothing but their seed."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def normal(shape: Sequence[int], seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return standard normal numbers, drawn in double precision and rounded to the dtype."""
    return normals([shape], seed, dtype)[0]


def normals(
    shapes: Sequence[Sequence[int]], seed: int = 0, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """Return standard normal tensors, one after the other from one generator."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(tuple(s), generator=generator, dtype=torch.float64).to(dtype) for s in shapes]


def randomise(module: Module, scale: float = 0.4, seed: int = 3) -> Module:
    """Give every parameter normal values at which an error shows: vectors, as of norms, are around one.

    The values are the same in every dtype.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * scale + (p.ndim == 1))
    return module
