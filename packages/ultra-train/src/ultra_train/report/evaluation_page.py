"""``results.html``: the results of an evaluation on one self-contained page, and the files beside it."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path

import attrs

from ultra_train.evaluation.results import PAGE, RESULTS, SUMMARY, Group, Results
from ultra_train.evaluation.table import (
    detail_lines,
    how_measured,
    sparsity_lines,
    sparsity_table,
    table_of,
    title_of,
    to_markdown,
)
from ultra_train.report.intervals import Row, rows, style
from ultra_train.report.overview import head
from ultra_train.report.page import Page
from ultra_train.report.tables import section, table
from ultra_train.system import files


def write_results(results: Results, folder: Path, command: str = "") -> None:
    """Write results as JSON, Markdown and a page.

    Args:
        results: the results.
        folder: an existing folder; files of the same names are replaced.
        command: the command line that gave them, for the page.
    """
    files.write_text(folder / SUMMARY, to_markdown(results))
    EvaluationPage(results, command).write(folder / PAGE)
    files.write_text(folder / RESULTS, results.to_json())


@attrs.frozen
class EvaluationPage:
    """The page of an evaluation.

    Attributes:
        results: the results.
        command: the command line, or an empty text.
    """

    results: Results
    command: str = ""

    def write(self, path: Path) -> None:
        """Write the page; an existing file is replaced."""
        results = self.results
        page = Page(f"{results.data['name']}: evaluation")
        page.add(head(str(results.data["name"]), title_of(results, results.groups[0]), []))
        for part in (*self.scores(), *self._facts()):
            page.add(part)
        page.write(path)

    def scores(self) -> Iterator[str]:
        """Yield the drawing and the table of every group of results."""
        yield style()
        for group in self.results.groups:
            yield self._drawing(group)
            content = table(*table_of(self.results, group), numbers=True)
            yield section(title_of(self.results, group), content)

    def _drawing(self, group: Group) -> str:
        found = []
        for number, system in enumerate(group.systems):
            score = system.scores[self.results.headline]
            text = f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"
            found.append(
                Row(
                    name=system.name,
                    colour=number,
                    value=score.value,
                    low=score.low,
                    high=score.high,
                    text=text,
                )
            )
        which = "" if group.name == "all" else f", {group.name} documents"
        return section(f"{self.results.headline}{which}", rows(found), note="Bars are 95 % intervals.")

    def _facts(self) -> Iterator[str]:
        results = self.results
        if results.sparsity:
            found = dict(results.sparsity)
            yield section(
                "Sparsity", table(*sparsity_table(found), numbers=True) + _list(sparsity_lines(found))
            )
        yield section("Notes", _list([*detail_lines(results), how_measured(results)]))
        yield section("Versions", table([], results.settings["versions"].items()))
        if self.command:
            yield section("Command", f"<pre>{html.escape(self.command)}</pre>")


def _list(lines: Iterator[str] | list[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>"
