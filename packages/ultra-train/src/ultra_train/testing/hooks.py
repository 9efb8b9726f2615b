"""The rules of hook plugins."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from ultra_core.errors import PluginError, did_you_mean, listed
from ultra_core.plugins.hooks import build_manager, specifications
from ultra_core.testing import Finding, Rules
from ultra_train.testing.cases import HookCase
from ultra_train.testing.imports import check_import

HOOK_RULES = Rules()
"""The rules of hook plugins by id, in order; a rule is called with a :class:`HookCase`."""


def _functions(case: HookCase) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the functions that look like hooks."""
    for name in dir(case.plugin):
        function = getattr(case.plugin, name, None)
        if name.startswith("ultra_") and inspect.isroutine(function):
            yield name, function


def _hooks(case: HookCase) -> Iterator[tuple[str, Callable[..., Any]]]:
    known = specifications()
    return ((name, function) for name, function in _functions(case) if name in known)


@HOOK_RULES("C1", gate=True, least="quick")
def imports(case: HookCase) -> None:
    """The module can be imported.

    Fix: the entry point of the group ``ultra.plugins`` names a module, or ``module:attribute``.
    """
    check_import(case.entry)


@HOOK_RULES("H1", least="quick")
def has_known_names(case: HookCase) -> None:
    """Every function whose name begins with ``ultra_`` is one of the hooks.

    Fix: correct the name; helpers of your own need another one.
    """
    known = list(specifications())
    for name, _ in _functions(case):
        if name not in known:
            raise Finding(f"{name} is no hook.{did_you_mean(name, known)} Hooks: {listed(known)}")


@HOOK_RULES("H2", least="quick")
def implements_hooks(case: HookCase) -> None:
    """It implements at least one hook.

    Fix: write a function with the name of a hook in the module that the entry point names.
    """
    if not any(_hooks(case)):
        raise Finding(f"{case.entry.target} has no function with the name of a hook")


@HOOK_RULES("H3", least="quick", after=("H1",))
def is_accepted(case: HookCase) -> None:
    """Every hook is decorated with ``@hookimpl`` and takes arguments of its specification only.

    Fix: ``from ultra_core.plugins.hooks import hookimpl``, and leave out arguments that a hook has not.
    """
    try:
        build_manager([(case.name, case.plugin)])
    except PluginError as error:
        raise Finding(str(error)) from error


@HOOK_RULES("H4", least="quick")
def takes_its_arguments(case: HookCase) -> None:
    """No argument has a default: only arguments without one are passed.

    Fix: remove the default, or the argument.
    """
    for name, function in _hooks(case):
        for parameter in inspect.signature(function).parameters.values():
            if parameter.default is not parameter.empty:
                raise Finding(f"{name} has the default {parameter.default!r} for {parameter.name}")
            if parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                raise Finding(f"{name} takes {parameter}, which is never passed")


@HOOK_RULES("H5", least="quick")
def returns_its_value(case: HookCase) -> None:
    """A hook is an ordinary function: runs use what it returns, and await or iterate nothing.

    Fix: ``def`` instead of ``async def``; return a list instead of yielding, unless it is ``wrapper=True``.
    """
    for name, function in _hooks(case):
        marks = getattr(function, "ultra_impl", None) or {}
        if inspect.iscoroutinefunction(function):
            raise Finding(f"{name} is a coroutine function")
        if inspect.isgeneratorfunction(function) and not (marks.get("wrapper") or marks.get("hookwrapper")):
            raise Finding(f"{name} is a generator function")
