"""Progress of reading and encoding: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS = 5.0
"""Least number of seconds between two plain lines."""

Advance = Callable[[int], None]
"""Is called with the number of items that are done."""


@contextmanager
def progress(what: str, total: int, console: Console) -> Iterator[Advance]:
    """Show how many of ``total`` items are done, and their rate.

    Args:
        what: what is done, such as ``documents``.
        total: number of items.
        console: where to print; on a terminal a bar, which disappears at the end.
    """
    began = last = time.monotonic()

    def rate(done: int) -> str:
        return f"{done / max(time.monotonic() - began, 1e-9):,.0f} a second"

    if console.is_terminal:
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
        with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
            task = bar.add_task("", total=total, rate="")
            yield lambda done: bar.update(task, completed=done, rate=rate(done))
        return

    def line(done: int) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS:
            last = time.monotonic()
            console.print(f"{what} {done:,}/{total:,}  {rate(done)}", highlight=False, markup=False)

    yield line
