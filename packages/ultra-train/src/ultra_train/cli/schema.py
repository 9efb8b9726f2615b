"""``ultra-train schema``: the JSON Schema of presets, with the options of the installed plugins."""

from __future__ import annotations

import json

import click


@click.command()
@click.option("--yaml", "as_yaml", is_flag=True, help="Print YAML instead of JSON.")
def schema(as_yaml: bool) -> None:
    """Print the JSON Schema (draft 2020-12) of presets; editors complete and check with it."""
    from ultra_train.config.schema import preset_schema, schema_yaml

    click.echo(schema_yaml() if as_yaml else json.dumps(preset_schema(), indent=2), nl=not as_yaml)
