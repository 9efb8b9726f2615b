"""The commands that installed tasks declare, read from their source without importing them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping

from ultra_core.errors import PluginError
from ultra_core.plugins.kinds import tasks
from ultra_core.plugins.metadata import BUILT_IN, Entry
from ultra_core.plugins.source_files import definition

ATTRIBUTE = "commands"
"""The attribute of ``ultra_train.tasks.base.Task`` that declares them."""


def task_commands() -> dict[str, str]:
    """Return the commands of all tasks, each with its ``module:attribute``; ours win over those of others."""
    found: dict[str, str] = {}
    for entry in sorted(tasks.entries(), key=lambda entry: (entry.distribution not in BUILT_IN, entry.name)):
        for name, target in declared_commands(entry).items():
            found.setdefault(name, target)
    return found


def shadowed(entry: Entry, others: Mapping[str, str]) -> dict[str, str]:
    """Return the commands of a task that cannot be called, each with the target of that name that is called.

    Args:
        entry: the task.
        others: the commands of ``ultra-train``, each with its ``module:attribute``.
    """
    own = declared_commands(entry)
    return {name: others[name] for name, target in own.items() if others.get(name, target) != target}


def declared_commands(entry: Entry) -> Mapping[str, str]:
    """Return the commands of a task: from its class when that is imported, else as its source has them."""
    module = entry.target.partition(":")[0]
    if entry.value is not None or module in sys.modules:
        return _of_class(entry)
    node = definition(entry)
    for statement in node.body if isinstance(node, ast.ClassDef) else ():
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if any(isinstance(target, ast.Name) and target.id == ATTRIBUTE for target in targets):
                try:
                    return _texts(ast.literal_eval(statement.value))
                except ValueError:
                    return _of_class(entry)
    return {}


def _of_class(entry: Entry) -> Mapping[str, str]:
    try:
        return _texts(getattr(entry.load(), ATTRIBUTE, {}))
    except PluginError:
        return {}  # it hurts only those who name it


def _texts(value: object) -> Mapping[str, str]:
    pairs = value.items() if isinstance(value, Mapping) else ()
    return {name: target for name, target in pairs if isinstance(name, str) and isinstance(target, str)}
