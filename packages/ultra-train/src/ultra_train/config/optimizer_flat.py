"""Flat optimizer keys beside an optimizer section: what they add, and where the two disagree."""

from __future__ import annotations

from typing import Any

import attrs

from ultra_optim.roles.preset_keys import FLAT_NAMES, Parsed
from ultra_train.config.optimizer import GALORE_KEYS, RATE_KEYS, OptimizerConfig, OptimizerKeys

GALORE = "galore_adamw"
FLAT = (GALORE, "adamw")
"""The optimizers that the flat spelling can name."""


@attrs.frozen
class Beside:
    """An optimizer section and the flat keys beside it.

    Attributes:
        optimizer: the section with what flat keys add to it.
        faults: flat keys that say something else, each with the reason.
        added: flat keys that say more, each with the parameter that it becomes.
    """

    optimizer: OptimizerConfig
    faults: tuple[tuple[str, str], ...]
    added: dict[str, str]


def beside(keys: OptimizerKeys, section: OptimizerConfig, parsed: Parsed) -> Beside:
    """Compare flat keys with the section beside them, which says the same, or less of GaLore.

    Args:
        keys: the flat keys.
        section: the section, by the optimizer's own names.
        parsed: what its parameters mean.
    """
    name = section.optimizer_class.rpartition(":")[2]
    faults: list[tuple[str, str]] = []
    added: dict[str, Any] = {}
    galore = bool(keys.use_galore)
    if galore and name != GALORE:
        galore = False
        faults.append(
            (
                "use_galore",
                f"use_galore: true means {GALORE}, and training.optimizer names {name}; use one of the two",
            )
        )
    foreign = []
    for key in (*RATE_KEYS, *(GALORE_KEYS if galore else ())):
        given = getattr(keys, key)
        if given is None:
            continue
        said = _said(key, parsed) if name in FLAT else None
        if said is None and key in GALORE_KEYS:
            added[key] = given
        elif said is None or said != given:
            foreign.append(key)
    if foreign:
        more = f" (and {len(foreign) - 1} more flat keys)" if len(foreign) > 1 else ""
        faults.append(
            (
                foreign[0],
                f"{foreign[0]}{more} is the flat spelling and training.optimizer the other one; "
                "use one of the two",
            )
        )
    becomes = {key: f"{name}-{key.removeprefix('galore_')}" for key in added}
    more_parameters = {becomes[key]: value for key, value in added.items()}
    whole = attrs.evolve(section, parameters={**section.parameters, **more_parameters})
    return Beside(whole, tuple(faults), becomes)


def _said(key: str, parsed: Parsed) -> Any:
    """Return what a section says of a role or of GaLore where a flat key could say it; None for nothing.

    What it says of all parameters is something else: the roles that flat keys leave out have defaults.
    """
    if key in GALORE_KEYS:
        return parsed.options.get(key.removeprefix("galore_"))
    short, _, role = key.partition("_")
    return parsed.roles.get(role, {}).get(FLAT_NAMES[short])
