"""The forms that preset files may have besides the common one."""

from __future__ import annotations

from typing import Any

from ultra_core.plugins.registry import Registry
from ultra_train.config.declared_tasks import DeclaredTasks
from ultra_train.config.form import PresetForm

registered = Registry("ultra.preset_forms", "preset form")
"""Forms that belong to no task, such as pipelines, which have steps of many."""


def other_forms(known: DeclaredTasks) -> tuple[type[PresetForm[Any]], ...]:
    """Return the forms that tasks declare, and those that are registered by name."""
    return (*known.forms, *(entry.load() for entry in registered.entries()))
