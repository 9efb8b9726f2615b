"""A learning-rate schedule under test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from ultra_core.errors import UltraError


@attrs.frozen
class ScheduleCase:
    """A schedule factory under test, with options besides ``total_steps`` and ``warmup_steps``."""

    name: str
    factory: Callable[..., Callable[[int], float]]
    options: Mapping[str, Any] = attrs.field(factory=dict)

    def __str__(self) -> str:
        return self.name

    def build(self, total: int, warmup: int, **options: Any) -> Callable[[int], float]:
        """Return the schedule of a run of ``total`` updates, the first ``warmup`` of which are warm-up."""
        return self.factory(total_steps=total, warmup_steps=warmup, **{**self.options, **options})

    def fits(self, total: int, warmup: int) -> bool:
        """Whether the schedule takes a run of this length; a very short one may have no room for a decay."""
        try:
            self.build(total, warmup)
        except (UltraError, ValueError):
            if total >= 1000:
                raise
            return False
        return True

    def factors(self, total: int, warmup: int, **options: Any) -> list[float]:
        """Return the factors of all updates of a run, and of the one after its last."""
        return list(map(self.build(total, warmup, **options), range(total + 1)))
