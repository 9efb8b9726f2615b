"""The state of every global random generator of this process."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

DEVICES = ("cuda", "mps", "xpu")
"""Kinds of devices that have random generators of their own."""


def random_state() -> dict[str, Any]:
    """Return the state of every global random generator: Python, NumPy, torch, and each device."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "cpu": torch.random.get_rng_state(),
        **{kind: _device_states(getattr(torch, kind)) for kind in DEVICES},
    }


def _device_states(module: Any) -> list[torch.Tensor]:
    """Return the state of each device of a kind, or an empty list where there is no such device."""
    if not module.is_available():
        return []
    return (
        list(module.get_rng_state_all()) if hasattr(module, "get_rng_state_all") else [module.get_rng_state()]
    )


def seed_process(*numbers: int) -> None:
    """Seed every global random generator from some numbers, such as a seed and the rank of this process."""
    (seed,) = np.random.SeedSequence(numbers).generate_state(1)
    random.seed(int(seed))
    np.random.seed(int(seed))
    torch.manual_seed(int(seed))  # those of devices too


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Set every global random generator to a state from :func:`random_state`."""
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.random.set_rng_state(state["cpu"])
    for kind in DEVICES:
        module, states = getattr(torch, kind), state.get(kind, [])
        if len(states) != len(_device_states(module)):
            continue  # saved on a machine with other devices
        for index, device_state in enumerate(states):
            module.set_rng_state(device_state, *([index] if kind != "mps" else []))
