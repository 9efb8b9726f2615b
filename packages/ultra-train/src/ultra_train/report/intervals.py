"""Values with intervals in rows as plain HTML with sizes in percent, so that texts keep their size."""

from __future__ import annotations

import html
from collections.abc import Sequence
from importlib.resources import files as resources

import attrs

from ultra_train.report.charts import series_colour


def style() -> str:
    """Return the style of the drawing, for the page that holds it."""
    text = resources("ultra_train.report").joinpath("assets", "intervals.css").read_text("utf-8")
    return f"<style>{text}</style>"


@attrs.frozen(kw_only=True)
class Row:
    """A value with an interval.

    Attributes:
        name: what it belongs to.
        colour: number of its colour.
        value: the value.
        low: lower end of the interval; the value where there is none.
        high: upper end.
        text: the value as it is shown.
    """

    name: str
    colour: int
    value: float
    low: float
    high: float
    text: str


def rows(found: Sequence[Row]) -> str:
    """Return values as dots on a common scale, with their intervals as bars; empty without values."""
    if not found:
        return ""
    low, high = min(row.low for row in found), max(row.high for row in found)
    room = (high - low or abs(low) or 1.0) * 0.04
    low, high = low - room, high + room

    def place(value: float) -> float:
        return 100 * (value - low) / (high - low)

    cells = []
    for row in found:
        start, end, colour = place(row.low), place(row.high), series_colour(row.colour)
        bar = f'<i style="left:{start:.2f}%;width:{end - start:.2f}%;background:{colour}"></i>'
        dot = f'<b style="left:{place(row.value):.2f}%;background:{colour}"></b>'
        name = html.escape(row.name)
        cells.append(
            f'<span class=name>{name}</span><span class=track title="{name}: {html.escape(row.text)}">'
            f"{bar if row.high > row.low else ''}{dot}</span><span class=value>{html.escape(row.text)}</span>"
        )
    ends = f"<span></span><span class=ends><span>{low:.4g}</span><span>{high:.4g}</span></span><span></span>"
    return f"<div class=rows>{''.join(cells)}{ends}</div>"
