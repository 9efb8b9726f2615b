"""What a preset may call the options of an optimizer beside their own names; declared in its class.

::

    class Sophia(Optimizer):
        option_aliases: ClassVar[Mapping[str, OptionAlias]] = {"update_k": OptionAlias("update_period")}
        idle_options: ClassVar[Mapping[str, str]] = {"bias_correction": "the method has none"}
        implied_options: ClassVar[Mapping[str, Implied]] = {"rank": Implied((1,), "the rank is 1")}

All are inherited. ``idle_options`` are accepted and do nothing; each says why. ``implied_options`` are
accepted with the values that say what the method does anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs


@attrs.frozen
class OptionAlias:
    """What another name of an option stands for.

    Attributes:
        of: the option.
        part: the position of the value where the option is a list; None for the whole option.
        convert: what makes the option's value of the one that is written.
    """

    of: str
    part: int | None = None
    convert: Callable[[Any], Any] | None = None


@attrs.frozen
class Implied:
    """An option of others that is no choice here.

    Attributes:
        values: what may be written: what is so in any case.
        why: what is so, in words.
    """

    values: tuple[Any, ...]
    why: str


def negative(value: Any) -> Any:
    """Return a number with the sign of an exponent that falls: the convention of others is a positive one."""
    return -value if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 else value


def written(value: Any) -> str:
    """Return a value as YAML writes it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
