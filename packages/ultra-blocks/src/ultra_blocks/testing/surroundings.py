"""Rules about the process around a plugin: its random generators and its settings stay as they are."""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ultra_blocks.layout import Layout
from ultra_blocks.testing.cases import Case, gradients, output, takes_columns
from ultra_blocks.testing.construction import BLOCK_RULES, FFN_RULES
from ultra_blocks.testing.dropout import without_dropout
from ultra_blocks.testing.seeding import seeded
from ultra_core.testing import Finding

TORCH_GENERATOR = "torch's random generator"

SHAPES = ((2, 9), (1, 150))


Access = tuple[Callable[[], Any], Callable[[Any], Any]]
"""How to read and how to restore a setting."""


def _accesses() -> dict[str, Access]:
    """Return access to what plugins have no business with, by name."""
    found: dict[str, Access] = {
        TORCH_GENERATOR: (torch.get_rng_state, torch.set_rng_state),
        "the generator of random": (random.getstate, random.setstate),
        "the grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),
        "the default dtype": (torch.get_default_dtype, torch.set_default_dtype),
        "deterministic algorithms": (
            torch.are_deterministic_algorithms_enabled,
            torch.use_deterministic_algorithms,
        ),
        "the number of threads": (torch.get_num_threads, torch.set_num_threads),
        "autocast": (
            lambda: torch.is_autocast_enabled("cpu"),
            lambda on: torch.set_autocast_enabled("cpu", on),
        ),
        "the precision of fp32 products": (
            torch.get_float32_matmul_precision,
            torch.set_float32_matmul_precision,
        ),
        "anomaly detection": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    }
    if (numpy := sys.modules.get("numpy")) is not None:
        found["numpy's random generator"] = (numpy.random.get_state, numpy.random.set_state)
    return found


@contextmanager
def _unchanged(doing: str, *, draws: bool = False) -> Iterator[None]:
    """Raise a finding if something changes inside, and restore it; ``draws``: but for torch's generator."""
    accesses = _accesses()
    saved = {name: read() for name, (read, _) in accesses.items()}
    try:
        random.random()  # so that seeding again with the same seed is a change
        torch.rand(1)
        before = {name: read() for name, (read, _) in accesses.items()}
        yield
        after = {name: read() for name, (read, _) in accesses.items()}
    finally:
        for name, (_, restore) in accesses.items():
            restore(saved[name])
    for name, value in before.items():
        if _bytes(after[name]) != _bytes(value) and not (draws and name == TORCH_GENERATOR):
            short = f" from {value} to {after[name]}" if len(str(value)) < 40 else ""
            raise Finding(f"{doing} changes {name}{short}")


def _bytes(value: Any) -> bytes:
    """Return a setting, or the long state of a generator, in a form that can be compared."""
    return value.numpy().tobytes() if isinstance(value, Tensor) else pickle.dumps(value)


def surroundings_stay(case: Case) -> None:
    """Random generators and settings of the process stay as they are.

    Evaluation, and training without dropout, leave the random generators of torch, numpy and Python where
    they are. The constructor and dropout draw from torch's generator, and never seed it. Grad mode, default
    dtype, autocast, threads and deterministic algorithms are settings of the user.

    Fix: seed a generator of your own where you need fixed numbers (``torch.Generator().manual_seed(0)``), and
    use context managers, which restore a setting (``with torch.no_grad():``).
    """
    none = without_dropout(case)
    with _unchanged("the constructor", draws=True):
        module = case.cls(**case.arguments(**none)).double()
    for mode in ("evaluation", "training without dropout"):
        module.train(mode != "evaluation")
        for x, layout in _inputs(case):
            leaf = x.clone().requires_grad_()
            with _unchanged(f"a forward pass in {mode}"):
                y = output(module, leaf, layout)
            with _unchanged(f"a backward pass in {mode}"):
                gradients(y, torch.ones_like(y), [leaf, *module.parameters()])
            with torch.no_grad(), _unchanged(f"a forward pass in {mode}, under no_grad,"):
                output(module, x, layout)
    _check_seeding("the constructor", lambda: case.cls(**case.arguments(**none)))
    if none:
        half: dict[str, Any] = dict.fromkeys(none, 0.5)
        dropping = case.build(**half).train()
        (x, layout), *_ = _inputs(case)
        with _unchanged("a forward pass in training with dropout", draws=True):
            output(dropping, x, layout)
        _check_seeding("a forward pass in training with dropout", lambda: output(dropping, x, layout))


def _inputs(case: Case) -> list[tuple[Tensor, Layout | None]]:
    g = torch.Generator().manual_seed(31)
    found: list[tuple[Tensor, Layout | None]] = []
    for shape in SHAPES:
        x = torch.randn(*shape, case.hidden_size, generator=g, dtype=torch.float64)
        mask = torch.ones(shape, dtype=torch.bool)
        mask[0, -3:] = False
        found += [(x, None), (x, Layout.from_mask(mask))]
    return found


def _check_seeding(doing: str, act: Any) -> None:
    """Raise a finding if the random numbers after an action are the same for two seeds before it."""
    after = []
    for seed in (1, 2):
        with seeded(seed):
            act()
            after.append(torch.rand(8))
    if torch.equal(*after):
        raise Finding(f"{doing} seeds torch's random generator: the same numbers follow after any seed")


BLOCK_RULES("B24", least="quick", unless=takes_columns(150))(surroundings_stay)
FFN_RULES("F11")(surroundings_stay)
