"""``ultra-train plugin check``: the conformance kit, run over one plugin."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from ultra_core.errors import UltraError, listed
from ultra_core.plugins.kinds import KINDS
from ultra_core.testing import Effort, Trial, run
from ultra_train.cli.kinds import split

BLOCK_KIT = {
    "blocks": "block_cases",
    "norms": "norm_cases",
    "ffns": "ffn_cases",
    "positions": "position_cases",
}
"""Kinds of plugins that ultra_blocks.testing knows -> its function that says what to try them on."""


@click.command()
@click.argument("name")
@click.option("--quick", "effort", flag_value="quick", help="Few examples, in a few seconds.")
@click.option("--thorough", "effort", flag_value="thorough", help="Many examples, and compiling.")
def check(name: str, effort: Effort | None) -> None:
    """Run the conformance kit over NAME, rule by rule; exit code 1 if one breaks.

    NAME is a block, norm, FFN, position code or optimizer, or kind:name.
    """
    kind, short = _kind_of(name)
    KINDS[kind].get(short)
    report = run(_trials(kind, short, effort), show=click.echo)
    click.echo(f"{short}: {report.summary()}")
    if report.broken:
        raise click.exceptions.Exit(1)


def _kind_of(name: str) -> tuple[str, str]:
    kinds, short = split(name)
    kits = [*BLOCK_KIT, "optimizers"]
    found = [kind for kind in kinds if kind in kits and short in KINDS[kind]]
    if len(found) != 1:
        why = f"is a name in {listed(found)}; say kind:name" if found else "is none of them that is installed"
        raise UltraError(f"there are conformance kits for {listed(kits)}; {name!r} {why}")
    return found[0], short


def _trials(kind: str, name: str, effort: Effort | None) -> list[Trial]:
    if kind == "optimizers":
        return _kit("ultra_optim.testing", "ultra-optim").trials([name], effort)
    kit = _kit("ultra_blocks.testing", "ultra-blocks")
    return kit.trials(getattr(kit, BLOCK_KIT[kind])([name]), effort=effort)


def _kit(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise UltraError(f"the kit needs: pip install '{package}[testing]' ({error})") from error
