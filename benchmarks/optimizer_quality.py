"""How well every optimizer trains: tables of final losses, and plots of paths, for ``docs/optimizers``.

Every run is a fresh start of the same problem with the optimizer's defaults, its learning rate times one of
``FACTORS``, a cosine to 0 with a short warm-up (constant where the method replaces the schedule), and the
averaged weights where it keeps some. Gradients, curvature pass and update count as time; judging does not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import harness
import optimizer_plots
from optimizer_problems import MaskedWords, Problem, Quadratic, Regression, Rosenbrock
from torch.optim.lr_scheduler import LambdaLR

import ultra_optim
from ultra_core import optimizers
from ultra_core.plugins.signatures import read_options
from ultra_optim.contract.traits import traits_of
from ultra_optim.schedules import constant, cosine

FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Factors of the default learning rate."""

WARMUP = 0.05
"""Fraction of the updates in the warm-up."""

LONGEST = 2
"""Largest factor of the number of updates that a faster optimizer may take in equal time."""

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "optimizers"


@attrs.frozen
class Run:
    """The result of a run."""

    loss: float
    seconds: float

    @property
    def order(self) -> float:
        """The loss, or infinity if it is not finite, so that runs can be compared."""
        return self.loss if math.isfinite(self.loss) else math.inf


@attrs.frozen
class Quality:
    """The runs of one optimizer on one problem."""

    start: float
    sweep: Mapping[float, Run]
    equal_time: Run

    @property
    def best(self) -> float:
        """The factor with the lowest loss."""
        return min(self.sweep, key=lambda factor: self.sweep[factor].order)

    @property
    def diverged(self) -> bool:
        """Whether the loss with the default learning rate is not finite or above the start."""
        return not self.sweep[1.0].order < self.start


def default_rate(name: str) -> float:
    return read_options(optimizers.get(name))["lr"].default


def run(name: str, problem: Problem, factor: float, steps: int) -> Run:
    """Train once; the CPU seconds exclude evaluation."""
    model = problem.start()
    optimizer = ultra_optim.build(name, model, lr=factor * default_rate(name), total_steps=steps)
    traits = traits_of(optimizer)
    shape = constant(steps) if traits.own_schedule else cosine(steps, round(WARMUP * steps))
    schedule = LambdaLR(optimizer, shape)
    start = time.process_time()
    for step in range(steps):
        optimizer.zero_grad()
        loss = problem.loss(model, step)
        loss.backward()
        optimizer.step()
        if getattr(optimizer, "curvature_due", False):
            optimizer.curvature_step(lambda step=step: curvature(problem, model, step))
        schedule.step()
        if not math.isfinite(loss.item()):
            break
    seconds = time.process_time() - start
    if traits.eval_weights:
        optimizer.eval()
    return Run(problem.judged(model), seconds)


def curvature(problem: Problem, model, step: int) -> int:
    loss, count = problem.sampled(model, step)
    loss.backward()
    return count


def judge(name: str, problem: Problem, seconds: float | None) -> Quality:
    """Sweep, then repeat the best with as many updates as fit in these seconds; in its own if None."""
    start = problem.judged(problem.start())
    sweep = {factor: run(name, problem, factor, problem.steps) for factor in FACTORS}
    best = min(sweep, key=lambda factor: sweep[factor].order)
    if seconds is None:
        return Quality(start, sweep, sweep[best])
    own = harness.median([one.seconds for one in sweep.values() if math.isfinite(one.loss)])
    steps = round(min(LONGEST, seconds / own) * problem.steps)
    return Quality(start, sweep, run(name, problem, best, max(2, steps)))


def quality(names: Sequence[str], problem: Problem) -> dict[str, Quality]:
    """Train with every optimizer; equal time is that of AdamW, which comes first."""
    adamw = judge("adamw", problem, None)
    seconds = harness.median([one.seconds for one in adamw.sweep.values()])
    return {name: adamw if name == "adamw" else judge(name, problem, seconds) for name in names}


