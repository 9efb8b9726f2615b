"""The schedule ``plugin_name``: inverse square root with a linear decay at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from ultra_core.contracts import Range
from ultra_core.errors import UltraError
from ultra_core.plugins.signatures import require


def plugin_function(
    total_steps: Annotated[int, Range(min=1)],
    warmup_steps: Annotated[int, Range(min=0)] = 0,
    decay_ratio: Annotated[float, Range(min=0, max=1)] = 0.2,
    min_ratio: Annotated[float, Range(min=0, max=1)] = 0.0,
) -> Callable[[int], float]:
    """Warm up linearly, fall with the inverse square root of the step, and decay linearly at the end.

    ``factor = sqrt((warmup + 1) / (step + 1))`` after the warm-up, but at least ``min_ratio``; then a line to
    ``min_ratio`` at ``total_steps``. Steps beyond the end have the last factor.

    Args:
        total_steps: number of updates of the run.
        warmup_steps: number of updates of the warm-up, included in the total.
        decay_ratio: length of the decay as a fraction of the total; a long warm-up shortens it.
        min_ratio: the final factor.

    Raises:
        UltraError: the warm-up is longer than the run.
        ValueError: a number is out of range.

    Reference: Zhai, Kolesnikov, Houlsby, Beyer 2021, "Scaling Vision Transformers", arXiv:2106.04560.
    Differs from the paper: the decay is a fraction of the run.
    """
    require(
        plugin_function,
        total_steps=total_steps,
        warmup_steps=warmup_steps,
        decay_ratio=decay_ratio,
        min_ratio=min_ratio,
    )
    if warmup_steps > total_steps:
        raise UltraError(f"plugin_name: warmup_steps {warmup_steps} exceeds total_steps {total_steps}")
    decay_start = max(warmup_steps, total_steps - round(decay_ratio * total_steps))

    def before_the_decay(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        return max(min_ratio, float(((warmup_steps + 1) / (step + 1)) ** 0.5))

    def factor(step: int) -> float:
        if step < decay_start:
            return before_the_decay(step)
        if step >= total_steps:
            return min_ratio
        progress = (step - decay_start) / (total_steps - decay_start)
        return min_ratio + (before_the_decay(decay_start) - min_ratio) * (1 - progress)

    return factor
