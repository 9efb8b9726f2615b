"""A comparison from its command to its page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
from rich.console import Console

from ultra_core.errors import UltraError
from ultra_train.compare.arms import Arm, build_arms
from ultra_train.compare.budget import Budget
from ultra_train.compare.csv_files import write_csv
from ultra_train.compare.folder import COMPARISONS, PAGE, SUMMARY, TABLE, ComparisonFolder
from ultra_train.compare.learning_rates import Sweep
from ultra_train.compare.page import ComparisonPage
from ultra_train.compare.plan import Plan, build_plan
from ultra_train.compare.progress import TrialProgress
from ultra_train.compare.requirements import check_requirements
from ultra_train.compare.results import Result, read_results
from ultra_train.compare.summary import summarise
from ultra_train.compare.table import print_table, remarks
from ultra_train.compare.trials import TrialRunner, failed_again
from ultra_train.compare.twin_arms import STEPS, twins_of
from ultra_train.compare.values import Axis
from ultra_train.compare.words import counted
from ultra_train.config.reading import name_of
from ultra_train.run.console import RunConsole
from ultra_train.system.processes import processes
from ultra_train.system.signals import Interrupted, Signals


@attrs.frozen(kw_only=True)
class Request:
    """What is compared, and how.

    Attributes:
        presets: names or files of presets.
        axes: the varied keys.
        settings: ``KEY=VALUE`` settings of all arms.
        budget: what every trial may spend; None for the number of updates that all presets have.
        sweep: the learning rates that every arm is tried at.
        seeds: the seeds; None for that of the presets.
        folder: the folder of the comparison; None for ``compare/NAME``.
        name: what NAME begins with, such as a guide; the presets by default.
        device: where trials are trained.
        twin: arms are trained as their twins.
        resume: the comparison must have begun already.
        retry: trials that failed are tried again.
        command: the command that continues the comparison.
    """

    presets: Sequence[str]
    axes: Sequence[Axis] = ()
    settings: Sequence[str] = ()
    budget: Budget | None = None
    sweep: Sweep = attrs.field(factory=Sweep)
    seeds: Sequence[int] | None = None
    folder: Path | None = None
    name: str = ""
    device: str | None = None
    twin: bool = False
    resume: bool = False
    retry: bool = False
    command: str = "ultra-train compare"


def compare(request: Request) -> Path:
    """Run a comparison, or what is left of it, show the results, and return its folder.

    Raises:
        UltraError: an error that a user can correct, or no run finished.
        KeyboardInterrupt: a signal stopped it; the trial that was running has saved a checkpoint.
    """
    if processes().several:
        raise UltraError(
            "ultra-train compare trains in one process; start it without torchrun or accelerate launch"
        )
    folder = ComparisonFolder(request.folder or Path(COMPARISONS) / _folder_name(request))
    if request.resume and not folder.begun:
        raise UltraError(f"there is no comparison in {folder.path} to resume; leave out --resume to begin it")
    folder.check_free()
    arms = build_arms(request.presets, request.axes, request.settings, check_files=not request.twin)
    signals = Signals()
    console = RunConsole(signals)
    with signals, folder.reserved():
        plan = _plan(request, twins_of(arms, folder.twins) if request.twin else arms)
        if any(not folder.result(trial).is_file() for trial in plan.trials):
            check_requirements(plan, request.device, lambda line: console.print(line, markup=False))
        signals.deferred = True
        if folder.begun:
            folder.check_same(plan)
        else:
            folder.record(plan, request.command)
        if request.retry:
            failed_again(plan, folder, lambda line: console.print(line, markup=False))
        _introduce(plan, folder, console)
        runner = TrialRunner(folder, signals, TrialProgress(console, folder), request.device)
        try:
            runner.run_all(plan, request.command)
        except Interrupted as stop:
            if stop.message:
                console.print(stop.message, markup=False)
            raise
        results = _show(plan, folder, console)
    if not any(result.finished for result in results):
        raise UltraError("no run finished, for the reasons above; --retry tries them again")
    return folder.path


def _folder_name(request: Request) -> str:
    names = [name_of(preset) for preset in request.presets]
    start = request.name or "-".join(names[:3]) + (f"-and-{len(names) - 3}-more" if len(names) > 3 else "")
    varied = "+".join(axis.key.rpartition(".")[2] for axis in request.axes)
    return f"{start}-{varied}" if varied else start


def _plan(request: Request, arms: Sequence[Arm]) -> Plan:
    fixed = [item.partition("=")[0].strip() for item in request.settings] + [
        axis.key for axis in request.axes
    ]
    budget = request.budget or (Budget("steps", STEPS) if request.twin else None)
    return build_plan(arms, budget=budget, sweep=request.sweep, seeds=request.seeds, fixed=fixed)


def _introduce(plan: Plan, folder: ComparisonFolder, console: Console) -> None:
    """Print what will run, and what was adapted."""
    rates = f" x {len(plan.sweep.numbers)} learning rates" if plan.sweep.numbers else ""
    arms, seeds = counted(plan.arms, "arm"), counted(plan.seeds, "seed")
    runs = counted(plan.trials, "run")
    done = sum(folder.result(trial).is_file() for trial in plan.trials)
    left = f"; {done} are finished" if done else ""

    def say(line: str) -> None:
        console.print(line, markup=False)

    say(f"{folder.path}: {arms}{rates} x {seeds} = {runs} of {plan.budget.words} each{left}")
    for notice in plan.notices:
        say(f"notice: {notice}")


def _show(plan: Plan, folder: ComparisonFolder, console: Console) -> Sequence[Result]:
    """Print the table, write the files about the results, and return these."""
    results = read_results(plan, folder)
    summaries = summarise(plan, results)
    console.print()
    print_table(plan, summaries, console)
    for line in remarks(plan, summaries):
        console.print(line, markup=False)
    write_csv(folder, plan, results, summaries)
    ComparisonPage(plan, results, summaries).write(folder)
    for what, name in (("page", PAGE), ("results", SUMMARY), ("curves", TABLE)):
        console.print(f"  {what:<8} {folder.path / name}", markup=False)
    console.print(f"  {'models':<8} {folder.runs}/NAME/model", markup=False)
    return results
