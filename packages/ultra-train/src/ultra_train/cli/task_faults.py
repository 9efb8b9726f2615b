"""What keeps an installed task from being used as it declares: keys or commands that others have already."""

from __future__ import annotations

from ultra_core.plugins.metadata import Entry
from ultra_train.cli.app import commands
from ultra_train.cli.task_commands import shadowed
from ultra_train.config.declared_tasks import declared_tasks


def faults_of(entry: Entry) -> list[str]:
    """Return why presets cannot name a task, and which of its commands cannot be called.

    The declarations of all installed tasks are imported.
    """
    unusable = declared_tasks().broken.get(entry.name)
    hidden = shadowed(entry, commands()).items()
    return [
        *([] if unusable is None else [unusable]),
        *(f"ultra-train {name} is not its command but {target}" for name, target in hidden),
    ]
