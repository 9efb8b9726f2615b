"""Hooks of the pluggy project ``ultra``: their specifications and the manager that calls them.

A distribution offers hooks with an entry point of the group ``ultra.plugins`` that names a module, an object
or a class without required arguments. A hook is a function with the name of a specification below, some or
all of its arguments, and the decorator ``@hookimpl``::

    from ultra_core.plugins.hooks import hookimpl

    @hookimpl
    def ultra_run_finished(run):
        print(run.path)

In a run of several processes (``torchrun``), every process calls the hooks, which must give the same answers
there; ``ultra_checkpoint_saved`` and ``ultra_run_finished`` are called by process 0 alone, which must not
wait for the others in them.

Runs call hooks, never inside ``forward``. Later versions may add arguments to a hook but never remove one.
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
"""Marks a function as an implementation of the hook of the same name."""


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
    """The attributes of a run that hooks may use."""

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

    Called once, when the first run or command that uses hooks starts. Prefer entry points where possible:
    they are listed without an import.
    """


@hookspec
def ultra_config_loaded(config: Any) -> None:
    """Inspect the validated configuration of a run before anything is built; an ``UltraError`` rejects it."""


@hookspec
def ultra_model_built(model: Any, config: Any) -> None:
    """Inspect or modify the model (a ``torch.nn.Module``) before its optimizer is built."""


@hookspec
def ultra_parameter_roles(model: Any) -> Mapping[str, str]:
    """Return learning-rate roles by parameter name, for the parameters whose role should change."""
    return {}


@hookspec
def ultra_parameter_info(model: Any) -> Mapping[str, ParamInfo]:
    """Return descriptions by parameter name, which replace those of modules and module types."""
    return {}


@hookspec
def ultra_callbacks(run: Run) -> list[Any]:
    """Return ``transformers.TrainerCallback`` objects for the trainer of this run."""
    return []


@hookspec
def ultra_evaluate(run: Run, model: Any) -> Mapping[str, float]:
    """Return metrics by name at every evaluation; they are logged with those of the run.

    Of several processes, each calls it; the metrics of process 0 are logged and rank checkpoints.
    """
    return {}


@hookspec
def ultra_checkpoint_saved(run: Run, path: Path) -> None:
    """React to a checkpoint that has been written completely to ``path``.

    Only process 0 of several calls it; the others wait.
    """


@hookspec
def ultra_run_finished(run: Run) -> None:
    """React to the end of a run, after its model has been saved.

    Only process 0 of several calls it; the others wait.
    """


def specifications() -> dict[str, Any]:
    """Return all hook specifications by name, in the order of this file."""
    functions = inspect.getmembers(sys.modules[__name__], inspect.isfunction)
    found = [(name, function) for name, function in functions if name.startswith("ultra_")]
    return dict(sorted(found, key=lambda item: item[1].__code__.co_firstlineno))


def build_manager(plugins: Iterable[tuple[str, Any]]) -> pluggy.PluginManager:
    """Return a manager of the given plugins, each a name and a module, object or class.

    Raises:
        PluginError: a hook is misspelt, lacks ``@hookimpl`` or has an unknown argument, or a class cannot be
            instantiated without arguments.
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
    except pluggy.PluginValidationError as error:  # pragma: no cover - _check_names reports it better
        raise PluginError(str(error)) from error
    return manager


def _instance(name: str, plugin: Any) -> Any:
    if not inspect.isclass(plugin):
        return plugin
    try:
        return plugin()
    except Exception as error:
        raise PluginError(
            f"the plugin {name} cannot be instantiated: {type(error).__name__}: {error}"
        ) from error


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
                f"the plugin {name} implements {caller.name}, which is not a hook."
                f"{did_you_mean(caller.name, known)} The hooks: {listed(known)}"
            )


def plugin_entries() -> tuple[Entry, ...]:
    """Return the installed and enabled hook plugins without importing them."""
    return tuple(sorted(installed_entries(GROUP), key=lambda e: (e.distribution, e.name)))


@lru_cache
def _manager(entries: tuple[Entry, ...]) -> pluggy.PluginManager:
    manager = build_manager((f"{e.distribution}:{e.name}", e.load()) for e in entries)
    manager.hook.ultra_register(registries=Registries())
    return manager


def plugin_manager() -> pluggy.PluginManager:
    """Return the manager of all enabled plugins, which are imported at the first call.

    Raises:
        PluginError: a plugin cannot be imported or declares its hooks wrongly; the message names it and says
            how to disable it.
    """
    return _manager(plugin_entries())
