"""The declarations of all installed tasks, and the classes of a preset with their keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache

import attrs

from ultra_core import tasks
from ultra_core.config import KeyPath
from ultra_core.errors import PluginError
from ultra_core.plugins.metadata import BUILT_IN, Entry
from ultra_core.plugins.registry import Registry
from ultra_train.config.form import PresetForm
from ultra_train.config.preset import PresetFile
from ultra_train.config.task_declaration import TaskDeclaration
from ultra_train.config.task_keys import (
    common_fields,
    copied,
    refuse_taken_keys,
    subclass,
    task_fields,
    with_task_keys,
)
from ultra_train.config.training import TrainingConfig

untrainable = Registry("ultra.task_declarations", "task declaration")
"""Declarations of tasks that no installed package trains yet: their presets load and are checked."""


@attrs.frozen(slots=False, eq=False)
class DeclaredTasks:
    """The tasks whose keys a preset may have.

    Attributes:
        all: every declaration whose keys can be used together with the others.
        broken: names of tasks whose declaration cannot be used, each with the reason.
    """

    all: tuple[TaskDeclaration, ...]
    broken: Mapping[str, str]

    def find(self, name: str) -> TaskDeclaration | None:
        """Return the task that a preset names, as ``name`` or ``distribution:name``."""
        distribution, _, short = name.rpartition(":")
        found = (t for t in self.all if t.name == short and distribution in ("", t.distribution))
        return next(found, None)

    @cached_property
    def default(self) -> str | None:
        """The task of a preset that names none: the first that says so, ours before those of others."""
        names = [(task.distribution not in BUILT_IN, task.name) for task in self.all if task.default]
        return min(names)[1] if names else None

    @cached_property
    def readers(self) -> Mapping[str, frozenset[str]]:
        """The keys of ``training`` that only some tasks read, each with the names of these tasks."""
        found: dict[str, frozenset[str]] = {}
        for task in self.all:
            for key in task_fields(task):
                found[key] = found.get(key, frozenset()) | {task.name}
        return found

    @cached_property
    def training_class(self) -> type[TrainingConfig]:
        """``TrainingConfig`` with the keys of the tasks."""
        return with_task_keys(self.all, self.default)

    @cached_property
    def preset_class(self) -> type[PresetFile]:
        """``PresetFile`` with the keys of the tasks."""
        attrs.resolve_types(PresetFile)
        fields = {field.name: copied(field) for field in attrs.fields(PresetFile)}
        fields["training"].type = self.training_class
        return subclass(PresetFile, fields)

    @cached_property
    def own_optimizer_paths(self) -> tuple[KeyPath, ...]:
        """The paths of the optimizer sections of tasks."""
        return tuple((*t.path, t.own_optimizer.key) for t in self.all if t.own_optimizer is not None)

    @cached_property
    def forms(self) -> tuple[type[PresetForm], ...]:
        """The other forms of a file that tasks declare."""
        return tuple(dict.fromkeys(task.form for task in self.all if task.form is not None))


def declared_tasks() -> DeclaredTasks:
    """Return the declarations of the installed tasks; a broken one affects only presets that name it."""
    found: list[tuple[str, str, type[TaskDeclaration]]] = []
    broken: dict[str, str] = {}
    for entry in _entries():
        try:
            plugin = entry.load()
        except PluginError as error:
            broken[entry.name] = str(error)
            continue
        if isinstance(plugin, type) and issubclass(plugin, TaskDeclaration):
            found.append((entry.name, entry.distribution, plugin))
        else:
            broken[entry.name] = (
                f"{entry.target} of {entry.distribution} must be a subclass of "
                f"ultra_train.tasks.base.Task to be the task {entry.name!r}"
            )
    return _checked(tuple(found), tuple(broken.items()))


def _entries() -> Iterator[Entry]:
    """Yield the entries of tasks, ours first; a trainable task of ours replaces its mere declaration."""
    trainable = sorted(tasks.entries(), key=lambda e: (e.distribution not in BUILT_IN, e.name))
    yield from trainable
    declaring = {e.name for e in trainable if e.distribution in BUILT_IN}
    yield from (entry for entry in untrainable.entries() if entry.name not in declaring)


@lru_cache(maxsize=8)
def _checked(
    found: tuple[tuple[str, str, type[TaskDeclaration]], ...], broken: tuple[tuple[str, str], ...]
) -> DeclaredTasks:
    """Leave out the tasks whose keys collide with those of tasks before them."""
    taken, usable, unusable = common_fields(), [], dict(broken)
    for name, distribution, declaration in found:
        task = declaration(name, distribution)
        try:
            refuse_taken_keys(task, taken)
        except PluginError as error:
            unusable[name] = str(error)
        else:
            usable.append(task)
    return DeclaredTasks(tuple(usable), unusable)
