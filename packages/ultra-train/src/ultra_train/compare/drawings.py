"""Losses by learning rate as plain HTML with sizes in percent, so that texts keep their size."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from importlib.resources import files as resources

import attrs

from ultra_train.report.charts import COLOURS, series_colour, swatch


def style() -> str:
    """Return the style of the drawing, for the page that holds it."""
    text = resources("ultra_train.compare").joinpath("assets", "comparison.css").read_text("utf-8")
    return f"<style>{text}</style>"


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
        lines.append(f'<polyline points="{path}" style="stroke:{series_colour(curve.colour)}"/>')
        for (x, y), (factor, _, text) in zip(places, curve.points, strict=True):
            mark = " class=best" if factor == curve.best else ""
            title = html.escape(f"{curve.name}, {text}")
            where = f"left:{x:.2f}%;top:{y:.2f}%;background:{series_colour(curve.colour)}"
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
