"""Two drawings of a page that are no curves over time: intervals in rows, and losses by learning rate.

Plain HTML with sizes in percent, so that texts keep their size on a narrow screen.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from importlib.resources import files as resources

import attrs

from ultra_train.report.charts import COLOURS, swatch


def style() -> str:
    """Return the style of both drawings, for the page that holds them."""
    text = resources("ultra_train.compare").joinpath("assets", "comparison.css").read_text("utf-8")
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
        start, end = place(row.low), place(row.high)
        bar = f'<i style="left:{start:.2f}%;width:{end - start:.2f}%;background:{_colour(row.colour)}"></i>'
        dot = f'<b style="left:{place(row.value):.2f}%;background:{_colour(row.colour)}"></b>'
        name = html.escape(row.name)
        cells.append(
            f'<span class=name>{name}</span><span class=track title="{name}: {html.escape(row.text)}">'
            f"{bar if row.high > row.low else ''}{dot}</span><span class=value>{html.escape(row.text)}</span>"
        )
    ends = f"<span></span><span class=ends><span>{low:.4g}</span><span>{high:.4g}</span></span><span></span>"
    return f"<div class=rows>{''.join(cells)}{ends}</div>"


@attrs.frozen(kw_only=True)
class RateCurve:
    """The losses of an arm at several learning rates.

    Attributes:
        name: the arm.
        colour: number of its colour.
        points: factor of the learning rate, loss, and text of each rate that came to an end.
        best: the chosen factor.
    """

    name: str
    colour: int
    points: Sequence[tuple[float, float, str]]
    best: float


def rate_curves(curves: Sequence[RateCurve]) -> str:
    """Return losses over factors of the learning rate on a logarithmic axis; empty without two of them."""
    drawn = [curve for curve in curves if curve.points]
    factors = sorted({point[0] for curve in drawn for point in curve.points})
    if len(factors) < 2:
        return ""
    losses = [point[1] for curve in drawn for point in curve.points]
    left, right = math.log(factors[0]), math.log(factors[-1])
    bottom, top = min(losses), max(losses)
    room = (top - bottom or 1.0) * 0.06
    bottom, top = bottom - room, top + room

    def place(factor: float, loss: float) -> tuple[float, float]:
        return 4 + 92 * (math.log(factor) - left) / (right - left), 100 * (top - loss) / (top - bottom)

    lines, dots = [], []
    for curve in drawn:
        places = [place(factor, loss) for factor, loss, _ in curve.points]
        path = " ".join(f"{x:.2f},{y:.2f}" for x, y in places)
        lines.append(f'<polyline points="{path}" style="stroke:{_colour(curve.colour)}"/>')
        for (x, y), (factor, _, text) in zip(places, curve.points, strict=True):
            mark = " class=best" if factor == curve.best else ""
            title = html.escape(f"{curve.name}, {text}")
            where = f"left:{x:.2f}%;top:{y:.2f}%;background:{_colour(curve.colour)}"
            dots.append(f'<b{mark} style="{where}" title="{title}"></b>')
    ticks = [
        f'<span class=x style="left:{place(factor, top)[0]:.2f}%">x{factor:.3g}</span>' for factor in factors
    ]
    ticks += [
        f'<span class=y style="top:{place(factors[0], loss)[1]:.2f}%">{loss:.3g}</span>'
        for loss in (bottom + room, (bottom + top) / 2, top - room)
    ]
    names = "".join(
        f"<span {swatch(curve.colour)}><i></i>{html.escape(curve.name)}</span>" for curve in drawn
    )
    legend = f"<div class='legend still'>{names}</div>" if len(drawn) <= COLOURS else ""
    return (
        f"{legend}<div class=rates><div class=area>"
        f"<svg viewBox='0 0 100 100' preserveAspectRatio=none aria-hidden=true>{''.join(lines)}</svg>"
        f"{''.join(dots)}{''.join(ticks)}</div></div>"
    )


def _colour(number: int) -> str:
    return f"var(--series-{number % COLOURS})"
