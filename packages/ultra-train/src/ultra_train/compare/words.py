"""Numbers as the table and the page show them."""

from __future__ import annotations

from collections.abc import Sized

from ultra_train.compare.learning_rates import learning_rates
from ultra_train.compare.statistics import Estimate
from ultra_train.compare.summary import ArmSummary

NAMES = {
    "eval_loss": "loss",
    "eval_perplexity": "perplexity",
    "eval_accuracy": "accuracy",
    "tokens_per_second": "tokens/s",
    "peak_memory": "memory",
    "seconds": "time",
}
"""Short names of metrics and costs."""


def name_of(metric: str) -> str:
    """Return the short name of a metric."""
    return NAMES.get(metric, metric.removeprefix("eval_").replace("_", " "))


def shown(metric: str, value: Estimate | None, *, sign: bool = False) -> str:
    """Return a value with its interval, such as ``3.214 ± 0.012``; a dash where there is none."""
    if value is None:
        return "-"
    if metric in ("peak_memory", "seconds"):
        return duration(value.mean) if metric == "seconds" else memory(value.mean)
    if metric == "tokens_per_second":
        return f"{value.mean:,.0f}"
    if metric.endswith("accuracy"):
        return f"{value.mean:.1%}" + ("" if value.half_width is None else f" ± {value.half_width:.1%}")
    digits = ".3f" if abs(value.mean) < 100 else ",.0f"
    half = "" if value.half_width is None else f" ± {value.half_width:{digits}}"
    return f"{value.mean:{'+' if sign else ''}{digits}}{half}"


def duration(seconds: float) -> str:
    """Return seconds as ``42 s``, ``3:05 min`` or ``2:10 h``."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"


def memory(count: float) -> str:
    """Return a number of bytes in MB or GB."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def learning_rate(summary: ArmSummary) -> str:
    """Return the learning rate of an arm, where it comes from, and whether the sweep should go on."""
    rate = learning_rates(summary.best.results[0].trial.preset).words
    if len(summary.rates) > 1:
        return f"{rate} (x{summary.best.factor:.3g}{', at the edge' if summary.at_edge else ''})"
    if summary.best.factor != 1.0:
        return f"{rate} (x{summary.best.factor:.3g})"
    return f"{rate} (default)" if summary.default_rate else rate


def counted(items: Sized, noun: str) -> str:
    """Return the number of items and what they are, such as ``3 arms``."""
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"
