"""The rules of the declaration of a task: its keys, commands and words of the report."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin

import attrs

from ultra_core.errors import PluginError
from ultra_core.plugins.types import is_writable, mismatch, range_of
from ultra_core.testing import Finding, Rules
from ultra_train.cli.app import commands, load
from ultra_train.cli.describe import task_lines
from ultra_train.cli.task_commands import declared_commands, shadowed
from ultra_train.config.declared_tasks import declared_tasks
from ultra_train.config.task_keys import common_fields, refuse_taken_keys
from ultra_train.tasks.base import CardText, Curve, Task
from ultra_train.testing.cases import TaskCase
from ultra_train.testing.imports import check_import, check_light

TASK_RULES = Rules()
"""The rules of tasks by id, in order; a rule is called with a :class:`TaskCase`."""


@TASK_RULES("C1", gate=True, least="quick")
def is_a_task(case: TaskCase) -> None:
    """The entry point names a subclass of ``ultra_train.tasks.base.Task`` with all of its methods.

    Fix: ``class MyTask(Task)`` with ``start``, and ``my_task = "my_package.task:MyTask"`` in the group
    ``ultra.tasks``.
    """
    check_import(case.entry)
    plugin = case.plugin
    if not (inspect.isclass(plugin) and issubclass(plugin, Task)):
        raise Finding(f"{case.entry.target} is {plugin!r}")
    if missing := sorted(plugin.__abstractmethods__):
        raise Finding(f"{plugin.__name__} does not define {', '.join(missing)}")
    task_of(case)


def task_of(case: TaskCase) -> Task:
    """Return the declaration under its registered name.

    Raises:
        Finding: the constructor fails.
    """
    try:
        task: Task = case.plugin(case.name, case.entry.distribution)
    except Exception as error:
        call = f"{case.plugin.__name__}(name, distribution)"
        raise Finding(f"{call} raises {type(error).__name__}: {error}") from error
    return task


@TASK_RULES("T1")
def is_light(case: TaskCase) -> None:
    """The module of the declaration imports no torch: it is imported whenever any preset is loaded.

    Fix: import torch and what needs it inside of ``start``, from a module of its own.
    """
    check_light(case.entry)


def keys_of(options: type) -> Iterator[attrs.Attribute[Any]]:
    """Yield the keys of a class of options, and those of its sections."""
    attrs.resolve_types(options)
    for field in attrs.fields(options):
        yield field
        if isinstance(field.type, type) and attrs.has(field.type):
            yield from keys_of(field.type)


@TASK_RULES("T2", least="quick")
def declares_its_keys(case: TaskCase) -> None:
    """``options`` is None or an attrs class of keys with types for YAML, fitting defaults and help texts.

    Fix: ``rate: Share = key(0.5, "share of the texts that ...")`` in a class with
    ``@attrs.frozen(kw_only=True)``; ``key`` is in ``ultra_train.config.keys``.
    """
    options = case.plugin.options
    if options is None:
        return
    if not (inspect.isclass(options) and attrs.has(options)):
        raise Finding(f"options is {options!r}, no attrs class")
    for field in keys_of(options):
        hint, *extras = get_args(field.type) if get_origin(field.type) is Annotated else (field.type,)
        if not is_writable(hint):
            raise Finding(f"YAML cannot write the type {hint!r} of the key {field.name}")
        if not str(field.metadata.get("help", "")).strip():
            raise Finding(f"the key {field.name} has no help text")
        default = field.default
        if default is attrs.NOTHING or isinstance(default, attrs.Factory):  # type: ignore[arg-type]
            continue
        if problem := mismatch(default, hint, range_of(tuple(extras))):
            raise Finding(f"the default of {field.name} is {default!r}; {problem}")


@TASK_RULES("T3", least="quick", after=("T2",))
def has_keys_of_its_own(case: TaskCase) -> None:
    """No key means something else in every run or for another installed task.

    Fix: rename the key, or set ``section``, so that all keys are in a section of their own.
    """
    taken = common_fields()
    try:
        for other in declared_tasks().all:
            if other.name != case.name:
                refuse_taken_keys(other, taken)
        refuse_taken_keys(task_of(case), taken)
    except PluginError as error:
        raise Finding(str(error)) from error


@TASK_RULES("T4", least="quick")
def has_working_commands(case: TaskCase) -> None:
    """``commands`` is a literal dict; each command can be imported, and no other one has its name.

    Commands are read from the source of the class, without importing it.

    Fix: ``commands = {"my-command": "my_package.command:my_command"}``, where the latter is a click command.
    """
    declared = case.plugin.commands
    if not isinstance(declared, Mapping):
        raise Finding(f"commands is {declared!r}")
    read = declared_commands(case.entry)
    if dict(read) != dict(declared):
        raise Finding(f"commands is {dict(declared)}, of which {dict(read)} can be read")
    for name, target in declared.items():
        try:
            load(target)
        except PluginError as error:
            raise Finding(f"{name}: {error}") from error
    for name, other in shadowed(case.entry, commands()).items():
        raise Finding(f"the command {name} is {other} already")


@TASK_RULES("T5", least="quick")
def has_words_for_reports(case: TaskCase) -> None:
    """Curves, headline metrics, model card and synonyms have the types that reports and messages need.

    Fix: a tuple of one needs a comma: ``Curve("Accuracy", ("eval_accuracy",))``.
    """
    plugin = case.plugin
    _tuple_of("curves", plugin.curves, Curve)
    for curve in plugin.curves:
        _tuple_of(f"the metrics of the curve {curve.title!r}", curve.metrics, str)
    _tuple_of("headline_metrics", plugin.headline_metrics, str)
    if not isinstance(plugin.card, CardText):
        raise Finding(f"card is {plugin.card!r}, no CardText")
    _tuple_of("the tags of the card", plugin.card.tags, str)
    for key, words in plugin.synonyms.items():
        if not isinstance(words, str):
            raise Finding(f"the synonyms of {key} are {words!r}; write one string with blanks between names")


def _tuple_of(what: str, value: Any, item: type) -> None:
    if not isinstance(value, tuple) or not all(isinstance(one, item) for one in value):
        raise Finding(f"{what} must be a tuple of {item.__name__}, but is {value!r}")


@TASK_RULES("T6", least="quick", after=("T2",))
def can_be_described(case: TaskCase) -> None:
    """It has a docstring, and ``ultra-train describe`` can show its keys.

    Fix: write what the task predicts or learns into the docstring of the class.
    """
    if not (vars(case.plugin).get("__doc__") or "").strip():
        raise Finding(f"{case.plugin.__name__} has no docstring of its own")
    try:
        list(task_lines(case.plugin))
    except Exception as error:
        raise Finding(f"describing it raises {type(error).__name__}: {error}") from error
