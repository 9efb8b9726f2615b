"""How one key of a preset is declared: its type, default, help text, and which runs read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import attrs

from ultra_core.contracts import Range

Count = Annotated[int, Range(min=1)]
Natural = Annotated[int, Range(min=0)]
Positive = Annotated[float, Range(gt=0)]
NonNegative = Annotated[float, Range(min=0)]
Fraction = Annotated[float, Range(min=0, max=1)]
Share = Annotated[float, Range(gt=0, lt=1)]
Celsius = Annotated[float, Range(min=1, max=150)]


def key(
    default: Any = attrs.NOTHING,
    help: str = "",
    *,
    factory: Callable[[], Any] | None = None,
    tasks: tuple[str, ...] = (),
    later: bool = False,
    spelling: bool = False,
    aliases: tuple[str, ...] = (),
    any_case: bool = False,
) -> Any:
    """Declare a key of a preset.

    Args:
        default: its value when the preset leaves it out; none means that it is required.
        help: one sentence for the schema and the documentation.
        factory: makes the default when that is a section.
        tasks: the tasks that read it; empty means all.
        later: accepted and typed, but nothing acts on it yet; a run that sets it says so.
        spelling: another spelling of a canonical key, into which loading rewrites it.
        aliases: other names of it.
        any_case: its choices are a library's enumeration, written in any case.
    """
    metadata: dict[str, Any] = {"help": help, "tasks": tasks, "later": later, "spelling": spelling}
    metadata |= {"aliases": aliases, "any_case": any_case}
    if factory is not None:
        return attrs.field(factory=factory, metadata=metadata)
    return attrs.field(default=default, metadata=metadata)
