"""Random numbers that depend on a seed, whatever was drawn before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generators, and give that of the CPU its former state back at the end.

    Where there is no accelerator, ``torch.manual_seed`` keeps the seed and a formatted stack for each kind of
    device, which takes longer than building a small block; the generator of the CPU alone is seeded there.
    """
    with torch.random.fork_rng(devices=[]):
        if torch.accelerator.is_available():
            torch.manual_seed(seed)
        else:
            torch.default_generator.manual_seed(seed)
        yield
