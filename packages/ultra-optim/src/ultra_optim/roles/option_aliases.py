"""Other names that presets may use for the options of an optimizer, which its class declares.

::

    class Sophia(Optimizer):
        option_aliases: ClassVar[Mapping[str, OptionAlias]] = {"update_k": OptionAlias("update_period")}
        idle_options: ClassVar[Mapping[str, str]] = {"bias_correction": "the method has none"}
        implied_options: ClassVar[Mapping[str, Implied]] = {"rank": Implied((1,), "the rank is 1")}

All are inherited. ``idle_options`` are accepted without effect; each says why. ``implied_options`` are
accepted with the values that describe what the method always does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs


@attrs.frozen
class OptionAlias:
    """Another name of an option.

    Attributes:
        of: the option.
        part: the position of the value in an option that is a list; None for the whole option.
        convert: a function from the written value to the value of the option.
    """

    of: str
    part: int | None = None
    convert: Callable[[Any], Any] | None = None


@attrs.frozen
class Implied:
    """An option of other implementations that has a fixed value here.

    Attributes:
        values: values that are accepted because they describe what the method does.
        why: an explanation.
    """

    values: tuple[Any, ...]
    why: str


def negative(value: Any) -> Any:
    """Return a number with a negative sign; other implementations write the exponent as positive."""
    return -value if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 else value


def written(value: Any) -> str:
    """Return a value as YAML writes it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
