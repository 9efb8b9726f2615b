"""Schedules with one fault each, and those without one that look like faults.

``MUTANTS`` has rows of the id of the rule that finds the fault, and the factory.
"""

import itertools
import math
import random
from collections.abc import Callable
from typing import Annotated, Any, Literal

from ultra_core.contracts import Range
from ultra_core.plugins.signatures import require

Factor = Callable[[int], float]


def warm(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / (warmup + 1))


def progress(step: int, start: int, end: int) -> float:
    return min(1.0, (step - start) / (end - start)) if end > start else 1.0


def half_cosine(x: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * x))


def half_cosine_after(total_steps: int, warmup_steps: int = 0) -> Factor:
    """The schedule that most of the others are, but for their fault."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return warm(step, warmup_steps)
        return half_cosine(progress(step, warmup_steps, total_steps))

    return factor


def as_in_transformers(total_steps: int, warmup_steps: int = 0) -> Factor:
    """Linear, from 0 in the first update on."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return step / warmup_steps
        return max(0.0, (total_steps - step) / max(1, total_steps - warmup_steps))

    return factor


def inverse_root(total_steps: int, warmup_steps: int = 0) -> Factor:
    """Without an end."""
    return lambda step: min(warm(step, warmup_steps), math.sqrt((warmup_steps + 1) / (step + 1)))


class Restarts:
    """A callable object, whose attributes ``LambdaLR`` saves; three falls in a run."""

    def __init__(self, total_steps: int, warmup_steps: int = 0) -> None:
        self.total_steps, self.warmup_steps = total_steps, warmup_steps

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return warm(step, self.warmup_steps)
        x = progress(step, self.warmup_steps, self.total_steps)
        return half_cosine((3 * x) % 1.0 if x < 1 else 1.0)


SOUND = (half_cosine_after, as_in_transformers, inverse_root, Restarts)


def no_arguments(steps: int) -> Factor:
    """Has other names for its arguments."""
    return lambda step: 1.0


def only_a_number(total_steps: int, warmup_steps: int = 0) -> Any:
    """Returns the factor of the first step."""
    return 1.0


def swallows_options(total_steps: int, warmup_steps: int = 0, **options: Any) -> Factor:
    """Hides its options."""
    return half_cosine_after(total_steps, warmup_steps)


def divides_by_zero(total_steps: int, warmup_steps: int = 0) -> Factor:
    """Fails when the run is all warm-up."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return warm(step, warmup_steps)
        return half_cosine(min(1.0, (step - warmup_steps) / (total_steps - warmup_steps)))

    return factor


def goes_below_zero(total_steps: int, warmup_steps: int = 0) -> Factor:
    """Falls on a line that does not end."""
    return lambda step: warm(step, warmup_steps) if step < warmup_steps else 1 - step / total_steps


def above_the_peak(total_steps: int, warmup_steps: int = 0) -> Factor:
    """Adds the floor instead of scaling to it."""
    factor = half_cosine_after(total_steps, warmup_steps)
    return lambda step: 0.1 + factor(step)


def a_tensor(total_steps: int, warmup_steps: int = 0) -> Any:
    """Computes with tensors."""
    import torch

    return lambda step: torch.tensor(warm(step, warmup_steps))


def half_the_peak(total_steps: int, warmup_steps: int = 0) -> Factor:
    """Ends its warm-up at half of the rate."""
    factor = half_cosine_after(total_steps, warmup_steps)
    return lambda step: 0.5 * factor(step)


def ends_early(total_steps: int, warmup_steps: int = 0) -> Factor:
    """Leaves the warm-up out of the length of the decay."""
    return half_cosine_after(max(total_steps - warmup_steps, warmup_steps), warmup_steps)


def forgets_the_total(total_steps: int, warmup_steps: int = 0) -> Factor:
    """Decays over 500 steps whatever the run."""
    return half_cosine_after(max(500, warmup_steps), warmup_steps)


def starts_high(total_steps: int, warmup_steps: int = 0) -> Factor:
    """Warms up from a half."""
    factor = half_cosine_after(total_steps, warmup_steps)
    return lambda step: max(0.5, factor(step)) if step < warmup_steps else factor(step)


def ends_the_warm_up_early(total_steps: int, warmup_steps: int = 0) -> Factor:
    """Is at the peak after half of the warm-up."""
    factor = half_cosine_after(total_steps, warmup_steps)
    return lambda step: min(1.0, 2 * warm(step, warmup_steps)) if step < warmup_steps else factor(step)


def decays_in_the_warm_up(total_steps: int, warmup_steps: int = 0) -> Factor:
    """Multiplies the warm-up with a decay that began with the run."""
    fast = half_cosine_after(max(1, total_steps // 4))
    return lambda step: warm(step, warmup_steps) * max(0.01, fast(step))


def rises_again(total_steps: int, warmup_steps: int = 0) -> Factor:
    """Follows the cosine beyond its end."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return warm(step, warmup_steps)
        return half_cosine((step - warmup_steps) / max(1, total_steps - warmup_steps))

    return factor


