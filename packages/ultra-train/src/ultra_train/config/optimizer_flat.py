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
class FlatComparison:
    """An optimizer section and the flat keys beside it.

    Attributes:
        optimizer: the section with the additions of the flat keys.
        faults: flat keys that contradict the section, each with the reason.
        added: flat keys that add to the section, each with the parameter that it becomes.
    """

    optimizer: OptimizerConfig
    faults: tuple[tuple[str, str], ...]
    added: dict[str, str]


def compare_flat_keys(keys: OptimizerKeys, section: OptimizerConfig, parsed: Parsed) -> FlatComparison:
    """Compare flat keys with the section beside them, which may say the same, or less about GaLore.

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
        said = _value_in_section(key, parsed) if name in FLAT else None
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
    return FlatComparison(whole, tuple(faults), becomes)


def _value_in_section(key: str, parsed: Parsed) -> Any:
    """Return the value in a section for what a flat key sets; None when the section does not set it.

    A value for all parameters is not one for a role: the roles that flat keys leave out have defaults.
    """
    if key in GALORE_KEYS:
        return parsed.options.get(key.removeprefix("galore_"))
    short, _, role = key.partition("_")
    return parsed.roles.get(role, {}).get(FLAT_NAMES[short])
