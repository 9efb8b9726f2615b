"""Random numbers that depend on a seed, whatever was drawn before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator of the CPU, and give it its former state back at the end.

    ``torch.manual_seed`` also seeds the devices. Where there are none it keeps the seed and a formatted stack
    for each kind of device, which takes longer than building a small block.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
