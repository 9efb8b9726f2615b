"""Optimizer keys of presets, parsed into options of the optimizer and of its roles."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import attrs

from ultra_core import optimizers
from ultra_core.contracts import SEED_ROLES
from ultra_core.plugins.signatures import check_options
from ultra_optim.roles.option_names import OptionNames

FLAT_NAMES: dict[str, str] = {"lr": "lr", "wd": "weight_decay", "betas": "betas", "eps": "eps"}
"""Hyperparameters in the flat spelling ``lr_embeddings``, and their names in AdamW."""

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
"""Defaults of each role in the flat spelling."""

MAX_SUGGESTIONS = 200
"""Number of faults after which no similar names are searched for, which would take minutes."""


@attrs.define
class Parsed:
    """The meaning of the optimizer keys of a preset.

    ``options`` are for the optimizer, ``roles`` for ``param_groups`` or ``build``; ``faults`` are pairs of a
    key and what is wrong with it. Keys with faults are in neither of the others.

    Attributes:
        options: options of the optimizer.
        roles: options of each role.
        faults: invalid keys, each with the reason.
        canonical: the keys under their canonical names, with complete values, without idle keys.
        idle: keys that are accepted for every optimizer and have no effect in this one.
        renamed: other names of keys, each with the canonical key.
        completed: keys whose value had missing numbers, each with the complete value.
    """

    options: dict[str, Any] = attrs.field(factory=dict)
    roles: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    faults: list[tuple[str, str]] = attrs.field(factory=list)
    canonical: dict[str, Any] = attrs.field(factory=dict)
    idle: list[str] = attrs.field(factory=list)
    renamed: dict[str, str] = attrs.field(factory=dict)
    completed: dict[str, Any] = attrs.field(factory=dict)

    def __iter__(self) -> Any:
        return iter((self.options, self.roles, self.faults))


def parse_parameters(
    name: str, parameters: Mapping[str, Any], *, roles: Collection[str] = SEED_ROLES, bare: bool = False
) -> Parsed:
    """Parse ``<optimizer>-<hyperparameter>`` and ``<optimizer>-<hyperparameter>_<role>`` keys.

    ::

        parse_parameters("adamw", {"adamw-lr": 1e-4, "adamw-wd_norms": 0.001})
        # options {"lr": 1e-4}, roles {"norms": {"weight_decay": 0.001}}, no faults

    Values are checked against the constructor signature of the optimizer. The exact name of a hyperparameter
    wins over a shorter one with a role; otherwise the longest hyperparameter that a key starts with wins, and
    the rest must be a role. Aliases that the optimizer declares are read as their options. Values with fewer
    numbers than the option are completed from the value for all parameters, or from the defaults. ``lr``,
    ``wd``, ``betas`` and ``eps`` have no effect where the method does not have them.

    Args:
        name: a registered optimizer, also as ``distribution:name`` or by an alias; keys start with the name
            alone.
        parameters: the mapping under ``optimizer.parameters``.
        roles: the roles that exist, including those of blocks.
        bare: whether keys may omit the name of the optimizer.

    Raises:
        PluginError: the optimizer is unknown or cannot be imported.
    """
    names, prefixes = _names(name, roles)
    parsed = Parsed()
    found: dict[tuple[str, str], list[_Written]] = {}
    for key, value in parameters.items():
        rest, problem = names.strip(key, prefixes, bare)
        if problem:
            parsed.faults.append((key, problem))
        elif split := names.split(rest):
            alias = names.names[split[0]]
            same = found.setdefault((alias.of, split[1]), [])
            if any(None in (alias.part, other.part) or alias.part == other.part for other in same):
                parsed.faults.append((key, f"sets the same option as {same[0].key!r}; keep one of them"))
            else:
                converted = alias.convert(value) if alias.convert else value
                same.append(_Written(key, split[0], alias.part, value, converted))
        elif split := names.split_idle(rest, bare):
            if problem := names.idle_problem(split[0], value):
                parsed.faults.append((key, problem))
            else:
                parsed.idle.append(key)
        else:
            parsed.faults.append((key, names.unknown(rest, compare=len(parsed.faults) < MAX_SUGGESTIONS)))
    for (option, role), parts in sorted(found.items(), key=_of_a_role):
        _place(parsed, names, option, role, parts)
    return parsed


def displaced(
    name: str, keys: Collection[str], over: Mapping[str, Any], *, roles: Collection[str], bare: bool = False
) -> set[str]:
    """Return the keys that overrides replace: other names of the options they set, and those set to null.

    Args:
        name: the optimizer.
        keys: the keys of the file and of the overrides.
        over: the overrides and their values.
        roles: the roles that exist.
        bare: whether keys may omit the name of the optimizer.

    Raises:
        PluginError: the optimizer is unknown or cannot be imported.
    """
    names, prefixes = _names(name, roles)

    def meaning(key: str) -> tuple[str, int | None, str] | None:
        rest, problem = names.strip(key, prefixes, bare)
        split = None if problem else names.split(rest)
        return (names.names[split[0]].of, names.names[split[0]].part, split[1]) if split else None

    found = set()
    meant = {key: meaning(key) for key in keys}
    for key, value in over.items():
        if (what := meant[key]) is None:
            continue
        found |= {k for k in keys if k not in over and meant[k] == what}
        if value is None and check_options(names.prefix, names.cls, {what[0]: None}):
            found.add(key)
    return found


def _names(name: str, roles: Collection[str]) -> tuple[OptionNames, set[str]]:
    """Return the names of the options of an optimizer, and the prefixes that keys may have."""
    own, _ = optimizers.canonical(name)
    names = OptionNames(own.rpartition(":")[2], optimizers.get(name), roles)
    return names, {names.prefix, name.rpartition(":")[2], *optimizers.aliases(own)}


@attrs.frozen
class _Written:
    """A key of a preset: the name of the option in it, the part of the option that it sets, its value."""

    key: str
    name: str
    part: int | None
    value: Any
    converted: Any


def _of_a_role(item: tuple[tuple[str, str], Any]) -> bool:
    """Whether keys set an option of one role; those for all parameters are parsed first, to complete them."""
    return item[0][1] != ""


def _place(parsed: Parsed, names: OptionNames, option: str, role: str, parts: list[_Written]) -> None:
    """Check the value that some keys give to an option, and store it."""
    first = parts[0]
    default = parsed.options.get(option, names.options[option].default)
    if first.part is None:
        value = names.complete(option, first.converted, default)
    else:
        value = list(default)
        for written in parts:
            value[written.part or 0] = written.converted
    if message := check_options(names.prefix, names.cls, {option: value}).get(option):
        parsed.faults += [(written.key, message) for written in parts]
        return
    target = parsed.roles.setdefault(role, {}) if role else parsed.options
    target[option] = tuple(value) if isinstance(value, (list, tuple)) else value
    name = first.name if first.name in names.spelled else option
    canonical = f"{names.prefix}-{name}{'_' + role if role else ''}"
    parsed.canonical[canonical] = list(value) if isinstance(value, tuple) else value
    for written in parts:
        _note_renaming(parsed, written.key, canonical)
    if first.part is not None or value != first.value:
        parsed.completed[canonical] = parsed.canonical[canonical]


def _note_renaming(parsed: Parsed, key: str, canonical: str) -> None:
    """Record the canonical name of a key; once for all keys if only the name of the optimizer differs."""
    prefix, dash, rest = key.partition("-")
    own, _, name = canonical.partition("-")
    if dash and rest == name and prefix != own:
        parsed.renamed[f"{prefix}-*"] = f"{own}-*"
    elif key != canonical:
        parsed.renamed[key] = canonical
