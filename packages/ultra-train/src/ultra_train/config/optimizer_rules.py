"""What an optimizer section demands: a known optimizer and the parameters that it has."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from ultra_core import blocks, optimizers
from ultra_core.errors import UltraError, did_you_mean, listed
from ultra_core.options import check_options, read_options
from ultra_core.params import SEED_ROLES
from ultra_train.config.optimizer import FLAT_DEFAULTS, OptimizerConfig

Path = tuple[str | int, ...]

ALIASES = {"wd": "weight_decay"}
"""What a preset calls a hyperparameter -> what the constructor calls it."""


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
        plugin = optimizers.get(name)
        options = [key for key, option in read_options(plugin).items() if option.settable]
    except UltraError as error:
        yield (*path, "use_galore" if flat and name != "adamw" else "optimizer_class"), str(error)
        return
    known = roles(pattern) | set(SEED_ROLES)
    for key, value in optimizer.parameters.items():
        where: Path = (*path, _flat_key(key)) if flat else (*path, "parameters", key)
        split = split_parameter(key, name, options, known)
        if isinstance(split, str):
            yield where, split
        else:
            for message in check_options(name, plugin, {split[0]: value}).values():
                yield where, message


def split_parameter(
    key: str, name: str, options: Collection[str], known: Collection[str]
) -> tuple[str, str | None] | str:
    """Return (hyperparameter, role or None) of a prefixed key, or a message that says what is wrong.

    ``muon-lr`` is the hyperparameter ``lr``; ``muon-lr_norms`` is ``lr`` of the role ``norms``; ``wd`` is
    ``weight_decay``.
    """
    short = name.rpartition(":")[2]
    prefix = f"{short}-"
    if not key.startswith(prefix):
        rest = key.partition("-")[2] or key
        return f"parameters of {short} start with {prefix!r}; did you mean {prefix + rest!r}?"
    rest = key.removeprefix(prefix)
    spelled = {**{option: option for option in options}, **{a: o for a, o in ALIASES.items() if o in options}}
    for spelling in sorted(spelled, key=len, reverse=True):
        if rest == spelling:
            return spelled[spelling], None
        if rest.startswith(f"{spelling}_") and rest.removeprefix(f"{spelling}_") in known:
            return spelled[spelling], rest.removeprefix(f"{spelling}_")
    hint = did_you_mean(
        key, [prefix + s for s in spelled] + [f"{prefix}{s}_{r}" for s in spelled for r in known]
    )
    return (
        f"{short} has no parameter {rest!r}.{hint} Its parameters: {listed(sorted(spelled))}; "
        f"each also with _ROLE: {listed(sorted(known))}"
    )


def _flat_key(key: str) -> str:
    rest = key.partition("-")[2]
    return rest if rest.partition("_")[0] in FLAT_DEFAULTS else f"galore_{rest}"


def roles(pattern: tuple[str, ...]) -> frozenset[str]:
    """Return the roles that parameters of these blocks have, beside embeddings, norms and other."""
    found = {getattr(blocks.get(name), "role", "other") for name in pattern if name in blocks}
    return frozenset(found | {"embeddings", "norms", "other"})


def traits(optimizer: OptimizerConfig) -> Any:
    """Return the traits of an optimizer; those of none in particular where it is not installed."""
    from ultra_optim.traits import OptimizerTraits, traits_of

    try:
        return traits_of(optimizers.get(optimizer.optimizer_class))
    except UltraError:
        return OptimizerTraits()
