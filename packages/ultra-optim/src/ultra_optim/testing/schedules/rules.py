"""The rules of learning-rate schedules."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch.optim.lr_scheduler import LambdaLR

from ultra_core.errors import UltraError
from ultra_core.plugins.signatures import read_options
from ultra_core.testing import Finding, Rules
from ultra_core.testing.variations import indistinct, variations
from ultra_optim.testing.schedules.cases import ScheduleCase

SCHEDULE_RULES = Rules()
"""The rules of schedules by id, in order; a rule is called with a :class:`ScheduleCase`."""

RUNS = (
    (1, 0),
    (1, 1),
    (2, 0),
    (2, 1),
    (7, 3),
    (100, 0),
    (100, 10),
    (100, 50),
    (10, 20),
    (1000, 50),
    (1_000_000, 2000),
)
"""Lengths of the runs that are tried: updates, and those of the warm-up among them."""

RUN = (1000, 50)
"""The run that is looked at closely."""

LARGEST_JUMP = 4.0
"""How many times as large as that before it the last increase of a warm-up may be."""

LOWEST = 0.05
"""How far above its least value a schedule may be where it restarts."""


def steps_of(total: int, warmup: int) -> list[int]:
    """Return the steps at which a run is looked at: all of a short one, and those around every border."""
    if total <= 1000:
        return list(range(total + 3))
    borders = (0, warmup, total // 2, total * 8 // 10, total)
    return sorted({max(0, border + d) for border in borders for d in range(-3, 4)})


def _runs(case: ScheduleCase) -> Iterator[tuple[int, int]]:
    return (run for run in RUNS if case.fits(*run))


@SCHEDULE_RULES("C1", gate=True, least="quick")
def constructs(case: ScheduleCase) -> None:
    """The factory takes ``total_steps`` and ``warmup_steps`` by name, and makes a function of the step.

    Fix: write ``def my_schedule(total_steps, warmup_steps=0, ...)`` that returns ``factor(step)``, and give
    every other argument a default.
    """
    total, warmup = RUN
    call = f"{case.name}(total_steps={total}, warmup_steps={warmup})"
    read_options(case.factory)
    try:
        factor = case.build(total, warmup)
    except Exception as error:
        raise Finding(f"{call} raises {type(error).__name__}: {error}") from error
    if not callable(factor):
        raise Finding(f"{call} is a {type(factor).__name__}, no function of the step")
    try:
        factor(0)
    except Exception as error:
        raise Finding(f"{call}(0) raises {type(error).__name__}: {error}") from error


@SCHEDULE_RULES("S1", least="quick")
def is_a_factor(case: ScheduleCase) -> None:
    """Every factor is a plain number from 0 to 1, from step 0 to far beyond the end of runs of any length.

    The learning rate of a preset is the largest one of its run; the schedule multiplies it.

    Fix: divide by the largest factor; limit the progress, ``min(1.0, (step - warmup) / (total - warmup))``;
    a run that ends with its warm-up needs a case of its own.
    """
    for total, warmup in _runs(case):
        factor = case.build(total, warmup)
        for step in [*steps_of(total, warmup), 2 * total, 3 * total + 1, 1000 * total]:
            where = f"at step {step} of {total} with {warmup} of warm-up"
            try:
                value = factor(step)
            except Exception as error:
                raise Finding(f"{where} it raises {type(error).__name__}: {error}") from error
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise Finding(f"{where} the factor is a {type(value).__name__}, no plain number")
            if not (math.isfinite(value) and -1e-12 <= value <= 1 + 1e-9):
                raise Finding(f"{where} the factor is {value:.6g}")


@SCHEDULE_RULES("S2", least="quick", after=("S1",))
def reaches_the_peak(case: ScheduleCase) -> None:
    """The factor reaches 1, at the end of the warm-up or later, and no update before the last is wasted.

    Fix: begin the warm-up with ``(step + 1) / (warmup_steps + 1)``, and let the decay end at ``total_steps``.
    """
    for total, warmup in ((1000, 0), RUN, (1000, 300)):
        values = case.factors(total, warmup)[:total]
        if (peak := max(values)) < 0.95:
            raise Finding(f"in {total} steps with {warmup} of warm-up the largest factor is {peak:.4g}")
        idle = [step for step, value in enumerate(values) if value <= 0 and step]
        if idle:
            raise Finding(f"in {total} steps with {warmup} of warm-up the factor at step {idle[0]} is 0")


@SCHEDULE_RULES("S3", least="quick", after=("S1",))
def warms_up(case: ScheduleCase) -> None:
    """The factor rises from near 0 during the warm-up and is largest at its end, or ignores ``warmup_steps``.

    Fix: ``min(1.0, (step + 1) / (warmup_steps + 1))`` for ``step < warmup_steps``.
    """
    if case.factors(1000, 50) == case.factors(1000, 200):
        return
    for warmup in (50, 200):
        values = case.factors(1000, warmup)
        rise, where = values[: warmup + 1], f"with {warmup} steps of warm-up the factor"
        if rise[0] > 0.25:
            raise Finding(f"{where} begins with {rise[0]:.4g}")
        falls = [step for step, (a, b) in enumerate(itertools.pairwise(rise)) if b < a - 1e-12]
        if falls and falls[0] < warmup - 1:
            raise Finding(f"{where} falls after step {falls[0]}, from {rise[falls[0]]:.4g}")
        if max(rise) < max(values) - 1e-9:
            raise Finding(f"{where} is {max(rise):.4g} at its end and {max(values):.4g} later")
        early = next(step for step, value in enumerate(rise) if value >= max(rise) - 1e-9)
        if early < warmup - 1:
            raise Finding(f"{where} is at its peak of {rise[early]:.4g} after {early + 1} steps already")
        if rise[warmup] < rise[warmup - 1] - 0.02:
            raise Finding(
                f"{where} falls from {rise[warmup - 1]:.4g} at its last step to {rise[warmup]:.4g}: "
                "the decay begins with step 0"
            )
        last, before = rise[warmup] - rise[warmup - 1], rise[warmup - 1] - rise[warmup - 2]
        if last > LARGEST_JUMP * before + 1e-9:
            raise Finding(f"{where} jumps from {rise[warmup - 1]:.4g} at its last step to {rise[warmup]:.4g}")


@SCHEDULE_RULES("S4", least="quick", after=("S1",))
def stays_at_the_end(case: ScheduleCase) -> None:
    """The factor does not rise again after ``total_steps``; with ``min_ratio`` it ends exactly there.

    A run may be longer than its schedule; then the last factor is used.

    Fix: limit the progress to 1: ``min(1.0, (step - warmup_steps) / (total_steps - warmup_steps))``.
    """
    for total, warmup in ((1000, 0), RUN):
        values = list(map(case.build(total, warmup), range(3 * total)))
        last = values[total]
        rising = [step for step in range(total, 3 * total) if values[step] > last + 1e-12]
        if rising:
            step = rising[0]
            raise Finding(f"it is {last:.4g} at step {total}, the end, and {values[step]:.4g} at step {step}")
        if "min_ratio" in read_options(case.factory):
            for ratio in (0.0, 0.1):
                end = case.build(total, warmup, min_ratio=ratio)(total)
                if abs(end - ratio) > 1e-9:
                    raise Finding(f"with min_ratio={ratio} the factor at step {total}, the end, is {end:.4g}")


@SCHEDULE_RULES("S5", least="quick")
def is_pure(case: ScheduleCase) -> None:
    """The factor depends on the step alone: not on earlier calls, other runs, the time or random numbers.

    A resumed run asks for the factor at the step where it goes on; each parameter group asks again.

    Fix: compute the factor from ``step``, without counters or ``nonlocal``.
    """
    total, warmup = RUN
    wanted = case.factors(total, warmup)
    steps = [*range(0, total, 7), total]
    mixed = random.Random(0).sample(steps, len(steps))
    kept, other, state = case.build(total, warmup), case.build(1500, 40), random.getstate()
    try:
        for order in (steps, steps[::-1], mixed, mixed):
            random.seed(len(order))
            for step in order:
                if other(step) < 0 or kept(step) != wanted[step]:
                    raise Finding(
                        f"at step {step} the factor is {kept(step):.6g} when steps are asked for in another "
                        f"order, and {wanted[step]:.6g} from first to last"
                    )
    finally:
        random.setstate(state)


@SCHEDULE_RULES("S6", after=("S5",))
def resumes(case: ScheduleCase) -> None:
    """``torch.optim.lr_scheduler.LambdaLR`` sets the rates of all groups, also after saving and loading.

    Fix: return a function of the step; of a callable object, ``LambdaLR`` saves and loads the attributes.
    """
    total, warmup, base = 20, 4, (0.5, 0.25)
    if not case.fits(total, warmup):
        return
    wanted = case.factors(total, warmup)

    def scheduler() -> LambdaLR:
        groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in base]
        return LambdaLR(torch.optim.SGD(groups, lr=1.0), case.build(total, warmup))

    with_state = scheduler()
    for step in range(total):
        rates = [float(rate) for rate in with_state.get_last_lr()]
        if any(abs(rate - peak * wanted[step]) > 1e-12 for rate, peak in zip(rates, base, strict=True)):
            raise Finding(f"at step {step} the rates are {rates} of {list(base)}; the factor {wanted[step]}")
        with_state.optimizer.step()
        with_state.step()
        if step == total // 2:
            resumed = scheduler()
            resumed.load_state_dict(with_state.state_dict())
            with_state = resumed


@SCHEDULE_RULES("S7", after=("S1",))
def options_act(case: ScheduleCase) -> None:
    """Every option, varied within its range, changes some factor of a run.

    Fix: use the option, or remove it.
    """
    total, warmup = RUN
    taken = ("total_steps", "warmup_steps")
    tried = variations(
        case.factory, case.options, lambda given: case.build(total, warmup, **given), skip=taken
    )
    for _, group in itertools.groupby(tried, key=lambda variation: variation.option):
        known = [(v, case.factors(total, warmup, **v.arguments)) for v in group if not v.refusal]
        if not known:
            continue
        equal = indistinct(known, lambda context: case.factors(total, warmup, **context), _same)
        if equal:
            raise Finding(f"{equal} give the same factors in a run of {total} steps")


def _same(one: list[float], other: list[float]) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 1e-9


@SCHEDULE_RULES("S9", least="quick", after=("S1",))
def falls_after_the_peak(case: ScheduleCase) -> None:
    """After its peak the factor falls or stays; it rises again only from its lowest level, as by a restart.

    Fix: compute the decay from the progress alone, and join its parts where they are equal.
    """
    for total, warmup in ((1000, 0), RUN):
        values = case.factors(total, warmup)
        lowest, peak = min(values[warmup:]), values.index(max(values))
        falling = True
        for step in range(peak, total):
            now, then = values[step], values[step + 1]
            if then > now + 1e-12 and falling and now > lowest + LOWEST:
                raise Finding(
                    f"in {total} steps with {warmup} of warm-up the factor rises from {now:.4g} at step "
                    f"{step} to {then:.4g}, after its peak at step {peak} and above its lowest, {lowest:.4g}"
                )
            if abs(then - now) > 1e-12:
                falling = then < now


@SCHEDULE_RULES("S8", least="quick")
def refuses_what_is_out_of_range(case: ScheduleCase) -> None:
    """Numbers outside of the declared ranges raise ``ValueError`` or ``UltraError``.

    Fix: annotate the arguments with ``Range``, and call ``ultra_core.plugins.signatures.require``.
    """
    for name, option in read_options(case.factory).items():
        bounds = option.range
        if bounds is None:
            continue
        ends = ((bounds.min, -1), (bounds.gt, -1), (bounds.max, 1), (bounds.lt, 1))
        for wrong in [end + beyond for end, beyond in ends if end is not None and math.isfinite(end)]:
            arguments = {"total_steps": RUN[0], "warmup_steps": RUN[1], **case.options, name: wrong}
            _refused(partial(case.factory, **arguments), f"{name}={wrong:g}, which must be {bounds},")


def _refused(build: Callable[[], object], what: str) -> None:
    try:
        build()
    except (ValueError, UltraError):
        return
    except Exception as error:
        raise Finding(f"{what} raises {type(error).__name__}: {error}") from error
    raise Finding(f"{what} was accepted")
