"""Line charts from named series, which bokeh draws in the browser."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from ultra_train.report.thinning import thin

Values = Sequence[float] | np.ndarray
"""The numbers of a curve."""

COLOURS = 8
"""Colours of curves, which the style sheet of the page defines for light and dark."""

DASHES = ("solid", "dashed", "dotted", "dashdot")
"""Line styles, which distinguish the curves of one colour."""

FEW = 60
"""A curve with at most so many points shows each of them as a dot."""


@attrs.frozen
class Axis:
    """A quantity that the horizontal axis of all charts of a page can show.

    Attributes:
        label: what the switch of the page and the axis call it.
        format: format of its values where the pointer is, in the notation of numbro.
    """

    label: str
    format: str = "0,0.[00]"


AXES: Mapping[str, Axis] = {
    "step": Axis("updates", "0,0"),
    "tokens": Axis("tokens", "0.[00]a"),
    "hours": Axis("hours", "0.[000]"),
}
"""The axes of the report of a run: ``x`` of a series has their names as keys."""


def series_colour(number: int) -> str:
    """Return the colour of a curve, as a value of the style sheet."""
    return f"var(--series-{number % COLOURS})"


def swatch(colour: int, dash: int = 0) -> str:
    """Return the attributes that give an element of the page the colour and line style of these numbers."""
    return f'style="--line:{series_colour(colour)}" data-dash={DASHES[dash % len(DASHES)]}'


@attrs.frozen(kw_only=True)
class Series:
    """A curve, optionally with a band around it.

    Attributes:
        name: its name in the legend.
        x: for the axes of the page, the positions of the points ``(N,)``; one that is missing hides the curve
            while the page shows that axis.
        y: the values ``(N,)``; those that are not finite are left out.
        low: lower edge of the band ``(N,)``, or None for no band.
        high: upper edge of the band ``(N,)``.
        group: curves of one group, such as those of a run, are switched together at the top of the page.
        colour: number of its colour.
        dash: number of its line style.
    """

    name: str
    x: Mapping[str, Values]
    y: Values
    low: Values | None = None
    high: Values | None = None
    group: str = ""
    colour: int = 0
    dash: int = 0

    @property
    def is_its_group(self) -> bool:
        """Whether the curve stands for its whole group, whose name it has."""
        return self.name == self.group

    @property
    def swatch(self) -> str:
        """The attributes that give an element of the page the colour and the line style of the curve."""
        return swatch(self.colour, self.dash)


@attrs.frozen(kw_only=True)
class Mark:
    """An event: a vertical line with a text where the pointer is.

    Attributes:
        x: position on each axis.
        text: what happened.
        kind: a kind of event with a colour of its own: ``fault``, ``pause`` or ``note``.
        group: the group of series that it belongs to.
    """

    x: Mapping[str, float]
    text: str
    kind: str = "note"
    group: str = ""


@attrs.frozen(kw_only=True)
class Chart:
    """A card of a page with curves over a common axis.

    Attributes:
        title: heading of the card.
        series: the curves; those without any finite value are left out.
        marks: the events.
        unit: unit of the values, such as ``tokens/s``.
        note: a line of explanation below the heading.
        log: whether the vertical axis is logarithmic at first.
        whole: whether the card takes the full width of a wide page.
    """

    title: str
    series: Sequence[Series]
    marks: Sequence[Mark] = ()
    unit: str = ""
    note: str = ""
    log: bool = False
    whole: bool = False

    def drawn(self) -> Chart | None:
        """Return the chart without empty curves, or None where no curve has two points."""
        kept = [series for series in self.series if np.isfinite(_floats(series.y)).any()]
        if not any(np.isfinite(_floats(series.y)).sum() > 1 for series in kept):
            return None
        return attrs.evolve(self, series=kept)

    @property
    def names_its_curves(self) -> bool:
        """Whether the card has a legend: for several curves, but not for many that the page names already."""
        many = len(self.series) > COLOURS
        return len(self.series) > 1 and not (many and all(series.is_its_group for series in self.series))

    @property
    def can_be_log(self) -> bool:
        """Whether all values are positive, so that a logarithmic axis can show them."""
        values = np.concatenate([_floats(series.y) for series in self.series])
        return bool((values[np.isfinite(values)] > 0).all())


def drawing(chart: Chart, axes: Iterable[str]) -> dict[str, Any]:
    """Return what the script of the page draws a chart from, as plain data.

    Args:
        chart: the chart, as :meth:`Chart.drawn` returned it.
        axes: names of the axes of the page.
    """
    marks: dict[tuple[str, str], list[Mark]] = {}
    for mark in chart.marks:
        marks.setdefault((mark.kind, mark.group), []).append(mark)
    return {
        "log": chart.log and chart.can_be_log,
        "series": [_curve(series, axes) for series in chart.series],
        "marks": [{"kind": k, "group": g, **_marks(same, axes)} for (k, g), same in marks.items()],
    }


def _curve(series: Series, axes: Iterable[str]) -> dict[str, Any]:
    """Return a curve: its style, its length (``few``, ``all``, ``long``), and its drawn points as columns."""
    values = _floats(series.y)
    finite = np.flatnonzero(np.isfinite(values))
    thinned = thin(values[finite])
    kept = finite[thinned.kept]
    columns = {axis: encode(_floats(series.x[axis])[kept], "f8") for axis in axes if axis in series.x}
    columns |= {"value": encode(values[kept]), "mean": encode(thinned.mean)}
    if series.low is not None and series.high is not None:
        columns |= {"low": encode(_floats(series.low)[kept]), "high": encode(_floats(series.high)[kept])}
    return {
        "name": series.name,
        "group": series.group,
        "colour": series.colour % COLOURS,
        "dash": DASHES[series.dash % len(DASHES)],
        "length": "few" if len(kept) <= FEW else "all" if len(kept) == len(finite) else "long",
        "columns": columns,
    }


def _marks(marks: Sequence[Mark], axes: Iterable[str]) -> dict[str, Any]:
    """Return the columns of marks of one kind and group."""
    found = [axis for axis in axes if all(axis in mark.x for mark in marks)]
    columns = {axis: encode(_floats([mark.x[axis] for mark in marks]), "f8") for axis in found}
    return {"columns": columns, "text": [mark.text for mark in marks]}


def encode(values: np.ndarray, kind: str = "f4") -> dict[str, str]:
    """Return numbers as little-endian bytes in base64, which take less room than digits.

    Args:
        values: ``(N,)``.
        kind: ``f4`` or ``f8``, the precision.
    """
    return {kind: b64encode(values.astype(f"<{kind}").tobytes()).decode()}


def _floats(values: Values) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)


def card(chart: Chart, number: int) -> str:
    """Return the HTML around a chart: heading, switch of the axis, legend, and the place for the curves.

    Args:
        chart: the chart.
        number: its number on the page.
    """
    unit = f" <span class=unit>{html.escape(chart.unit)}</span>" if chart.unit else ""
    note = f"<p class=note>{html.escape(chart.note)}</p>" if chart.note else ""
    pressed = str(chart.log).lower()
    log = f"<button class=log aria-pressed={pressed}>log</button>" if chart.can_be_log else ""
    curves = "".join(
        f"<button class=curve aria-pressed=true data-series={index} {series.swatch}><i></i>"
        f"{html.escape(series.name)}</button>"
        for index, series in enumerate(chart.series)
    )
    legend = f"<div class=legend>{curves}</div>" if chart.names_its_curves else ""
    return (
        f'<section class="card chart{" whole" if chart.whole else ""}" data-chart={number}>'
        f"<header><h2>{html.escape(chart.title)}{unit}</h2>{log}</header>{note}"
        f"{legend}<div class=plot></div></section>"
    )
