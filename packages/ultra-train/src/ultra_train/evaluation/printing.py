"""Printing the results of an evaluation."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from ultra_train.evaluation import table
from ultra_train.evaluation.results import Results

WIDTH = 160
"""Columns of a table that no terminal shows."""


def print_results(results: Results, console: Console) -> None:
    """Print the tables of results.

    Args:
        results: the results.
        console: where to print.
    """
    if not console.is_terminal:
        console.width = WIDTH
    tables = [(table.title_of(results, g), table.table_of(results, g)) for g in results.groups]
    if results.sparsity:
        tables.append(("sparsity", table.sparsity_table(dict(results.sparsity))))
    for title, (head, body) in tables:
        shown = Table(box=box.SIMPLE, pad_edge=False, title=title, title_justify="left", title_style="")
        for number, name in enumerate(head):
            shown.add_column(name, justify="right" if number else "left", no_wrap=number > 0, overflow="fold")
        for row in body:
            shown.add_row(*row)
        console.print(shown)
    lines = [*table.sparsity_lines(dict(results.sparsity)), *table.detail_lines(results)]
    for line in [*lines, table.how_measured(results)]:
        console.print(line, markup=False, soft_wrap=True)
