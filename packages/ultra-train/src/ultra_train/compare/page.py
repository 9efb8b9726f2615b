"""``comparison.html``: the results of a comparison on one self-contained page."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

import attrs

from ultra_train.compare.curves import chart
from ultra_train.compare.drawings import RateCurve, rate_curves, style
from ultra_train.compare.folder import PAGE, ComparisonFolder
from ultra_train.compare.plan import Plan
from ultra_train.compare.results import LOSS, Result
from ultra_train.compare.summary import COSTS, ArmSummary, ranked
from ultra_train.compare.table import remarks
from ultra_train.compare.words import counted, duration, learning_rate, name_of, shown
from ultra_train.report.charts import COLOURS, swatch
from ultra_train.report.differences import differences_table
from ultra_train.report.intervals import Row, rows
from ultra_train.report.intervals import style as interval_style
from ultra_train.report.overview import large
from ultra_train.report.page import Page
from ultra_train.report.tables import Markup, breakable, section, table


@attrs.frozen
class ComparisonPage:
    """The page of a comparison.

    Attributes:
        plan: the plan.
        results: those of all trials.
        summaries: those of all arms in the order of the plan, which gives them their colours.
    """

    plan: Plan
    results: Sequence[Result]
    summaries: Sequence[ArmSummary]

    def write(self, folder: ComparisonFolder) -> None:
        """Write the page into the folder of the comparison."""
        page = Page(f"{folder.path.name}: comparison")
        styles = interval_style() + style()
        for part in (styles, self._head(folder), self._figures(), self._remarks(), self._intervals()):
            page.add(part)
        page.add(section("Results", self._table(), note=self._table_note()))
        held_out = "Loss on held-out texts"
        page.add_chart(chart(held_out, LOSS, self.summaries, bands=True, note=self._band(), whole=True))
        page.add_chart(chart("Loss in training", "loss", self.summaries))
        for name in self.plan.headline:
            title = f"{name_of(name).capitalize()} on held-out texts"
            page.add_chart(chart(title, name, self.summaries, bands=True))
        page.add_chart(chart("Tokens per second", "tokens_per_second", self.summaries))
        for part in (self._rates(), self._settings(), *self._facts(folder)):
            page.add(part)
        page.write(folder.path / PAGE)

    def _colour(self, summary: ArmSummary) -> int:
        return self.summaries.index(summary)

    def _band(self) -> str:
        return "Means over the seeds; bands are 95 % intervals." if len(self.plan.seeds) > 1 else ""

    def _head(self, folder: ComparisonFolder) -> str:
        said = (
            f"{counted(self.plan.arms, 'arm')}, {counted(self.plan.seeds, 'seed')}, "
            f"{self.plan.budget.words} a run"
        )
        return (
            f"<header class=head><div class=line><h1>{html.escape(folder.path.name)}</h1></div>"
            f"<p class=subtitle>{html.escape(said)}</p></header>"
        )

    def _figures(self) -> str:
        """Return the most important numbers."""
        best = ranked(self.summaries)[0]
        failed = sum(not result.finished for result in self.results)
        spent = sum(float(result.facts.get("wall_seconds", 0.0)) for result in self.results)
        found = {"Lowest loss": shown(LOSS, best.loss), "With": best.arm} if best.loss is not None else {}
        found |= {"Runs": f"{len(self.results)}", "Failed": f"{failed}", "Time": duration(spent)}
        return large(found, texts=("With",))

    def _remarks(self) -> str:
        lines = "".join(f"<li>{html.escape(line)}</li>" for line in remarks(self.plan, self.summaries))
        return f"<div class=warnings><ul>{lines}</ul></div>"

    def _intervals(self) -> str:
        found = [
            Row(
                name=summary.arm,
                colour=self._colour(summary),
                value=summary.loss.mean,
                low=summary.loss.low,
                high=summary.loss.high,
                text=shown(LOSS, summary.loss),
            )
            for summary in ranked(self.summaries)
            if summary.loss is not None
        ]
        return section(
            "Final loss on held-out texts", rows(found), note=self._band().replace("bands", "bars")
        )

    def _table(self) -> str:
        first, best = self.summaries[0], ranked(self.summaries)[0]
        others = list(dict.fromkeys((first.arm, best.arm))) if len(self.summaries) > 1 else []
        metrics = (LOSS, "eval_perplexity", *self.plan.headline)
        compared = ["to the first", "to the best"] if len(others) > 1 else ["to the first"] * len(others)
        head = ["arm", *map(name_of, metrics), *compared, *map(name_of, COSTS)]
        body: list[list[object]] = []
        for summary in ranked(self.summaries):
            number = self._colour(summary)
            line = f"<i {swatch(number, number // COLOURS)}></i>"
            cells: list[object] = [Markup(f"{line}{breakable(summary.arm)}")]
            cells += [shown(name, summary.metric(name)) for name in metrics]
            for other in [first, best][: len(others)]:
                difference = None if summary is other else summary.difference(other)
                text = html.escape(shown(LOSS, difference, sign=True))
                sure = difference is not None and difference.excludes_zero
                cells.append(Markup(f"<b>{text}</b>" if sure else text))
            cells += [shown(name, summary.metric(name)) for name in COSTS]
            body.append([*cells, learning_rate(summary)])
        return table([*head, "learning rate"], body, numbers=True)

    def _table_note(self) -> str:
        if len(self.summaries) == 1:
            return ""
        return (
            f"From the lowest loss to the highest; differences of the loss to the first arm, "
            f"{self.summaries[0].arm}, and to the best one are paired by seed, and bold where their interval "
            "excludes 0."
        )

    def _rates(self) -> str:
        curves = [
            RateCurve(
                name=summary.arm,
                colour=self._colour(summary),
                points=[
                    (rate.factor, rate.loss.mean, f"{rate.rate:.3g}: {shown(LOSS, rate.loss)}")
                    for rate in summary.rates
                    if rate.loss is not None
                ],
                best=summary.best.factor,
            )
            for summary in self.summaries
        ]
        drawn = rate_curves(curves)
        note = "Over factors of each arm's own learning rates; the chosen one has a ring."
        return section("Loss by learning rate", drawn, note=note) if drawn else ""

    def _settings(self) -> str:
        arms = self.plan.arms
        found = differences_table([arm.name for arm in arms], [arm.preset for arm in arms])
        return section("Settings that differ", found) if found else ""

    def _facts(self, folder: ComparisonFolder) -> Iterator[str]:
        facts = next((result.facts for result in self.results if "device" in result.facts), {})
        lines: list[tuple[str, object]] = [("device", facts.get("device", "-"))]
        lines += [(name, version) for name, version in facts.get("packages", {}).items()]
        sizes = {r.trial.arm: r.facts["parameters"] for r in self.results if "parameters" in r.facts}
        lines += [(f"parameters, {arm}", f"{count:,}") for arm, count in sizes.items()]
        yield section("Machine, versions, sizes", table([], lines))
        yield section("Command", f"<pre>{html.escape(folder.command)}</pre>")
