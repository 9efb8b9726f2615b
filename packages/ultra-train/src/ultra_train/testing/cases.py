"""A plugin under test that the trainer uses; one class for each kind."""

from __future__ import annotations

from typing import Any

import attrs

from ultra_core.plugins.metadata import Entry


@attrs.frozen
class Case:
    """A plugin and where it comes from; its text is its name."""

    entry: Entry

    def __str__(self) -> str:
        return self.entry.name

    @property
    def name(self) -> str:
        """The registered name."""
        return self.entry.name

    @property
    def plugin(self) -> Any:
        """The object behind the entry point, which is imported.

        Raises:
            PluginError: the import fails.
        """
        return self.entry.load()


class TaskCase(Case):
    """A task, a subclass of ``ultra_train.tasks.base.Task``."""


class HookCase(Case):
    """A module, object or class with hooks."""


class ModelCase(Case):
    """A model class, a set of defaults and the class that is trained."""


class PresetCase(Case):
    """A preset; the target of its entry is the path of the file."""
