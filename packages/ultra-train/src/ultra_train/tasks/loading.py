"""Loading the declaration of an installed task by its name."""

from __future__ import annotations

from ultra_core import tasks
from ultra_core.errors import PluginError
from ultra_train.tasks.base import Task


def load_task(name: str) -> Task:
    """Import a task plugin, and return its declaration.

    Args:
        name: the name of the task in a preset.

    Raises:
        UnknownNameError: no installed package offers the task.
        PluginError: the plugin cannot be imported, or is no task.
    """
    entry = tasks.entry(name)
    plugin = entry.load()
    if not (isinstance(plugin, type) and issubclass(plugin, Task)):
        raise PluginError(
            f"{entry.target} of {entry.distribution} must be a subclass of ultra_train.tasks.base.Task to be "
            f"the task {entry.name!r}"
        )
    return plugin(entry.name, entry.distribution)
