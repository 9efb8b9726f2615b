"""Another optimizer in a preset: what is kept of the preset's own one, and what takes its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from ultra_core import optimizers
from ultra_core.config import Source
from ultra_core.errors import UltraError, listed
from ultra_optim.contract.traits import traits_of
from ultra_train.config.optimizer import FLAT_KEYS

OPTIMIZER = "training.optimizer.optimizer_class"
SCHEDULE = "training.scheduler_type"
_PARAMETERS = "training.optimizer.parameters."


@attrs.frozen
class CarryOver:
    """What makes a preset train with another optimizer.

    Attributes:
        overrides: ``KEY=VALUE`` settings that do it.
        notices: lines about what was left out or adapted.
    """

    overrides: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def carry_over(source: Source, wanted: str, given: Sequence[str]) -> CarryOver:
    """Return what puts an optimizer into a preset.

    The preset's own optimizer keeps its parameters. Any other one starts from its defaults, learning rate
    included: the numbers of one method mean something else in another. ``given`` may set parameters of it. A
    schedule that the optimizer refuses becomes ``constant``, unless ``given`` names the schedule; then
    loading refuses the combination.

    Args:
        source: the preset as written.
        wanted: the optimizer.
        given: the ``KEY=VALUE`` settings of the arm.
    """
    own = _own(source)
    if own is not None and optimizers.canonical(own)[0] == optimizers.canonical(wanted)[0]:
        return CarryOver()
    overrides = [f"training.optimizer={{optimizer_class: {wanted}}}"]
    training = source.get(("training",), {})
    flat = [key for key in FLAT_KEYS if isinstance(training, dict) and training.get(key) is not None]
    overrides += [f"training.{key}=null" for key in flat]
    notices = []
    if left := [*_parameters(source), *flat]:
        notices.append(f"it starts from the defaults of {wanted}, without the preset's {listed(left)}")
    scheduled = source.get(("training", "scheduler_type")) != "constant"
    named = any(item.startswith(f"{SCHEDULE}=") for item in given)
    if scheduled and not named and _replaces_schedule(wanted):
        overrides.append(f"{SCHEDULE}=constant")
        notices.append(f"{wanted} replaces a schedule, so its scheduler_type is constant")
    return CarryOver(tuple(overrides), tuple(notices))


def optimizer_of_key(key: str) -> str | None:
    """Return the optimizer whose parameter a dotted key is, by the name in it; None for any other key."""
    if not key.startswith(_PARAMETERS):
        return None
    prefix, dash, _ = key.removeprefix(_PARAMETERS).partition("-")
    return prefix if dash else None


def is_named(optimizer: str, prefix: str) -> bool:
    """Whether parameters with a prefix are those of an optimizer, by its name or an alias of it."""
    own = optimizers.canonical(optimizer)[0].rpartition(":")[2]
    return own == optimizers.canonical(prefix)[0].rpartition(":")[2]


def optimizer_of_preset(source: Source) -> str:
    """Return the optimizer that a preset names in either spelling; ``adamw`` where it names none."""
    return _own(source) or "adamw"


def _own(source: Source) -> str | None:
    named = source.get(("training", "optimizer", "optimizer_class"))
    if isinstance(named, str):
        return named
    training: Any = source.get(("training",), {})
    if not isinstance(training, dict) or all(training.get(key) is None for key in FLAT_KEYS):
        return None
    return "galore_adamw" if training.get("use_galore") else "adamw"


def _parameters(source: Source) -> list[str]:
    parameters = source.get(("training", "optimizer", "parameters"), {})
    return list(parameters) if isinstance(parameters, dict) else []


def _replaces_schedule(name: str) -> bool:
    try:
        return bool(traits_of(optimizers.get(name)).own_schedule)
    except UltraError:
        return False  # loading says what is wrong with the name
