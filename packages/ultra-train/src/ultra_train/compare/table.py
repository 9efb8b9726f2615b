"""The table of a comparison on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from ultra_core.errors import listed
from ultra_train.compare.plan import Plan
from ultra_train.compare.results import LOSS
from ultra_train.compare.summary import COSTS, ArmSummary, ranked
from ultra_train.compare.words import learning_rate, name_of, shown

PERPLEXITY = "eval_perplexity"
PLAIN_WIDTH = 160
"""Characters in a line where the output is no terminal."""


def print_table(plan: Plan, summaries: Sequence[ArmSummary], console: Console) -> None:
    """Print the arms, from the lowest loss to the highest, one a row.

    Columns that a narrow terminal has no room for are left out; ``summary.csv`` has all of them.

    Args:
        plan: the plan.
        summaries: those of all arms, the first one being the reference of differences.
        console: where to print.
    """
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    measured = [n for n in (LOSS, PERPLEXITY, *plan.headline, *COSTS) if _measured(n, summaries)]
    left: list[str] = []
    for name in ("", PERPLEXITY, "peak_memory", *plan.headline, "seconds"):
        left.append(name)
        table = _table([column for column in measured if column not in left], summaries)
        if Measurement.get(console, console.options.update(max_width=10_000), table).maximum <= console.width:
            break
    console.print(table, soft_wrap=False)


def _table(columns: Sequence[str], summaries: Sequence[ArmSummary]) -> Table:
    first = summaries[0]
    several = len(summaries) > 1
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("arm", overflow="fold")
    for name in columns:
        table.add_column(name_of(name), justify="right", no_wrap=True)
        if name == LOSS and several:
            table.add_column("to the first", justify="right", no_wrap=True)
    table.add_column("learning rate", justify="right", no_wrap=True)
    for summary in ranked(summaries):
        cells = [summary.arm]
        for name in columns:
            cells.append(shown(name, summary.metric(name)))
            if name == LOSS and several:
                difference = None if summary is first else summary.difference(first)
                cells.append(shown(LOSS, difference, sign=True))
        table.add_row(*cells, learning_rate(summary))
    return table


def remarks(plan: Plan, summaries: Sequence[ArmSummary]) -> Iterator[str]:
    """Yield what a reader of the table must know."""
    count, several = len(plan.seeds), len(summaries) > 1
    if count == 1:
        chance = ": differences may be chance, see --seeds 3" if several else ""
        yield f"One seed ({plan.seeds[0]}), so no intervals{chance}."
    else:
        paired = "; differences are paired by seed" if several else ""
        yield f"Means over {count} seeds with 95 % intervals (Student's t){paired}."
    if several:
        noun = "preset" if len({arm.preset.name for arm in plan.arms}) == len(plan.arms) else "variant"
        yield f"The column 'to the first' is the loss minus that of the first {noun}, {summaries[0].arm}."
    if plan.sweep.numbers:
        yield "Each arm at the learning rate with its lowest mean loss, which flatters every arm a little."
    if edges := [summary.arm for summary in summaries if summary.at_edge]:
        named = "all arms" if len(edges) == len(summaries) > 1 else listed(edges)
        yield f"The best learning rate is at the edge of the sweep, so look beyond it, for {named}."
    for summary in summaries:
        finished = sum(result.finished for result in summary.best.results)
        if 0 < finished < len(summary.best.results):
            yield f"{summary.arm}: {finished} of {len(summary.best.results)} seeds came to an end."
        for problem in summary.problems:
            yield f"{summary.arm}: {problem}"
    yield from plan.notices


def _measured(name: str, summaries: Sequence[ArmSummary]) -> bool:
    return any(summary.metric(name) is not None for summary in summaries)