def misses_its_floor(total_steps: int, warmup_steps: int = 0, min_ratio: float = 0.0) -> Factor:
    """Counts the warm-up twice, so that the decay is not over at the end."""
    factor = half_cosine_after(total_steps + warmup_steps, 2 * warmup_steps)
    return lambda step: warm(step, warmup_steps) * (min_ratio + (1 - min_ratio) * factor(step))


def counts_calls(total_steps: int, warmup_steps: int = 0) -> Factor:
    """Counts its calls instead of reading the step."""
    calls, factor = itertools.count(), half_cosine_after(total_steps, warmup_steps)
    return lambda step: factor(next(calls))


def jitters(total_steps: int, warmup_steps: int = 0) -> Factor:
    """Draws from the global generator."""
    factor = half_cosine_after(total_steps, warmup_steps)
    return lambda step: factor(step) * (0.99 + 0.01 * random.random())


class KeepsItsState:
    """An object whose state is saved with the scheduler, and which counts in it."""

    def __init__(self, total_steps: int, warmup_steps: int = 0) -> None:
        self.factor = half_cosine_after(total_steps, warmup_steps)
        self.highest = 0

    def __call__(self, step: int) -> float:
        self.highest = max(self.highest, step)
        return self.factor(self.highest)


SHARED: dict[str, int] = {}


def remembers_the_last_run(total_steps: int, warmup_steps: int = 0) -> Factor:
    """Keeps the length of the run in its module."""
    SHARED["total"] = total_steps
    return lambda step: half_cosine_after(SHARED["total"], min(warmup_steps, SHARED["total"]))(step)


def an_option_without_effect(
    total_steps: int, warmup_steps: int = 0, shape: Literal["cosine", "linear"] = "cosine"
) -> Factor:
    """Accepts a shape and has one only."""
    return half_cosine_after(total_steps, warmup_steps)


def a_floor_that_is_none(
    total_steps: int, warmup_steps: int = 0, floor: Annotated[float, Range(min=0, max=1)] = 0.0
) -> Factor:
    """Compares with the floor the wrong way round."""
    require(a_floor_that_is_none, total_steps=total_steps, warmup_steps=warmup_steps, floor=floor)
    factor = half_cosine_after(total_steps, warmup_steps)
    return lambda step: factor(step) if factor(step) >= 0 else floor


def accepts_anything(
    total_steps: Annotated[int, Range(min=1)], warmup_steps: Annotated[int, Range(min=0)] = 0
) -> Factor:
    """Declares ranges, and does not check them."""
    return half_cosine_after(total_steps, warmup_steps)


def decays_from_step_0(total_steps: int, warmup_steps: int = 0) -> Factor:
    """The decay does not know of the warm-up before it."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return warm(step, warmup_steps)
        return half_cosine(progress(step, 0, total_steps))

    return factor


def jumps_to_its_peak(total_steps: int, warmup_steps: int = 0) -> Factor:
    """The warm-up ends at 0.9."""
    sound = half_cosine_after(total_steps, warmup_steps)
    return lambda step: 0.9 * warm(step, warmup_steps) if step < warmup_steps else sound(step)


def dips(total_steps: int, warmup_steps: int = 0) -> Factor:
    """Ten steps in the middle of the decay have half of their factor."""
    sound = half_cosine_after(total_steps, warmup_steps)
    return lambda step: sound(step) * (0.5 if 500 <= step < 510 else 1.0)


MUTANTS = [
    ("C1", no_arguments),
    ("C1", only_a_number),
    ("C1", swallows_options),
    ("S1", divides_by_zero),
    ("S1", goes_below_zero),
    ("S1", above_the_peak),
    ("S1", a_tensor),
    ("S2", half_the_peak),
    ("S2", ends_early),
    ("S2", forgets_the_total),
    ("S3", starts_high),
    ("S3", ends_the_warm_up_early),
    ("S3", decays_in_the_warm_up),
    ("S3", decays_from_step_0),
    ("S3", jumps_to_its_peak),
    ("S9", dips),
    ("S4", rises_again),
    ("S4", misses_its_floor),
    ("S5", counts_calls),
    ("S5", jitters),
    ("S5", KeepsItsState),
    ("S5", remembers_the_last_run),
    ("S7", an_option_without_effect),
    ("S7", a_floor_that_is_none),
    ("S8", accepts_anything),
]
