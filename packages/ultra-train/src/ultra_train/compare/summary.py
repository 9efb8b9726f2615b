"""The results of every arm over its seeds, at the learning rate that was best for it."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from ultra_train.compare.learning_rates import near_edge
from ultra_train.compare.plan import Plan
from ultra_train.compare.results import LOSS, Result
from ultra_train.compare.statistics import Estimate, estimate

COSTS = ("tokens_per_second", "peak_memory", "seconds")
"""What a trial cost, beside what it reached."""


@attrs.frozen(kw_only=True)
class Rate:
    """An arm at one learning rate.

    Attributes:
        rate: the learning rate.
        factor: by which the arm's own rates were multiplied.
        results: those of its seeds.
        loss: the final loss of the seeds that came to an end.
    """

    rate: float
    factor: float
    results: tuple[Result, ...]
    loss: Estimate | None

    @property
    def whole(self) -> bool:
        """Whether every seed came to an end."""
        return all(result.finished for result in self.results)


@attrs.frozen(kw_only=True)
class ArmSummary:
    """An arm at the learning rate with the lowest loss.

    Attributes:
        arm: its name.
        rates: all learning rates that were tried, in ascending order.
        best: the chosen one; the first one if none came to an end.
        at_edge: the chosen one is the smallest or largest of the sweep, so that a better one may lie beyond.
        default_rate: its learning rate is the default of its optimizer.
    """

    arm: str
    rates: tuple[Rate, ...]
    best: Rate
    at_edge: bool
    default_rate: bool

    @property
    def loss(self) -> Estimate | None:
        """The final loss; None when no seed came to an end."""
        return self.best.loss

    @property
    def problems(self) -> list[str]:
        """What went wrong, over all seeds and rates, each once."""
        return list(dict.fromkeys(r.problem for rate in self.rates for r in rate.results if r.problem))

    def metric(self, name: str) -> Estimate | None:
        """Return the final value of a metric, or a cost, at the chosen rate."""
        values = [result.final(name) for result in self.best.results if result.finished]
        return estimate([value for value in values if value is not None])

    def difference(self, other: ArmSummary) -> Estimate | None:
        """Return the loss of this arm minus that of another over the seeds that both finished, paired."""
        own, theirs = _losses(self), _losses(other)
        return estimate([own[seed] - theirs[seed] for seed in own if seed in theirs])


def summarise(plan: Plan, results: Sequence[Result]) -> list[ArmSummary]:
    """Return the summary of every arm, in the order of the plan."""
    return [_of_arm(plan, arm.name, [r for r in results if r.trial.arm == arm.name]) for arm in plan.arms]


def ranked(summaries: Sequence[ArmSummary]) -> list[ArmSummary]:
    """Return the arms from the lowest loss to the highest, those without one last."""
    return sorted(summaries, key=lambda s: (s.loss is None, s.loss.mean if s.loss is not None else 0.0))


def _of_arm(plan: Plan, arm: str, results: Sequence[Result]) -> ArmSummary:
    by_rate: dict[float, list[Result]] = {}
    for result in results:
        by_rate.setdefault(result.trial.rate, []).append(result)
    rates = [
        Rate(rate=rate, factor=own[0].trial.factor, results=tuple(own), loss=_loss(own))
        for rate, own in sorted(by_rate.items())
    ]
    best = min(rates, key=lambda r: (r.loss is None, not r.whole, r.loss.mean if r.loss is not None else 0.0))
    return ArmSummary(
        arm=arm,
        rates=tuple(rates),
        best=best,
        at_edge=best.loss is not None and near_edge(best.rate, [rate.rate for rate in rates]),
        default_rate=arm in plan.default_rates and best.factor == 1.0,
    )


def _loss(results: Sequence[Result]) -> Estimate | None:
    values = [result.final(LOSS) for result in results if result.finished]
    return estimate([value for value in values if value is not None])


def _losses(summary: ArmSummary) -> dict[int, float]:
    found = {result.trial.seed: result.final(LOSS) for result in summary.best.results if result.finished}
    return {seed: loss for seed, loss in found.items() if loss is not None}
