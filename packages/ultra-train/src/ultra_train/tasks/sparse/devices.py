"""The kinds of devices of this machine, as ``hardware.device`` names them."""

from __future__ import annotations


def devices() -> list[str]:
    """Return the devices that this machine has, best first; imports torch."""
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [device for device, has in there.items() if has]