def shown(loss: float, start: float) -> str:
    return f"{loss:.3g}" if loss < start else "DIVERGED"


def rows(found: Mapping[str, Quality]) -> list[list[str]]:
    return [
        [
            name,
            f"{default_rate(name):.3g}",
            shown(q.sweep[1.0].order, q.start),
            shown(q.sweep[q.best].order, q.start),
            f"x {q.best:g}",
            shown(q.equal_time.order, q.start),
        ]
        for name, q in found.items()
    ]


def section(problem: Problem, found: Mapping[str, Quality], before: str = "") -> str:
    """Return the table of a problem with its description.

    Args:
        problem: the problem.
        found: the results of the optimizers.
        before: an earlier text, whose rows of other optimizers are kept if its problem is the same.
    """
    start = next(iter(found.values())).start
    header = ["optimizer", "lr", "loss with it", "best of the sweep", "at", "best at equal time"]
    about = " ".join((type(problem).__doc__ or "").split())
    intro = (
        f"## {problem.name[0].upper() + problem.name[1:]}\n\n"
        f"{about} {problem.steps} updates; the loss at the start is {start:.3g}.\n\n"
    )
    merged = {row[0]: row for row in [*rows_after(intro, before), *rows(found)]}
    known = [row for name, row in sorted(merged.items()) if name in optimizers.names()]
    return f"{intro}{harness.table(header, known)}\n"


def rows_after(intro: str, text: str) -> list[list[str]]:
    """Return the rows of the table that follows ``intro`` in a text."""
    table = text.partition(intro)[2].partition("\n\n")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


TEXT = """\
# {title}

Made by `python benchmarks/optimizers.py --quality`. Each optimizer has its default options, with the
learning rate multiplied by {factors}; the schedule is a cosine to 0 after {warmup:.0%} of
warm-up, and a constant learning rate for the schedule-free method. "Equal time" is the CPU time of AdamW's
updates: the best learning rate again with as many updates as fit in it, at most {longest} times as many; on
problems of this size that is the time of Python more than of arithmetic. DIVERGED: the loss is not finite
or above the start. Each problem has one seed: compare factors, not a few percent. Tensors of fewer than
4096 elements have no 8-bit state.

{sections}"""


def measure(names: Sequence[str], problems: Sequence[Problem], title: str, file: str) -> list[str]:
    """Print the tables; return the runs that diverge with the default learning rate.

    Rows of other optimizers are taken from the file, which is written if no optimizer is missing.
    """
    target = FOLDER / file
    before = target.read_text(encoding="utf-8") if target.exists() else ""
    parts, diverged = [], []
    for problem in problems:
        found = quality(names, problem)
        print(section(problem, found), flush=True)
        parts.append(section(problem, found, before))
        diverged += [f"{name} on {problem.name}" for name, q in found.items() if q.diverged]
    if all(f"\n| {name} " in part for name in optimizers.names() for part in parts):
        factors = ", ".join(f"{factor:g}" for factor in FACTORS)
        text = TEXT.format(
            title=title, factors=factors, warmup=WARMUP, longest=LONGEST, sections="\n".join(parts)
        )
        target.write_text(text, encoding="utf-8")
    return diverged


def functions(names: Sequence[str]) -> list[str]:
    """Measure on the small problems, which take two minutes together."""
    return measure(
        names, [Rosenbrock(), Quadratic(), Regression()], "Convergence on small problems", "quality.md"
    )


def encoder(names: Sequence[str]) -> list[str]:
    """Measure on the encoder."""
    return measure(names, [MaskedWords()], "Convergence of a small encoder", "encoder.md")


def main(names: list[str]) -> None:
    """Draw the paths, print and write the tables; fail if a default diverges."""
    optimizer_plots.main(names, FOLDER / "plots")
    if diverged := functions(names) + encoder(names):
        raise SystemExit(f"diverged with the default learning rate: {', '.join(diverged)}")
