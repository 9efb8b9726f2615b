"""The rules of presets."""

from __future__ import annotations

from pathlib import Path

from ultra_core.config.preset_meta import read_meta
from ultra_core.errors import UltraError
from ultra_core.testing import Finding, Rules
from ultra_train.config import load_any
from ultra_train.testing.cases import PresetCase

PRESET_RULES = Rules()
"""The rules of presets by id, in order; a rule is called with a :class:`PresetCase`."""


@PRESET_RULES("C1", gate=True, least="quick")
def loads(case: PresetCase) -> None:
    """The preset loads without faults.

    Fix: ``ultra-train validate NAME`` lists all faults, each at its line and column.
    """
    try:
        load_any(Path(case.entry.target))
    except UltraError as error:
        raise Finding(str(error)) from error


@PRESET_RULES("PR1", least="quick")
def has_a_summary(case: PresetCase) -> None:
    """``meta.summary`` says in one line what the preset is for; ``ultra-train list presets`` shows it.

    Fix: begin the file with ``meta: {summary: ...}``.
    """
    summary = read_meta(Path(case.entry.target)).get("summary")
    if not isinstance(summary, str) or not summary.strip() or "\n" in summary.strip():
        raise Finding(f"meta.summary is {summary!r}")
