"""``report.html``: one self-contained page with the curves of a run."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ultra_train.system import files
from ultra_train.system.run_files import REPORT
from ultra_train.tasks.base import Curve, Task

WIDTH, HEIGHT, MARGIN = 640, 240, 48
LOSS = Curve("Loss", ("loss", "eval_loss"))
CURVES = (
    Curve("Gradient norm before clipping", ("grad_norm",)),
    Curve("Learning rate by role", ("lr_",)),
    Curve("Real tokens per second", ("tokens_per_second",)),
    Curve("Share of the time spent waiting for data", ("data_wait_share",)),
    Curve("Dropped updates", ("dropped_updates",)),
)
"""The charts of every run; those of its task come between the loss and these."""

SUMMARY = ("step", "epoch", "tokens_seen", "loss", "eval_loss")
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a", "#bf3989")

Points = Sequence[tuple[float, float]]

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px system-ui,sans-serif;margin:2rem auto;max-width:680px;color:#1f2328}}
svg{{width:100%;height:auto}}text{{font-size:11px;fill:#57606a}}table{{border-collapse:collapse}}
td,th{{padding:.2rem .8rem;border-bottom:1px solid #d0d7de;text-align:left}}</style></head>
<body><h1>{title}</h1>{body}</body></html>
"""


def write_report(
    folder: Path, records: Sequence[Mapping[str, Any]], name: str, task: Task | None = None
) -> Path:
    """Write the page from the lines of ``metrics.jsonl`` and return its path.

    Args:
        folder: folder of the run.
        records: the lines.
        name: title of the page.
        task: the task of the run, with charts and headline metrics of its own.
    """
    curves, headline = (task.curves, task.headline_metrics) if task is not None else ((), ())
    parts = [_summary(records, (*SUMMARY, *headline))]
    for curve in (LOSS, *curves, *CURVES):
        series = {name: points(records, name) for name in _metrics(records, curve)}
        series = {name: found for name, found in series.items() if len(found) > 1}
        if series:
            parts.append(f"<h2>{html.escape(curve.title)}</h2>{chart(series)}")
    parts.append(_events(records))
    path = folder / REPORT
    page = PAGE.format(title=html.escape(name), body="\n".join(parts))
    files.write_text(path, page.encode("utf-8", "backslashreplace").decode())
    return path


def _metrics(records: Iterable[Mapping[str, Any]], curve: Curve) -> list[str]:
    """Return the names of the metrics of a curve that were measured."""
    starts = tuple(name for name in curve.metrics if name.endswith("_"))
    measured = {name for record in records for name in record}
    return sorted(name for name in measured if name in curve.metrics or (starts and name.startswith(starts)))


def points(records: Iterable[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    """Return (step, value) of every finite value of a metric."""
    found = []
    for record in records:
        value = record.get(key)
        if isinstance(value, (int, float)) and math.isfinite(value):
            found.append((float(record.get("step", 0)), float(value)))
    return found


def chart(series: Mapping[str, Points]) -> str:
    """Return curves as one inline SVG with axes and a legend."""
    steps = [x for curve in series.values() for x, _ in curve]
    values = [y for curve in series.values() for _, y in curve]
    left, right, low, high = min(steps), max(steps), min(values), max(values)
    high = high if high > low else low + 1.0

    def place(x: float, y: float) -> str:
        across = MARGIN + (x - left) / max(right - left, 1e-12) * (WIDTH - MARGIN - 8)
        down = 8 + (high - y) / (high - low) * (HEIGHT - MARGIN - 8)
        return f"{across:.1f},{down:.1f}"

    bottom = HEIGHT - MARGIN
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    for share in (0.0, 0.5, 1.0):
        down = 8 + share * (bottom - 8)
        parts.append(
            f'<line x1="{MARGIN}" x2="{WIDTH - 8}" y1="{down:.0f}" y2="{down:.0f}" stroke="#d0d7de"/>'
        )
        parts.append(f'<text x="0" y="{down + 4:.0f}">{high - share * (high - low):.3g}</text>')
    parts.append(f'<text x="{MARGIN}" y="{bottom + 14}">{left:.0f}</text>')
    parts.append(f'<text x="{WIDTH - 8}" y="{bottom + 14}" text-anchor="end">step {right:.0f}</text>')
    for number, (name, curve) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        line = " ".join(place(x, y) for x, y in curve)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{line}"/>')
        across = MARGIN + 95 * number
        parts.append(f'<text x="{across}" y="{HEIGHT - 8}" style="fill:{colour}">{html.escape(name)}</text>')
    return "".join([*parts, "</svg>"])


def _summary(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    last: dict[str, Any] = {}
    for record in records:
        last |= {k: v for k, v in record.items() if isinstance(v, (int, float))}
    shown = [name for name in names if name in last]
    rows = "".join(f"<tr><th>{html.escape(k)}</th><td>{_number(last[k])}</td></tr>" for k in shown)
    return f"<table>{rows}</table>"


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _events(records: Iterable[Mapping[str, Any]]) -> str:
    events = [r for r in records if "event" in r]
    if not events:
        return ""
    columns = ("step", "event", "reason", "module")
    rows = [f"<tr>{''.join(f'<th>{c}</th>' for c in columns)}</tr>"]
    for event in events:
        cells = "".join(f"<td>{html.escape(str(event.get(c, '')))}</td>" for c in columns)
        rows.append(f"<tr>{cells}</tr>")
    return f"<h2>Events</h2><table>{''.join(rows)}</table>"
