"""Behaviour of plugins: the hooks of the pluggy project ``ultra`` and the manager that calls them.

A distribution offers hooks with an entry point of the group ``ultra.plugins`` that names a module, an object
or a class without required arguments. A hook is a function with the name and arguments of a specification
below (leave out the arguments that are not needed), marked ``@hookimpl``::

    from ultra_core.plugins.hooks import hookimpl

    @hookimpl
    def ultra_run_finished(run):
        print(run.path)

Hooks are called by runs, never inside ``forward``; they only ever gain arguments.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import pluggy

from ultra_core.contracts import ParamInfo
from ultra_core.errors import PluginError, did_you_mean, listed
from ultra_core.plugins.kinds import KINDS
from ultra_core.plugins.metadata import Entry, installed_entries
from ultra_core.plugins.registry import Registry

GROUP = "ultra.plugins"

hookspec = pluggy.HookspecMarker("ultra")
hookimpl = pluggy.HookimplMarker("ultra")
"""Marks a function as an implementation of the hook of its name."""


class Registries:
    """The registries as attributes: ``registries.blocks.add("my_block", MyBlock)``."""

    blocks: Registry
    norms: Registry
    ffns: Registry
    positions: Registry
    optimizers: Registry
    schedules: Registry
    models: Registry
    tasks: Registry
    presets: Registry

    def __init__(self) -> None:
        self.__dict__.update(KINDS)


class Run(Protocol):
    """What a hook may count on in a run."""

    path: Path
    """The folder ``runs/<name>``."""
    config: Any
    """The resolved configuration."""
    model: Any
    """The model; None until it is built."""
    trainer: Any
    """The ``transformers.Trainer``; None until it is built."""


@hookspec
def ultra_register(registries: Registries) -> None:
    """Add names that are not entry points, with ``registries.blocks.add(name, target, source=...)``.

    Called once, when the first run or command that uses hooks starts. Entry points are the better way
    wherever they do: they need no import to be listed.
    """


@hookspec
def ultra_config_loaded(config: Any) -> None:
    """Look at the checked configuration of a run before anything is built; an `UltraError` refuses it."""


@hookspec
def ultra_model_built(model: Any, config: Any) -> None:
    """Look at or change the model (a ``torch.nn.Module``) after it is built, before its optimizer is."""


@hookspec
def ultra_parameter_roles(model: Any) -> Mapping[str, str]:
    """Return learning-rate roles by parameter name, for the parameters whose role should be another one."""
    return {}


@hookspec
def ultra_parameter_info(model: Any) -> Mapping[str, ParamInfo]:
    """Return descriptions by parameter name; they replace what modules and their types say of these."""
    return {}


@hookspec
def ultra_callbacks(run: Run) -> list[Any]:
    """Return ``transformers.TrainerCallback`` objects for the trainer of this run."""
    return []


@hookspec
def ultra_evaluate(run: Run, model: Any) -> Mapping[str, float]:
    """Return metrics by name at every evaluation; they are logged beside the run's own."""
    return {}


@hookspec
def ultra_checkpoint_saved(run: Run, path: Path) -> None:
    """Act on a checkpoint that is complete and on disk at ``path``."""


@hookspec
def ultra_run_finished(run: Run) -> None:
    """Act at the end of a run, after its model is saved."""


def specifications() -> dict[str, Any]:
    """Return every hook specification by name, in the order of this file."""
    functions = inspect.getmembers(sys.modules[__name__], inspect.isfunction)
    found = [(name, function) for name, function in functions if name.startswith("ultra_")]
    return dict(sorted(found, key=lambda item: item[1].__code__.co_firstlineno))


def build_manager(plugins: Iterable[tuple[str, Any]]) -> pluggy.PluginManager:
    """Return a manager with these plugins, given as name and module, object or class.

    Raises:
        PluginError: a misspelt or unmarked hook, an argument that a hook has not, or a class that cannot
            be made without arguments.
    """
    manager = pluggy.PluginManager("ultra")
    manager.add_hookspecs(sys.modules[__name__])
    for name, plugin in plugins:
        made = _instance(name, plugin)
        _check_marks(name, made)
        try:
            manager.register(made, name=name)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(f"the plugin {name} cannot be used: {error}") from error
        _check_names(manager, name, made)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:  # pragma: no cover - _check_names says it better before
        raise PluginError(str(error)) from error
    return manager


def _instance(name: str, plugin: Any) -> Any:
    if not inspect.isclass(plugin):
        return plugin
    try:
        return plugin()
    except Exception as error:
        raise PluginError(f"the plugin {name} cannot be made: {type(error).__name__}: {error}") from error


def _check_marks(name: str, plugin: Any) -> None:
    for attribute in specifications():
        function = getattr(plugin, attribute, None)
        if inspect.isroutine(function) and not hasattr(function, "ultra_impl"):
            raise PluginError(
                f"{attribute} of the plugin {name} is not marked; write @hookimpl "
                "(from ultra_core.plugins.hooks import hookimpl) above it"
            )


def _check_names(manager: pluggy.PluginManager, name: str, plugin: Any) -> None:
    known = list(specifications())
    for caller in manager.get_hookcallers(plugin) or ():
        if not caller.has_spec() and not all(impl.optionalhook for impl in caller.get_hookimpls()):
            raise PluginError(
                f"the plugin {name} implements {caller.name}, which is no hook."
                f"{did_you_mean(caller.name, known)} The hooks: {listed(known)}"
            )


def plugin_entries() -> tuple[Entry, ...]:
    """Return the installed, enabled hook plugins, importing nothing."""
    return tuple(sorted(installed_entries(GROUP), key=lambda e: (e.distribution, e.name)))


@lru_cache
def _manager(entries: tuple[Entry, ...]) -> pluggy.PluginManager:
    manager = build_manager((f"{e.distribution}:{e.name}", e.load()) for e in entries)
    manager.hook.ultra_register(registries=Registries())
    return manager


def plugin_manager() -> pluggy.PluginManager:
    """Return the manager of all enabled plugins; they are imported at the first call.

    Raises:
        PluginError: a plugin cannot be imported or declares its hooks wrongly. The message says which one
            and how to switch it off.
    """
    return _manager(plugin_entries())
