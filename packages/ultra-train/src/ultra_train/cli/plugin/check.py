"""``ultra-train plugin check``: the conformance kit, run over one plugin."""

from __future__ import annotations

import os
from typing import Any

import click

from ultra_core.errors import ConfigError
from ultra_core.testing import Effort, Report, run
from ultra_train.cli.plugin.kits import find, trials_of
from ultra_train.cli.plugin.printing import Printer
from ultra_train.system.signals import exit_code


@click.command(no_args_is_help=True)
@click.argument("name")
@click.option("--quick", "effort", flag_value="quick", help="The cheap rules, on few examples.")
@click.option("--thorough", "effort", flag_value="thorough", help="Many examples, and the slow rules.")
@click.option("--rule", "rules", multiple=True, metavar="ID", help="Try this rule only: B7; repeatable.")
@click.option(
    "--set", "settings", multiple=True, metavar="OPTION=VALUE", help="Build it with an option: num_heads=4."
)
@click.option("--width", type=click.IntRange(min=1), help="Build it with this hidden_size.")
def check(
    name: str, effort: Effort | None, rules: tuple[str, ...], settings: tuple[str, ...], width: int | None
) -> None:
    """Run the conformance kit over NAME; exit code 1 if a rule is broken.

    NAME is a plugin of any kind: a block, norm, FFN, position code, optimizer, schedule, model class, task,
    preset or hook; or kind:name. Every rule says what must hold, what was seen, and what to do. Rules that
    follow from a broken one are not tried.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tensors of the kits are small
    kind, short = find(name)
    options = _parsed(settings)
    trials = trials_of(kind, short, rules=rules, effort=effort, options=options, width=width)
    printer = Printer(short)
    try:
        report = run(trials, show=printer.show)
    except KeyboardInterrupt as stop:
        _conclude(printer, Report(tuple(printer.outcomes)), short)
        click.echo(f"interrupted after {len(printer.outcomes)} of {len(trials)} trials", err=True)
        raise click.exceptions.Exit(exit_code(stop)) from None
    _conclude(printer, report, short)
    if report.broken:
        raise click.exceptions.Exit(1)


def _conclude(printer: Printer, report: Report, name: str) -> None:
    printer.finish()
    click.echo(f"{sum(os.times()[:4]):.1f} s of processor time, start included")
    click.echo(f"{name}: {report.summary()}")


def _parsed(settings: tuple[str, ...]) -> dict[str, Any]:
    """Return the options that ``--set`` gives, whose values are written as in YAML.

    Raises:
        ConfigError: one is not of the form ``OPTION=VALUE``, or its value cannot be read.
    """
    if not settings:
        return {}
    from ultra_core.config.reading import parse_source  # the YAML library takes a while to import

    source = parse_source("{}", settings)
    if source.faults:
        raise ConfigError(source.faults)
    return source.tree
