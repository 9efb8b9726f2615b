"""The section ``training`` with the keys that the installed tasks declare."""

from __future__ import annotations

from typing import Any

import attrs

from ultra_core.errors import PluginError
from ultra_train.config.data import DataKeys
from ultra_train.config.keys import key
from ultra_train.config.task_declaration import TaskDeclaration
from ultra_train.config.training import TaskKeys, TrainingConfig


def task_fields(task: TaskDeclaration) -> dict[str, Any]:
    """Return the fields that a task adds to ``training``: its options, or one section that holds them.

    Raises:
        PluginError: an option without a section has no default, so that every other preset would need it.
    """
    if task.options is None:
        return {}
    if task.section is not None:
        section = key(None, f"what the task {task.name} reads")
        section.type = task.options | None
        return {task.section: section}
    attrs.resolve_types(task.options)
    fields = attrs.fields(task.options)
    required = [field.name for field in fields if field.default is attrs.NOTHING]
    if required:
        raise PluginError(
            f"the task {task.name!r} of {task.distribution} declares the required option {required[0]!r} "
            "without a section of its own; give it a default, or set section"
        )
    return {field.name: copied(field) for field in fields}


def copied(field: attrs.Attribute[Any]) -> Any:
    """Return a copy of the declaration of a field, for another class."""
    return attrs.field(
        default=field.default, metadata=dict(field.metadata), type=field.type, eq=field.eq, kw_only=True
    )


def refuse_taken_keys(task: TaskDeclaration, taken: dict[str, tuple[str, Any]]) -> None:
    """Check the fields of a task against those that others have, and add them to these.

    Two tasks may share a key that they declare alike, such as those that inherit from ``TextKeys``.

    Args:
        task: the task.
        taken: fields by name, each with the name of its owner for messages.

    Raises:
        PluginError: a key means something else already.
    """
    own = task_fields(task)
    for name, field in own.items():
        if name in taken and not _alike(taken[name][1], field):
            raise PluginError(
                f"the task {task.name!r} of {task.distribution} declares the key training.{name}, which "
                f"{taken[name][0]} declares otherwise; rename it, or set section"
            )
    taken.update({name: (f"the task {task.name!r}", field) for name, field in own.items()})


def common_fields() -> dict[str, tuple[str, Any]]:
    """Return the fields that every run has, each with the name of its owner for messages."""
    attrs.resolve_types(TrainingConfig)
    return {field.name: ("every run", copied(field)) for field in attrs.fields(TrainingConfig)}


def _alike(one: Any, other: Any) -> bool:
    return (one.type, one._default, one.metadata) == (other.type, other._default, other.metadata)


def with_task_keys(tasks: tuple[TaskDeclaration, ...], default: str | None) -> type[TrainingConfig]:
    """Return ``TrainingConfig`` with the keys of tasks, placed after those about data.

    Args:
        tasks: the tasks, whose keys do not collide.
        default: name of the task of a preset that names none; None makes the key required.
    """
    common = {name: field for name, (_, field) in common_fields().items()}
    if default is not None:
        common["task"] = key(default, "name of a task plugin")
        common["task"].type = str
    first = [*(field.name for field in attrs.fields(TaskKeys)), *(f.name for f in attrs.fields(DataKeys))]
    fields = {name: common[name] for name in first}
    for task in tasks:
        fields |= task_fields(task)
    fields |= {name: field for name, field in common.items() if name not in fields}
    return subclass(TrainingConfig, fields)


def subclass(base: type, fields: dict[str, Any]) -> Any:
    """Return a frozen attrs class with exactly these fields, under the name and docstring of its base."""
    body = {"__doc__": base.__doc__, "__module__": base.__module__}
    return attrs.make_class(
        base.__name__, fields, bases=(base,), class_body=body, frozen=True, kw_only=True, slots=False
    )
