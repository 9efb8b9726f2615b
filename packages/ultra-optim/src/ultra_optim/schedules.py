"""Learning-rate schedules: factories of functions from the step to a factor; no torch here.

``factory(total_steps, warmup_steps, ...)`` returns ``factor(step)``, by which
``torch.optim.lr_scheduler.LambdaLR`` multiplies the learning rate of every group. Steps count updates from 0,
so ``factor(0)`` applies to the first update. The warm-up is (step + 1) / (warmup_steps + 1): no update is
wasted, unlike in transformers, where the first factor is 0. After ``total_steps`` the last factor is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

from ultra_core.contracts import Range
from ultra_core.errors import UltraError
from ultra_core.plugins.signatures import mismatch, read_options

Steps = Annotated[int, Range(min=0)]
TotalSteps = Annotated[int, Range(min=1)]
Ratio = Annotated[float, Range(min=0, max=1)]
Schedule = Callable[[int], float]


def constant(total_steps: TotalSteps, warmup_steps: Steps = 0) -> Schedule:
    """Return the factor 1 for every step; ``warmup_steps`` has no effect, as in transformers.

    Raises:
        UltraError: a number is out of range.
    """
    _check(constant, total_steps=total_steps, warmup_steps=warmup_steps)
    return lambda step: 1.0


def linear_warmup_then_constant(total_steps: TotalSteps, warmup_steps: Steps = 0) -> Schedule:
    """Increase linearly during the warm-up, then stay at 1.

    Raises:
        UltraError: a number is out of range, or the warm-up is longer than the run.
    """
    _check(linear_warmup_then_constant, total_steps=total_steps, warmup_steps=warmup_steps)
    return lambda step: _warmup(step, warmup_steps)


def linear(total_steps: TotalSteps, warmup_steps: Steps = 0) -> Schedule:
    """Increase linearly, then decrease linearly to 0, the schedule of most fine-tuning recipes.

    factor = 1 - x,  x = (step - warmup) / (total - warmup)

    Raises:
        UltraError: a number is out of range, or the warm-up is longer than the run.
    """
    _check(linear, total_steps=total_steps, warmup_steps=warmup_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return _warmup(step, warmup_steps)
        return 1 - _progress(step, warmup_steps, total_steps)

    return factor


def cosine(total_steps: TotalSteps, warmup_steps: Steps = 0, min_ratio: Ratio = 0.0) -> Schedule:
    """Increase linearly, then decay along half a cosine (arXiv 1608.03983, without restarts).

    factor = min_ratio + (1 - min_ratio) (1 + cos(pi x)) / 2,  x = (step - warmup) / (total - warmup)

    Args:
        total_steps: number of updates of the run.
        warmup_steps: number of updates of the warm-up, included in the total.
        min_ratio: the final factor.

    Raises:
        UltraError: a number is out of range, or the warm-up is longer than the run.
    """
    _check(cosine, total_steps=total_steps, warmup_steps=warmup_steps, min_ratio=min_ratio)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return _warmup(step, warmup_steps)
        x = _progress(step, warmup_steps, total_steps)
        return min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * x))

    return factor


def wsd(
    total_steps: TotalSteps,
    warmup_steps: Steps = 0,
    decay_ratio: Ratio = 0.2,
    min_ratio: Ratio = 0.0,
    shape: Literal["sqrt", "linear", "cosine"] = "sqrt",
) -> Schedule:
    """Warm up, stay at 1, and decay over the last part of the run (arXiv 2404.06395, 2405.18392).

    With x from 0 to 1 over the decay: ``sqrt`` 1 - sqrt(x), ``linear`` 1 - x, ``cosine`` (1 + cos(pi x)) / 2.

    Args:
        total_steps: number of updates of the run.
        warmup_steps: number of updates of the warm-up, included in the total.
        decay_ratio: length of the decay as a fraction of the total.
        min_ratio: the final factor.
        shape: shape of the decay.

    Raises:
        UltraError: a number is out of range, or warm-up and decay are longer than the run.
    """
    _check(
        wsd,
        total_steps=total_steps,
        warmup_steps=warmup_steps,
        decay_ratio=decay_ratio,
        min_ratio=min_ratio,
        shape=shape,
    )
    decay_start = total_steps - round(decay_ratio * total_steps)
    if decay_start < warmup_steps:
        raise UltraError(
            f"wsd: {warmup_steps} warm-up steps and a decay of {decay_ratio:g} of the run "
            f"do not fit into {total_steps} steps; shorten one of them"
        )
    forms: dict[str, Callable[[float], float]] = {
        "sqrt": lambda x: 1 - math.sqrt(x),
        "linear": lambda x: 1 - x,
        "cosine": lambda x: 0.5 * (1 + math.cos(math.pi * x)),
    }

    def factor(step: int) -> float:
        if step < decay_start:
            return _warmup(step, warmup_steps)
        x = _progress(step, decay_start, total_steps)
        return min_ratio + (1 - min_ratio) * forms[shape](x)

    return factor


def _warmup(step: int, warmup_steps: int) -> float:
    return min(1.0, (step + 1) / (warmup_steps + 1))


def _progress(step: int, start: int, end: int) -> float:
    return min(1.0, (step - start) / (end - start)) if end > start else 1.0


def _check(factory: Callable[..., Schedule], **given: object) -> None:
    name = factory.__name__
    for key, option in read_options(factory).items():
        if problem := mismatch(given[key], option.type, option.range):
            raise UltraError(f"{name}: {key} is {given[key]!r}; {problem}")
    if given["warmup_steps"] > given["total_steps"]:  # type: ignore[operator]
        raise UltraError(
            f"{name}: warmup_steps is {given['warmup_steps']}, but the run has {given['total_steps']} steps"
        )
