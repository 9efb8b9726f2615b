"""What an optimizer section demands: a known optimizer and the parameters that it has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ultra_core import blocks, optimizers
from ultra_core.errors import UltraError
from ultra_core.params import SEED_ROLES
from ultra_optim.preset import parse_parameters
from ultra_optim.traits import OptimizerTraits, traits_of
from ultra_train.config.optimizer import OptimizerConfig, flat_key

Path = tuple[str | int, ...]


def optimizer_faults(
    optimizer: OptimizerConfig, path: Path, *, flat: bool, pattern: tuple[str, ...]
) -> Iterator[tuple[Path, str]]:
    """Yield every fault of an optimizer section, or of the flat keys that were rewritten into one.

    Args:
        optimizer: the canonical spelling.
        path: where it stands; ``training`` for the flat spelling.
        flat: the file has the flat spelling: faults point at its keys.
        pattern: names of the blocks, whose roles may have rates of their own.
    """
    name = optimizer.optimizer_class
    try:
        parsed = parse_parameters(name, optimizer.parameters, roles=roles(pattern) | set(SEED_ROLES))
    except UltraError as error:
        yield (*path, "use_galore" if flat and name != "adamw" else "optimizer_class"), str(error)
        return
    for key, message in parsed.faults:
        yield (*path, flat_key(key)) if flat else (*path, "parameters", key), message


def roles(pattern: tuple[str, ...]) -> frozenset[str]:
    """Return the roles that parameters of these blocks have, beside embeddings, norms and other."""
    found = {"embeddings", "norms", "other"}
    for name in pattern:
        try:
            found.add(getattr(blocks.get(name), "role", "other"))
        except UltraError:
            continue  # the rule about the pattern says so
    return frozenset(found)


def traits(optimizer: OptimizerConfig) -> Any:
    """Return the traits of an optimizer; those of none in particular where it is not installed."""
    try:
        return traits_of(optimizers.get(optimizer.optimizer_class))
    except UltraError:
        return OptimizerTraits()
