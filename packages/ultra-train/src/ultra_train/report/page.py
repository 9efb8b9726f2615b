"""The frame of a self-contained page: one file, from which a browser loads nothing else."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import distribution
from importlib.resources import files as resources
from itertools import groupby
from pathlib import Path

import attrs
import numpy as np

from ultra_train.report.charts import AXES, Axis, Chart, Series, card, drawing
from ultra_train.system import files

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""What the page allows a browser to load: what the page itself holds."""

FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{content}
</main>
{scripts}
</body>
</html>
"""


class Page:
    """A page of sections and charts, in the order in which they are added.

    All charts share one horizontal axis: zooming into one zooms into all, and one switch changes the quantity
    that it shows. The page has a switch for every group of series when there are several.

    Args:
        title: title of the page.
        axes: the quantities of the horizontal axis; the first one is shown at first, and those that no series
            has are not offered.
    """

    def __init__(self, title: str, axes: Mapping[str, Axis] = AXES) -> None:
        self.title = title
        self.axes = axes
        self._parts: list[str | Chart] = []

    def add(self, content: str) -> None:
        """Add HTML, such as a :func:`ultra_train.report.tables.section`."""
        self._parts.append(content)

    def add_chart(self, chart: Chart) -> bool:
        """Add a chart, and return whether it has anything to show; an empty one is left out."""
        drawn = chart.drawn()
        if drawn is None:
            return False
        self._parts.append(drawn)
        return True

    def write(self, path: Path) -> None:
        """Write the page completely or not at all; an existing file is replaced."""
        files.write_text(path, self.render().encode("utf-8", "backslashreplace").decode())

    def render(self) -> str:
        """Return the page as HTML."""
        parts = _without_holes(self._parts)
        charts = [part for part in parts if isinstance(part, Chart)]
        axes = self._offered(charts)
        content, number = [], 0
        for part in parts:
            if isinstance(part, str):
                content.append(part)
                continue
            if number == 0:
                content.append(_controls(charts, axes))
            content.append(card(part, number))
            number += 1
        return FRAME.format(
            policy=POLICY,
            title=html.escape(self.title),
            style=_asset("page.css"),
            content="\n".join(content),
            scripts=_scripts(charts, axes) if charts else "",
        )

    def _offered(self, charts: Sequence[Chart]) -> dict[str, Axis]:
        """Return the axes that at least one series has."""
        return {
            name: axis
            for name, axis in self.axes.items()
            if any(np.isfinite(np.asarray(s.x.get(name, ()))).any() for c in charts for s in c.series)
        }


def _without_holes(parts: Sequence[str | Chart]) -> list[str | Chart]:
    """Return the parts; the last of an odd number of charts of half width takes the full one."""
    found: list[str | Chart] = []
    for halves, group in groupby(parts, key=lambda part: isinstance(part, Chart) and not part.whole):
        same = list(group)
        if halves and len(same) % 2 and isinstance(last := same[-1], Chart):
            same[-1] = attrs.evolve(last, whole=True)
        found += same
    return found


def _scripts(charts: Sequence[Chart], axes: Mapping[str, Axis]) -> str:
    """Return the data of the charts, the library that draws them, and the script of the page."""
    data = {
        "axes": {name: attrs.asdict(axis) for name, axis in axes.items()},
        "charts": [drawing(chart, axes) for chart in charts],
    }
    text = json.dumps(data).replace("<", "\\u003c")  # no name ends the element
    scripts = "\n".join(f"<script>{script}</script>" for script in (_bokeh(), _asset("page.js")))
    return f'<script type="application/json" id="data">{text}</script>\n{scripts}'


@cache
def _bokeh() -> str:
    """Return the part of BokehJS that draws charts; importing bokeh would take a second."""
    path = distribution("bokeh").locate_file("bokeh/server/static/js/bokeh.min.js")
    return Path(str(path)).read_text("utf-8")


def _controls(charts: Sequence[Chart], axes: Mapping[str, Axis]) -> str:
    """Return the switches of the page."""
    options = "".join(
        f"<button data-x={name} aria-pressed={str(number == 0).lower()}>{html.escape(axis.label)}</button>"
        for number, (name, axis) in enumerate(axes.items())
    )
    return (
        "<nav class=controls aria-label='Charts'><div class=switches>"
        f"<div class=switch role=group aria-label='Horizontal axis'>{options}</div>"
        "<label class=smoothing>Smoothing <input type=range id=smoothing min=0 max=0.99 step=0.01 value=0>"
        "<output for=smoothing>off</output></label><button id=reset>Reset zoom</button></div>"
        f"{_legend(charts)}"
        "<p class=hint>Drag across a chart to zoom into all of them; double-click to see everything again. "
        "Click a name to hide its curve.</p></nav>"
    )


def _legend(charts: Sequence[Chart]) -> str:
    """Return the legend of the page, with a switch for every group of curves; empty for a single group.

    A group of several curves in one chart has their colour, and no line style.
    """
    groups: dict[str, Series] = {}
    for series in (one for chart in charts for one in chart.series):
        if series.group not in groups or series.is_its_group:
            groups[series.group] = series if series.is_its_group else attrs.evolve(series, dash=0)
    if len(groups) < 2:
        return ""
    buttons = "".join(
        f'<button class=group aria-pressed=true data-group="{html.escape(name)}" {series.swatch}>'
        f"<i></i>{html.escape(name)}</button>"
        for name, series in groups.items()
    )
    return f"<div class=legend>{buttons}</div>"


@cache
def _asset(name: str) -> str:
    return resources("ultra_train.report").joinpath("assets", name).read_text("utf-8")
