"""Optimizer keys of presets, read into options of the optimizer and of the roles."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import attrs

from ultra_core import optimizers
from ultra_core.errors import did_you_mean, listed
from ultra_core.options import check_options, read_options
from ultra_core.params import SEED_ROLES

ALIASES: dict[str, str] = {"wd": "weight_decay"}
"""Short names of hyperparameters in presets."""

FLAT_NAMES: dict[str, str] = {"lr": "lr", "wd": "weight_decay", "betas": "betas", "eps": "eps"}
"""The hyperparameters of the flat spelling ``lr_embeddings``, and what AdamW calls them."""

FLAT_DEFAULTS: dict[str, dict[str, Any]] = {
    role: {"lr": lr, "weight_decay": wd, "betas": (0.9, 0.95), "eps": 1e-8}
    for role, lr, wd in (
        ("embeddings", 1e-6, 0.01),
        ("norms", 5e-6, 0.001),
        ("ode", 1e-7, 0.01),
        ("retnet", 5e-6, 0.01),
        ("mamba", 2e-6, 0.01),
        ("attention", 3e-6, 0.01),
        ("other", 2e-6, 0.01),
    )
}
"""What a role has in the flat spelling unless the preset says otherwise."""


@attrs.define
class Parsed:
    """What the keys of a preset mean.

    ``options`` go to the optimizer, ``roles`` to ``param_groups`` or ``build``; ``faults`` are pairs of the
    key and what is wrong with it. What is at fault is in neither of the others.
    """

    options: dict[str, Any] = attrs.field(factory=dict)
    roles: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    faults: list[tuple[str, str]] = attrs.field(factory=list)

    def __iter__(self) -> Any:
        return iter((self.options, self.roles, self.faults))


def parse_parameters(
    name: str, parameters: Mapping[str, Any], *, roles: Collection[str] = SEED_ROLES
) -> Parsed:
    """Read ``<optimizer>-<hyperparameter>`` and ``<optimizer>-<hyperparameter>_<role>`` keys.

    ::

        parse_parameters("adamw", {"adamw-lr": 1e-4, "adamw-wd_norms": 0.001})
        # options {"lr": 1e-4}, roles {"norms": {"weight_decay": 0.001}}, no faults

    Values are checked against the optimizer's constructor signature. The longest hyperparameter that a key
    starts with wins; what follows must be a role.

    Args:
        name: a registered optimizer, also as ``distribution:name``; keys start with the bare name.
        parameters: the mapping under ``optimizer.parameters``.
        roles: the roles that exist, those that blocks bring included.

    Raises:
        PluginError: the optimizer is unknown or cannot be imported.
    """
    cls = optimizers.get(name)
    prefix = name.rpartition(":")[2]
    hyperparameters = {n: n for n, option in read_options(cls).items() if option.settable}
    hyperparameters |= {short: full for short, full in ALIASES.items() if full in hyperparameters}
    parsed = Parsed()
    first: dict[tuple[str, str], str] = {}
    for key, value in parameters.items():
        bare, problem = _strip(key, prefix, hyperparameters, roles)
        match = None if problem else _split(bare, hyperparameters, roles)
        if match is None:
            parsed.faults.append((key, problem or _unknown(bare, prefix, hyperparameters, roles)))
            continue
        option, role = hyperparameters[match[0]], match[1]
        if (option, role) in first:
            parsed.faults.append((key, f"says the same as {first[option, role]!r}; keep one of them"))
            continue
        first[option, role] = key
        if message := check_options(prefix, cls, {option: value}).get(option):
            parsed.faults.append((key, message))
        elif role:
            parsed.roles.setdefault(role, {})[option] = _plain(value)
        else:
            parsed.options[option] = _plain(value)
    return parsed


def _strip(
    key: str, prefix: str, hyperparameters: Collection[str], roles: Collection[str]
) -> tuple[str, str | None]:
    """Return the key without ``<optimizer>-``, and what is wrong with its prefix."""
    given, dash, bare = key.partition("-")
    if dash and given == prefix:
        return bare, None
    bare = bare if dash else key
    if _split(bare, hyperparameters, roles):
        advice = f"write '{prefix}-{bare}'"
    else:
        advice = f"the hyperparameters of {prefix} are {listed(sorted(hyperparameters))}"
    return bare, f"keys start with the name of the optimizer, '{prefix}-'; {advice}"


def _split(bare: str, hyperparameters: Collection[str], roles: Collection[str]) -> tuple[str, str] | None:
    """Return (hyperparameter, role or ""), the longest hyperparameter first."""
    for name in sorted(hyperparameters, key=len, reverse=True):
        if bare == name:
            return name, ""
        if bare.startswith(f"{name}_") and bare[len(name) + 1 :] in roles:
            return name, bare[len(name) + 1 :]
    return None


def _unknown(bare: str, prefix: str, hyperparameters: Collection[str], roles: Collection[str]) -> str:
    for name in sorted(hyperparameters, key=len, reverse=True):
        if bare.startswith(f"{name}_"):
            role = bare[len(name) + 1 :]
            return f"unknown role {role!r}.{did_you_mean(role, roles)} Roles: {listed(sorted(roles))}"
    close = [f"{prefix}-{name}" for name in hyperparameters]
    return (
        f"{prefix} has no hyperparameter {bare!r}.{did_you_mean(f'{prefix}-{bare}', close)} "
        f"Its hyperparameters: {listed(sorted(hyperparameters))}"
    )


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else value
