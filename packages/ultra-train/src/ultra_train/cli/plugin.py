"""``ultra-train plugin check``: the conformance kit, run over one plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import click

from ultra_core.errors import UltraError, listed
from ultra_core.plugins.kinds import KINDS
from ultra_train.cli.kinds import split

Trial = tuple[str, str, Callable[[], None]]
"""Id of a rule and what it is tried on, the rule in a sentence, the trial itself."""

BLOCK_KIT = {
    "blocks": "block_cases",
    "norms": "norm_cases",
    "ffns": "ffn_cases",
    "positions": "position_cases",
}
"""Kinds of plugins that ultra_blocks.testing knows -> its function that says what to try them on."""


@click.group()
def plugin() -> None:
    """Tools for the authors of plugins."""


@plugin.command()
@click.argument("name")
def check(name: str) -> None:
    """Run the conformance kit over NAME, rule by rule; exit code 1 if one breaks.

    NAME is a block, norm, FFN, position code or optimizer, or kind:name.
    """
    kind, short = _kind_of(name)
    KINDS[kind].get(short)
    broken = [rule for rule, statement, trial in _trials(kind, short) if not _holds(rule, statement, trial)]
    if broken:
        click.echo(f"{short} breaks {listed(broken)}", err=True)
        raise click.exceptions.Exit(1)
    click.echo(f"{short} keeps every rule")


def _kind_of(name: str) -> tuple[str, str]:
    kinds, short = split(name)
    kits = [*BLOCK_KIT, "optimizers"]
    found = [kind for kind in kinds if kind in kits and short in KINDS[kind]]
    if len(found) != 1:
        why = f"is a name in {listed(found)}; say kind:name" if found else "is none of them that is installed"
        raise UltraError(f"there are conformance kits for {listed(kits)}; {name!r} {why}")
    return found[0], short


def _trials(kind: str, name: str) -> Iterator[Trial]:
    if kind == "optimizers":
        kit = _kit("ultra_optim.testing.kit", "ultra-optim")
        for _, rule in kit.cases([name]):
            yield rule, kit.RULES[rule].statement, partial(kit.check_optimizer, name, rule)
        return
    kit = _kit("ultra_blocks.testing.kit", "ultra-blocks")
    for case in getattr(kit, BLOCK_KIT[kind])([name]):
        for rule in kit.rules_of(case).chosen(case, None):
            yield f"{rule.id} {case}", rule.statement, partial(rule, case)


def _kit(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise UltraError(f"the kit needs: pip install '{package}[testing]' ({error})") from error


def _holds(rule: str, statement: str, trial: Callable[[], None]) -> bool:
    try:
        trial()
    except Exception as error:  # whatever a plugin raises, it is what its author wants to see
        click.echo(f"broken  {rule}: {statement}")
        click.echo(f"        {type(error).__name__}: {error}")
        return False
    click.echo(f"kept    {rule}: {statement}")
    return True
