"""Line charts from named series, drawn by bokeh in the browser."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from ultra_train.report.thinning import thin

if TYPE_CHECKING:
    from bokeh.models import Range1d
    from bokeh.plotting import figure as Figure

COLOURS = 8
"""Colours of curves, which the style sheet of the page defines for light and dark."""

DASHES = ("solid", "dashed", "dotted", "dashdot")
"""Line styles, which distinguish the curves of one colour."""

FEW = 60
"""A curve with at most so many points shows each of them as a dot."""

HEIGHT = 260
"""Height of a chart in CSS pixels."""


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
    x: Mapping[str, Sequence[float]]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    group: str = ""
    colour: int = 0
    dash: int = 0


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
    def can_be_log(self) -> bool:
        """Whether all values are positive, so that a logarithmic axis can show them."""
        values = np.concatenate([_floats(series.y) for series in self.series])
        return bool((values[np.isfinite(values)] > 0).all())


def draw(chart: Chart, name: str, x_range: Range1d, axes: Mapping[str, Axis]) -> Figure:
    """Return the chart as a figure of bokeh.

    Args:
        chart: the chart, as :meth:`Chart.drawn` returned it.
        name: name of the figure, unique on the page.
        x_range: range of the horizontal axis, which all charts of a page share.
        axes: the axes of the page; the first one is shown at first.
    """
    from bokeh.models import BoxZoomTool, DataRange1d, HoverTool, Range1d, WheelZoomTool
    from bokeh.plotting import figure

    logarithmic = chart.log and chart.can_be_log
    plot: Any = figure(
        name=name,
        height=HEIGHT,
        sizing_mode="stretch_width",
        x_range=x_range,
        y_range=DataRange1d(only_visible=True, range_padding=0.06),
        y_axis_type="log" if logarithmic else "linear",
        tools="",
        toolbar_location=None,
        min_border_right=12,
        min_border_top=8,
    )
    plot.extra_y_ranges = {"marks": Range1d(start=0, end=1)}
    _style(plot)
    first = next(iter(axes))
    lines: list[Any] = []
    data: list[Any] = []
    for number, series in enumerate(chart.series):
        drawn = _draw_series(plot, series, number, axes, first)
        lines.append(drawn[0])
        data += drawn
    plot.y_range.renderers = data
    dots = _draw_marks(plot, chart.marks, axes, first)
    where = "".join(f" <span data-axis='{a}'>@{a}{{{axes[a].format}}} {axes[a].label}</span>" for a in axes)
    plot.add_tools(
        HoverTool(
            renderers=lines,
            mode="vline",
            point_policy="snap_to_data",
            line_policy="nearest",
            formatters={"@value": "printf"},
            tooltips=_tip(f"$name <b>@value{{%.4g}}</b><small>{where}</small>"),
        )
    )
    if dots:
        plot.add_tools(HoverTool(renderers=dots, mode="mouse", tooltips=_tip(f"@text<small>{where}</small>")))
    zoom = BoxZoomTool(dimensions="width")
    plot.add_tools(zoom, WheelZoomTool(dimensions="width", modifiers={"ctrl": True}))
    plot.toolbar.active_drag = zoom
    return plot


def _tip(text: str) -> str:
    return f"<div class='tip' style='font: 12px/1.5 system-ui, sans-serif'>{text}</div>"


def _style(plot: Any) -> None:
    """Set what does not depend on light or dark; the script of the page sets the colours."""
    from bokeh.models import NumeralTickFormatter, PrintfTickFormatter

    font = "system-ui, sans-serif"
    plot.background_fill_alpha = plot.border_fill_alpha = 0
    plot.outline_line_color = None
    plot.xgrid.grid_line_color = None
    plot.axis.major_label_text_font = font
    plot.axis.major_label_text_font_size = "11px"
    plot.axis.minor_tick_line_color = None
    plot.axis.major_tick_in = 0
    plot.axis.major_tick_out = 4
    plot.yaxis.axis_line_color = plot.yaxis.major_tick_line_color = None
    plot.xaxis.formatter = NumeralTickFormatter(format="0.[00]a")
    plot.xaxis.ticker.desired_num_ticks = 5
    plot.yaxis.formatter = PrintfTickFormatter(format="%.4g")


def _draw_series(
    plot: Any, series: Series, number: int, axes: Mapping[str, Axis], first: str
) -> tuple[Any, ...]:
    """Draw a curve, its smoothed form, its dots and its band; return the first and what sets the range."""
    from bokeh.models import ColumnDataSource

    columns, few = _columns(series, axes)
    source = ColumnDataSource(columns)
    dash = DASHES[series.dash % len(DASHES)]
    tags = [number, series.colour % COLOURS, series.group]
    options: dict[str, Any] = {"source": source, "name": series.name}
    drawn = []
    if "low" in columns:
        band = plot.varea(first, "low", "high", fill_alpha=0.18, **options)
        band.tags = ["band", *tags]
        drawn.append(band)
    line = plot.line(first, "value", line_width=1.8, line_dash=dash, line_join="round", **options)
    line.tags = ["line", *tags]
    smooth = plot.line(first, "smooth", line_width=2.2, line_dash=dash, line_join="round", **options)
    smooth.tags, smooth.visible = ["smooth", *tags], False
    if few:
        dots = plot.scatter(first, "value", size=5, **options)
        dots.tags = ["dots", *tags]
        drawn.append(dots)
    return (line, *drawn)


def _columns(series: Series, axes: Mapping[str, Axis]) -> tuple[dict[str, Any], bool]:
    """Return the drawn points as columns, and whether they are few."""
    values = _floats(series.y)
    finite = np.flatnonzero(np.isfinite(values))
    thinned = thin(values[finite])
    kept = finite[thinned.kept]
    columns: dict[str, Any] = {
        axis: _floats(series.x[axis])[kept] if axis in series.x else np.full(len(kept), np.nan)
        for axis in axes
    }
    columns["value"] = values[kept].astype(np.float32)
    columns["mean"] = columns["smooth"] = thinned.mean.astype(np.float32)
    if series.low is not None and series.high is not None:
        columns["low"] = _floats(series.low)[kept].astype(np.float32)
        columns["high"] = _floats(series.high)[kept].astype(np.float32)
    return columns, len(kept) <= FEW


def _draw_marks(plot: Any, marks: Sequence[Mark], axes: Mapping[str, Axis], first: str) -> list[Any]:
    """Draw the events of every kind and group; return what the pointer finds."""
    from bokeh.models import ColumnDataSource

    found: list[Any] = []
    for kind, group in dict.fromkeys((mark.kind, mark.group) for mark in marks):
        chosen = [mark for mark in marks if (mark.kind, mark.group) == (kind, group)]
        columns: dict[str, Any] = {axis: [mark.x.get(axis, float("nan")) for mark in chosen] for axis in axes}
        columns |= {"text": [mark.text for mark in chosen], "foot": [0.0] * len(chosen)}
        source = ColumnDataSource(columns)
        options: dict[str, Any] = {"source": source, "y_range_name": "marks"}
        lines = plot.segment(first, 0, first, 1, line_dash="dotted", line_alpha=0.7, **options)
        lines.tags = ["mark", kind, group]
        dots = plot.scatter(first, "foot", marker="triangle", size=11, **options)
        dots.tags = ["mark", kind, group]
        found.append(dots)
    return found


def _floats(values: Sequence[float]) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)


def card(chart: Chart, number: int, place: str) -> str:
    """Return the HTML around a chart: heading, switch of the axis, legend.

    Args:
        chart: the chart.
        number: its number on the page.
        place: the HTML that bokeh draws the figure into.
    """
    unit = f" <span class=unit>{html.escape(chart.unit)}</span>" if chart.unit else ""
    note = f"<p class=note>{html.escape(chart.note)}</p>" if chart.note else ""
    pressed = str(chart.log).lower()
    log = f"<button class=log aria-pressed={pressed}>log</button>" if chart.can_be_log else ""
    legend = "".join(
        f'<button class=curve aria-pressed=true data-series={index} style="--line:var(--series-'
        f'{series.colour % COLOURS})" data-dash={DASHES[series.dash % len(DASHES)]}><i></i>'
        f"{html.escape(series.name)}</button>"
        for index, series in enumerate(chart.series)
    )
    return (
        f'<section class="card chart{" whole" if chart.whole else ""}" data-chart="chart-{number}">'
        f"<header><h2>{html.escape(chart.title)}{unit}</h2>{log}</header>{note}"
        f"<div class=legend>{legend}</div><div class=plot>{place}</div></section>"
    )
