"""What an optimizer section demands: a known optimizer and the parameters that it has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ultra_core import blocks, optimizers
from ultra_core.contracts import SEED_ROLES
from ultra_core.errors import UltraError
from ultra_optim.contract.traits import OptimizerTraits, traits_of
from ultra_optim.roles.preset_keys import Parsed, parse_parameters
from ultra_train.config.optimizer import OptimizerConfig, OptimizerKeys, flat_key, from_flat
from ultra_train.config.optimizer_flat import beside
from ultra_train.config.suggestions import place_of_no_parameter

Path = tuple[str | int, ...]


def read(optimizer: OptimizerConfig, pattern: tuple[str, ...], *, bare: bool = False) -> Parsed:
    """Return what the parameters of an optimizer section mean.

    Args:
        optimizer: the section.
        pattern: names of the blocks, whose roles may have rates of their own.
        bare: keys may do without the name of the optimizer.

    Raises:
        PluginError: the optimizer is unknown or cannot be imported.
    """
    known = roles(pattern) | set(SEED_ROLES)
    return parse_parameters(optimizer.optimizer_class, optimizer.parameters, roles=known, bare=bare)


def own_words(optimizer: OptimizerConfig, pattern: tuple[str, ...], *, bare: bool = False) -> OptimizerConfig:
    """Return an optimizer section without faults by the optimizer's own names, with complete values."""
    return OptimizerConfig(
        optimizer_class=optimizers.canonical(optimizer.optimizer_class)[0],
        parameters=read(optimizer, pattern, bare=bare).canonical,
    )


def chosen(keys: OptimizerKeys, pattern: tuple[str, ...]) -> OptimizerConfig | None:
    """Return the optimizer that a preset without faults names in either spelling; None when it names none."""
    if keys.optimizer is None:
        return from_flat(keys)
    section = own_words(keys.optimizer, pattern)
    return beside(keys, section, read(section, pattern)).optimizer


def optimizer_faults(
    optimizer: OptimizerConfig, path: Path, *, flat: bool, pattern: tuple[str, ...], bare: bool = False
) -> Iterator[tuple[Path, str]]:
    """Yield every fault of an optimizer section, or of the flat keys that were rewritten into one.

    Args:
        optimizer: the canonical spelling.
        path: where it stands; ``training`` for the flat spelling.
        flat: the file has the flat spelling: faults point at its keys.
        pattern: names of the blocks, whose roles may have rates of their own.
        bare: keys may do without the name of the optimizer.
    """
    name = optimizer.optimizer_class
    try:
        parsed = read(optimizer, pattern, bare=bare)
    except UltraError as error:
        yield (*path, "use_galore" if flat and name != "adamw" else "optimizer_class"), str(error)
        return
    for key, message in parsed.faults:
        if flat:
            yield (*path, flat_key(key)), message
        else:
            place = place_of_no_parameter(key)
            yield (*path, "parameters", key), f"{message}; did you mean {place}?" if place else message


def roles(pattern: tuple[str, ...]) -> frozenset[str]:
    """Return the roles that parameters of these blocks have, beside embeddings, norms and other."""
    found = {"embeddings", "norms", "other"}
    known = blocks.spellings()
    for name in {name for name in pattern if name.rpartition(":")[2] in known}:
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
