"""``ultra-train validate``: all faults of presets, found before anything is loaded."""

from __future__ import annotations

import click


@click.command()
@click.argument("presets", nargs=-1, required=True, metavar="PRESET...")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set any key: training.seed=7.")
def validate(presets: tuple[str, ...], overrides: tuple[str, ...]) -> None:
    """Check presets (names or files) and show every fault with its place; exit code 2 when there is one."""
    from ultra_core.errors import UltraError
    from ultra_train.config import load_any

    broken = False
    for name in presets:
        try:
            preset = load_any(name, overrides, check_files=True)
        except UltraError as error:
            broken = True
            click.echo(f"error: {error}", err=True)
        else:
            click.echo(f"{name}: valid")
            for notice in preset.notices:
                click.echo(f"{name}: notice: {notice}", err=True)
    if broken:
        raise click.exceptions.Exit(2)
