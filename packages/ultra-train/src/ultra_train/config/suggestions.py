"""Suggestions for unknown keys: the key that was probably meant, and its place."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, get_origin

import attrs

from ultra_core import optimizers
from ultra_core.config import KeyPath, Source
from ultra_core.contracts import SEED_ROLES
from ultra_core.errors import UltraError
from ultra_core.plugins.types import TypeVisitor
from ultra_optim.roles.option_names import OptionNames
from ultra_train.config.declared_tasks import DeclaredTasks, declared_tasks
from ultra_train.config.synonyms import PARAMETERS, SYNONYMS, by_synonym, flattened

COMMAND_LINE = {
    "resume": "--resume",
    "resumefromcheckpoint": "--resume",
    "runname": "--name",
    "experimentname": "--name",
    "outputdir": "--output-dir",
    "loggingdir": "--output-dir",
    "nocuda": "--device",
    "usecpu": "--device",
    "device": "--device",
    "accelerator": "--device",
}
"""Options of ``ultra-train run`` that other tools have as keys, by the flattened name there."""

OF_OPTIMIZER = dict.fromkeys(("name", "type", "class", "cls", "optimizer", "optim"), "optimizer_class")
OF_OPTIMIZER |= dict.fromkeys(("params", "args", "kwargs", "options", "hyperparameters"), "parameters")
"""Keys of an optimizer section, by their flattened names in other tools."""


def suggestion(source: Source, known: DeclaredTasks, path: KeyPath) -> str:
    """Return ``did you mean training.batch_size?`` for an unknown key; empty when nothing fits.

    Args:
        source: the file.
        known: the installed tasks, whose keys may be meant.
        path: path of the unknown key.
    """
    name = flattened(str(path[-1]))
    option = COMMAND_LINE.get(name)
    if path[-2:-1] == ("optimizer",) and (own := OF_OPTIMIZER.get(name)):
        return f"did you mean {'.'.join(map(str, path[:-1]))}.{own}?"
    target = _parameter(str(path[-1])) or _of_a_section(source, known, path) or flat_synonyms(known).get(name)
    if not target and not option:
        target = elsewhere(known.preset_class, path)
    answers = [_with_own_optimizer(source, target)] if target else []
    answers += [f"the option {option} of ultra-train run"] if option else []
    return f"did you mean {' or '.join(answers)}?" if answers else ""


@lru_cache(maxsize=8)
def flat_synonyms(known: DeclaredTasks) -> dict[str, str]:
    """Return the key for each name in other tools, with keys of tasks that have no section of their own."""
    table = dict(SYNONYMS)
    for task in known.all:
        if task.section is None and task.form is None:
            table |= task.synonyms
    return by_synonym(table)


def _with_own_optimizer(source: Source, target: str) -> str:
    """Return the place of a parameter of AdamW as one of the optimizer that the file names."""
    named = source.get(("training", "optimizer", "optimizer_class"))
    own = optimizers.canonical(named)[0].rpartition(":")[2] if isinstance(named, str) else "adamw"
    return target.replace(f"{PARAMETERS}.adamw-", f"{PARAMETERS}.{own}-")


def _parameter(name: str) -> str | None:
    """Return the place of a key that starts with the name of an optimizer."""
    prefix, dash, rest = name.partition("-")
    if not dash or prefix not in optimizers:
        return None
    try:
        names = OptionNames(prefix, optimizers.get(prefix), SEED_ROLES)
    except UltraError:
        return f"{PARAMETERS}.{name}"
    return f"{PARAMETERS}.{prefix}-{names.meant(rest) or rest}"


def _of_a_section(source: Source, known: DeclaredTasks, path: KeyPath) -> str | None:
    """Return the key that is meant in the section of a task, or in a preset for this task."""
    for task in known.all:
        inside = task.section is not None and path[:2] == task.path
        if inside or (task.section is not None and source.get(("training", "task")) == task.name):
            name = flattened(str(path[-1]))
            cls: type = known.preset_class
            places = key_places(cls).get(name, ())
            own = [place for place in places if place[:2] == task.path and place != path]
            return ".".join(own[0]) if own else by_synonym(task.synonyms).get(name)
    return None


def elsewhere(cls: type, path: KeyPath) -> str | None:
    """Return the place of a key by this name in another section, the nearest to the top of the file."""
    places = [place for place in key_places(cls).get(flattened(str(path[-1])), ()) if place != path]
    return ".".join(places[0]) if places else None


def misplaced_key(key: str) -> str | None:
    """Return the right place of a key of ultra that is among the parameters of an optimizer."""
    known = declared_tasks()
    if (target := flat_synonyms(known).get(flattened(key))) is not None:
        return None if target.startswith(PARAMETERS) else target
    return elsewhere(known.preset_class, ("training", "optimizer", "parameters", key))


@lru_cache
def key_places(cls: type) -> dict[str, list[tuple[str, ...]]]:
    """Return where every key of a file may stand, by its flattened name, the nearest to the top first.

    Keys of the items of lists and mappings, which are called ``name`` or ``source``, are left out.
    """
    places: dict[str, list[tuple[str, ...]]] = {}
    for path in sorted(_keys(cls, ()), key=len):
        places.setdefault(flattened(path[-1]), []).append(path)
    return places


def _keys(cls: type, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    attrs.resolve_types(cls)
    for field in attrs.fields(cls):
        if field.init:
            yield from ((*path, name) for name in (field.name, *field.metadata.get("aliases", ())))
            for section in _Sections().visit(field.type):
                yield from _keys(section, (*path, field.name))


class _Sections(TypeVisitor[tuple[type, ...]]):
    """Collects the sections that a value of a type may be."""

    def section(self, hint: Any) -> tuple[type, ...]:
        return (get_origin(hint) or hint,)

    def union(self, hint: Any, *members: Any) -> tuple[type, ...]:
        return tuple(section for member in members for section in self.visit(member))

    def other(self, hint: Any, *parts: Any) -> tuple[type, ...]:
        return ()
