"""Numbers and durations in a form that a reader takes in at a glance."""

from __future__ import annotations


def short(number: float) -> str:
    """Return a number with three digits and a unit: 1.23 M."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            return f"{number / (1e3 if unit == 'k' else size):.3g} {unit}"
    return f"{number:,.0f}"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: 3 d 4 h, 12 min 5 s."""
    days, rest = divmod(round(seconds), 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, seconds = divmod(rest, 60)
    units = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    while len(units) > 2 and units[0][0] == 0:
        units.pop(0)
    return " ".join(f"{value} {unit}" for value, unit in units[:2] if value) or "0 s"
