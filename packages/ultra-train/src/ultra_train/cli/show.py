"""``ultra-train show``: the canonical form of a preset."""

from __future__ import annotations

import click


@click.command()
@click.argument("preset")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set any key: training.seed=7.")
def show(preset: str, overrides: tuple[str, ...]) -> None:
    """Print PRESET as YAML with every default filled in; what is printed loads to the same configuration."""
    from ultra_train.config import load_any, to_yaml

    click.echo(to_yaml(load_any(preset, overrides)), nl=False)
