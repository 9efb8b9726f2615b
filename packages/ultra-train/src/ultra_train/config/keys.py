"""How one key of a preset is declared: its type, default and help text."""

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
    spelling: bool = False,
    aliases: tuple[str, ...] = (),
    any_case: bool = False,
) -> Any:
    """Declare a key of a preset.

    Args:
        default: the value when the preset leaves the key out; without one the key is required.
        help: one sentence for the schema and the documentation.
        factory: makes the default, for a section.
        spelling: the key is another spelling of a canonical one, into which loading rewrites it.
        aliases: other names of the key.
        any_case: the choices are a library's enumeration and may be written in any case.
    """
    metadata: dict[str, Any] = {"help": help, "spelling": spelling}
    metadata |= {"aliases": aliases, "any_case": any_case}
    if factory is not None:
        return attrs.field(factory=factory, metadata=metadata)
    return attrs.field(default=default, metadata=metadata)
