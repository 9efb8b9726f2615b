"""The events of a run as marks on its charts and as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from ultra_train.report.charts import Mark
from ultra_train.report.run_record import Record, RunRecord, is_number
from ultra_train.report.words import duration

SILENT = ("data", "samples", "confusion")
"""Events that are no incidents."""

FAULTS = ("drop", "rollback", "fail", "error", "critical", "fault", "non_finite")
PAUSES = ("pause", "thermal", "disk", "hot", "memory", "wait")
"""Parts of the names of events that are faults, or pauses."""

MOST = 150
"""Marks of one kind on a chart; more are joined with their neighbours."""


@attrs.frozen(kw_only=True)
class Incident:
    """An event of a run in words.

    Attributes:
        step: the update.
        kind: ``fault``, ``pause`` or ``note``.
        name: what happened, in a word or two.
        text: why, and where.
    """

    step: int
    kind: str
    name: str
    text: str

    @property
    def sentence(self) -> str:
        """The update, the name and the reason in one line."""
        return f"update {self.step:,}: {self.name}{f': {self.text}' if self.text else ''}"


def incidents(run: RunRecord) -> list[Incident]:
    """Return the events of a run and its resumptions, in the order of the updates."""
    found = [_incident(event) for event in run.events if event["event"] not in SILENT]
    found += [
        Incident(step=_step(part), kind="note", name="resumed", text=_after(before))
        for before, part in zip(run.parts, run.parts[1:], strict=False)
    ]
    return sorted(found, key=lambda one: one.step)


def _incident(event: Record) -> Incident:
    name = str(event["event"])
    kinds = (("fault", FAULTS), ("pause", PAUSES))
    named = next((kind for kind, words in kinds if any(word in name for word in words)), "note")
    kind = "fault" if event.get("alarm") else named
    told = [str(event[key]) for key in ("reason", "text") if event.get(key)]
    told += [f"first in {event['module']}"] if event.get("module") else []
    told += [f"for {duration(event['seconds'])}"] if is_number(event.get("seconds")) else []
    told += [f"back to update {event['to_step']}"] if "to_step" in event else []
    if not told:
        told = [f"{key} {value}" for key, value in event.items() if key not in ("event", "step")]
    return Incident(step=_step(event), kind=kind, name=name.replace("_", " "), text="; ".join(told))


def _step(record: Record) -> int:
    step = record.get("step")
    return step if type(step) is int else 0


def _after(part: Record) -> str:
    """Return how the part before a resumption ended."""
    outcome = part.get("outcome")
    return f"before, the run was stopped ({outcome})" if outcome else "before, the process was killed"


def marks(run: RunRecord) -> Iterator[Mark]:
    """Yield the incidents as marks; where there are many, neighbours of one kind share one."""
    found = incidents(run)
    for kind in dict.fromkeys(one.kind for one in found):
        chosen = [one for one in found if one.kind == kind]
        width = max(1, (chosen[-1].step - chosen[0].step) // MOST)
        together: dict[int, list[Incident]] = {}
        for one in chosen:
            together.setdefault(one.step // width, []).append(one)
        for group in together.values():
            axes = {axis: float(x[0]) for axis, x in run.axes([group[0].step]).items()}
            yield Mark(x=axes, text=_joined(group), kind=kind, group=run.name)


def _joined(group: Sequence[Incident]) -> str:
    first, *others = group
    more = f" (and {len(others):,} more until update {group[-1].step:,})" if others else ""
    return first.sentence + more
