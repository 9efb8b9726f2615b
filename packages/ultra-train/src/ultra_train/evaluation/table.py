"""The results of an evaluation as a table: in the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ultra_train.evaluation.results import Group, Results, SystemResult
from ultra_train.evaluation.sparsity import Activity, Sparsity
from ultra_train.evaluation.statistics import Score

NOTHING = "-"


def table_of(results: Results, group: Group) -> tuple[list[str], list[list[str]]]:
    """Return the heading and the rows of a group of results.

    The headline measure has its interval, its difference to another system and a p value; the other
    measures follow, and what a query takes.
    """
    others = {s.scores[results.headline].difference for s in group.systems} - {None}
    names = {difference.against for difference in others if difference is not None}
    head = ["system", results.headline, "95 % interval"]
    head += [f"to {next(iter(names)) if len(names) == 1 else 'the other'}", "p"] if names else []
    further = [name for name in group.systems[0].scores if name != results.headline]
    costs = any(system.costs for system in group.systems)
    head += [*further, *(["ms a query", "index"] if costs else [])]
    body = []
    for system in group.systems:
        score = system.scores[results.headline]
        row = [system.name, f"{score.value:.3f}", f"{score.low:.3f} to {score.high:.3f}"]
        row += list(_difference(score, several=len(names) > 1)) if names else []
        row += [f"{system.scores[name].value:.3f}" if name in system.scores else NOTHING for name in further]
        row += list(_costs(system)) if costs else []
        body.append(row)
    return head, body


def sparsity_table(found: dict[str, Sparsity]) -> tuple[list[str], list[list[str]]]:
    """Return the heading and the rows of the sparsity of models."""
    head = ["model", "texts", "active", "median", "most", "zeros", "empty", "dimensions used", "FLOPS"]
    body = []
    for name, sparsity in found.items():
        for kind, activity in (("queries", sparsity.queries), ("documents", sparsity.documents)):
            body.append([name, kind, *_activity(activity, sparsity.dimensions)])
    return head, body


def sparsity_lines(found: dict[str, Sparsity]) -> Iterator[str]:
    """Yield what the table of sparsity leaves out."""
    for name, sparsity in found.items():
        yield f"{name}: {sparsity.multiplications:.2f} multiplications for a query and a document"
        for kind, activity in (("queries", sparsity.queries), ("documents", sparsity.documents)):
            shown = ", ".join(f"{token} {share:.0%}" for token, share in activity.frequent[:10])
            yield f"{name}: most frequent in {kind}: {shown or NOTHING}"


def title_of(results: Results, group: Group) -> str:
    """Return a line about what a group of results is."""
    data = results.data
    if results.task != "retrieval":
        return f"{data['name']}, {data['split']}: {results.task}, {group.items:,} rows"
    which = "" if group.name == "all" else f", {group.name} documents"
    return f"{data['name']}, {data['split']}{which}: {group.items:,} queries, {data['documents']:,} documents"


def detail_lines(results: Results) -> Iterator[str]:
    """Yield the weights and thresholds of systems, and the notices."""
    for system in results.groups[0].systems:
        if system.details:
            yield f"{system.name}: " + ", ".join(
                f"{name} {value:.3g}" for name, value in system.details.items()
            )
    yield from results.notices


def to_markdown(results: Results) -> str:
    """Return the results as a page of Markdown."""
    parts: list[str] = []
    for group in results.groups:
        parts += [f"## {title_of(results, group)}", _markdown(*table_of(results, group))]
    if results.sparsity:
        parts += ["## Sparsity", _markdown(*sparsity_table(dict(results.sparsity)))]
        parts += ["\n".join(f"- {line}" for line in sparsity_lines(dict(results.sparsity)))]
    lines = [*detail_lines(results), how_measured(results)]
    parts.append("\n".join(f"- {line}" for line in lines))
    return "\n\n".join(parts) + "\n"


def how_measured(results: Results) -> str:
    """Return a line about intervals and p values."""
    settings = results.settings
    return (
        f"Intervals and p values (paired, two-sided) by bootstrap over {settings['resamples']:,} resamples, "
        f"seed {settings['seed']}."
    )


def _difference(score: Score, *, several: bool) -> Iterator[str]:
    found = score.difference
    if found is None:
        yield from (NOTHING, NOTHING)
        return
    yield f"{found.value:+.3f}{f' ({found.against})' if several else ''}"
    yield f"{found.p:.3f}" if found.p >= 0.001 else f"{found.p:.1g}"


def _costs(system: SystemResult) -> Iterator[str]:
    if system.costs is None:
        yield from (NOTHING, NOTHING)
        return
    yield f"{system.costs.query_ms:.1f}"
    yield f"{system.costs.index_bytes / 1e6:.1f} MB"


def _activity(activity: Activity, dimensions: int) -> Sequence[str]:
    return [
        f"{activity.mean:.1f}",
        f"{activity.median:.0f}",
        f"{activity.most}",
        f"{activity.zeros:.2%}",
        f"{activity.empty}",
        f"{activity.used:,} of {dimensions:,}",
        f"{activity.flops:.3g}",
    ]


def _markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
