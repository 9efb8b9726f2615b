"""The events of a run, which are written into ``metrics.jsonl`` and partly printed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ultra_core.errors import listed
from ultra_train.callbacks.metrics_file import MetricsFile

Event = Mapping[str, Any]


class EventLog:
    """Writes the events of a run into its metrics file, and prints some of them.

    Args:
        metrics: the metrics file of the run.
        say: prints a line.
    """

    def __init__(self, metrics: MetricsFile, say: Callable[[str], None]) -> None:
        self.metrics = metrics
        self.say = say

    def __call__(self, event: Event) -> None:
        """Write an event, and print it if it has a line."""
        self.metrics.write(event)
        if (line := format_event(event)) is not None:
            self.say(line)

    def write_once(self, events: Iterable[Event]) -> None:
        """Write the events of a task about its data, unless they are in the file already."""
        there = {record.get("event") for record in self.metrics.read()}
        for event in events:
            if event["event"] not in there:
                self.metrics.write({"step": 0, **event})


def format_event(event: Event) -> str | None:
    """Return the line that is printed for an event, or None.

    A task that has something alarming to say sets ``alarm`` to true, and says it in ``reason``.
    """
    if event.get("alarm"):
        return f"alarm after update {event['step']}: {event['reason']}"
    match event["event"]:
        case "dropped_update":
            where = f"; first in {event['module']}" if event["module"] else ""
            return (
                f"update {event['step']} was dropped: {event['reason']}{where} ({event['in_a_row']} in a row)"
            )
        case "early_stopping":
            return f"training ends early after update {event['step']}: {event['reason']}"
        case "notice":
            return f"notice: {event['text']}"
        case "unknown_metric":
            return (
                f"notice: no best checkpoint is kept, since training.best_metric {event['metric']} is not "
                f"measured; choose one of {listed(event['measured'])}"
            )
        case "out_of_memory":
            return (
                f"memory ran out in update {event['step']} ({event['reason']}); it is computed again, and "
                f"from now on each micro-batch runs in {event['parts']} parts"
            )
        case "rollback":
            return f"back to the checkpoint of step {event['to_step']}: {event['reason']}"
    return None
