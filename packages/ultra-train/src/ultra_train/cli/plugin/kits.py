"""The conformance kit of each kind of plugin, imported when it is used."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any

import attrs

from ultra_core.errors import PluginError, UltraError, did_you_mean, listed
from ultra_core.plugins.hooks import plugin_entries
from ultra_core.plugins.kinds import KINDS
from ultra_core.plugins.signatures import check_options
from ultra_core.testing import Effort, Trial
from ultra_train.cli.kinds import split
from ultra_train.cli.plugin.sources import offering

HOOKS = "hooks"
"""The kind of the entries of ``ultra.plugins``, which are no names for YAML and have no registry."""

BLOCKS, OPTIM, TRAIN = "ultra_blocks.testing", "ultra_optim.testing", "ultra_train.testing"

CASES = {
    "blocks": (BLOCKS, "block_cases"),
    "norms": (BLOCKS, "norm_cases"),
    "ffns": (BLOCKS, "ffn_cases"),
    "positions": (BLOCKS, "position_cases"),
    "optimizers": (OPTIM, ""),  # its trials take names
    "schedules": (f"{OPTIM}.schedules", "schedule_cases"),
    "models": (TRAIN, "model_cases"),
    "tasks": (TRAIN, "task_cases"),
    "presets": (TRAIN, "preset_cases"),
    HOOKS: (TRAIN, "hook_cases"),
}
"""Kinds of plugins -> the module of the kit, and its function that says what to try them on."""


def find(name: str) -> tuple[str, str]:
    """Return the kind of a plugin and its name in the registry; ``kind:name`` chooses one of several kinds.

    Raises:
        PluginError: nothing installed has this name, or plugins of several kinds have it.
    """
    prefix, _, rest = name.partition(":")
    kinds, short = ((HOOKS,), rest) if prefix in (HOOKS, "hook") else split(name)
    if kinds == tuple(KINDS):  # no kind is named
        kinds = tuple(CASES)
    known = {kind: _names(kind) for kind in kinds}
    found = [kind for kind in kinds if short in (KINDS[kind] if kind in KINDS else known[kind])]
    if not found:
        near = did_you_mean(short, {name for names in known.values() for name in names})
        if folder := offering(short):
            raise PluginError(
                f"{short!r} is not installed; the package in {folder} offers it: "
                f"pip install -e '{folder}[testing]'"
            )
        raise PluginError(f"nothing installed is called {short!r}.{near} See: ultra-train list")
    if len(found) > 1:
        choices = listed([f"{kind}:{short}" for kind in found])
        raise PluginError(f"{short!r} is the name of several plugins; write one of {choices}")
    if found[0] in KINDS and ":" not in short:
        short = KINDS[found[0]].entry(short).name  # that of an alias
    return found[0], short


def _names(kind: str) -> Collection[str]:
    return KINDS[kind].names() if kind in KINDS else [entry.name for entry in plugin_entries()]


def trials_of(
    kind: str,
    name: str,
    *,
    rules: Collection[str] = (),
    effort: Effort | None = None,
    options: Mapping[str, Any] | None = None,
    width: int | None = None,
) -> list[Trial]:
    """Return the trials of a plugin.

    Args:
        kind: a key of ``CASES``.
        name: the registered name.
        rules: ids of the rules to try; empty: all that the effort includes.
        effort: how thorough the trials are; None: what the environment says.
        options: arguments of the constructor.
        width: the ``hidden_size`` to build it with.

    Raises:
        UltraError: the kit cannot be imported, no such rule applies, or there is no such option.
    """
    module, cases = CASES[kind]
    kit = _kit(module)
    level = "thorough" if rules else effort
    if kind == "optimizers":
        found = kit.trials([name], level)
    else:
        make = kit.schedule_trials if kind == "schedules" else kit.trials
        found = make(getattr(kit, cases)([name]), effort=level)
    if unknown := [rule for rule in rules if rule not in {trial.rule.id for trial in found}]:
        ids = list(dict.fromkeys(trial.rule.id for trial in found))
        near = did_you_mean(unknown[0], ids)
        raise UltraError(f"no rule {unknown[0]!r} applies to {name}.{near} Rules: {listed(ids)}")
    changes: dict[str, Any] = {} if width is None else {"hidden_size": width}
    return [
        attrs.evolve(trial, case=_changed(trial.case, name, options or {}, changes), effort=effort)
        for trial in found
        if not rules or trial.rule.id in rules
    ]


def _changed(case: Any, name: str, options: Mapping[str, Any], changes: Mapping[str, Any]) -> Any:
    """Return a case with these options, and with other values of these fields."""
    fields = {field.name for field in attrs.fields(type(case))}
    given = {**changes, **({"options": options} if options else {})}
    for field in given:
        if field not in fields:
            what = "options" if field == "options" else "a width"
            raise UltraError(
                f"{name} is checked without {what}; leave out {'--set' if options else '--width'}"
            )
    if options:
        plugin = getattr(case, "cls", None) or case.factory
        if faults := check_options(name, plugin, options):
            raise UltraError("; ".join(faults.values()))
        given["options"] = {**case.options, **options}
    return attrs.evolve(case, **given)


def _kit(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0].replace("_", "-")
        raise UltraError(f"the kit needs: pip install '{package}[testing]' ({error})") from error
