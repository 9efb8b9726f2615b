"""``ultra-train plugin check``: the conformance kit, run over one plugin."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import click

from ultra_core.errors import UltraError, listed
from ultra_core.kinds import KINDS
from ultra_train.cli.kinds import split

KITS = {
    "blocks": ("ultra_blocks.testing", "check_block"),
    "optimizers": ("ultra_optim.testing", "check_optimizer"),
}
"""Kinds of plugins that have a conformance kit -> its module and the function that checks one rule."""


@click.group()
def plugin() -> None:
    """Tools for the authors of plugins."""


@plugin.command()
@click.argument("name")
def check(name: str) -> None:
    """Run the conformance kit over NAME (a block or an optimizer) and show every rule; exit 1 if one breaks."""
    kind, short = _kit_of(name)
    module, function = KITS[kind]
    try:
        kit = import_module(module)
    except ImportError as error:
        package = module.partition(".")[0].replace("_", "-")
        raise UltraError(
            f"the kit needs more packages: pip install '{package}[testing]' ({error})"
        ) from error
    broken = [rule for _, rule in kit.cases([short]) if not _holds(kit, getattr(kit, function), short, rule)]
    if broken:
        click.echo(f"{short} breaks {listed(broken)}", err=True)
        raise click.exceptions.Exit(1)
    click.echo(f"{short} keeps every rule")


def _kit_of(name: str) -> tuple[str, str]:
    kinds, short = split(name)
    found = [kind for kind in kinds if kind in KITS and short in KINDS[kind]]
    if len(found) != 1:
        why = f"is a name in {listed(found)}; say kind:name" if found else "is no installed one of them"
        raise UltraError(f"there are conformance kits for {listed(list(KITS))}; {name!r} {why}")
    return found[0], short


def _holds(kit: Any, check_rule: Callable[[str, str], None], name: str, rule: str) -> bool:
    statement = kit.RULES[rule].statement.splitlines()[0]
    try:
        check_rule(name, rule)
    except (AssertionError, UltraError, ValueError) as error:
        click.echo(f"broken  {rule}  {statement}")
        click.echo(f"        {error}")
        return False
    click.echo(f"kept    {rule}  {statement}")
    return True
