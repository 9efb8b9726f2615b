"""The group ``ultra-train plugin``."""

from __future__ import annotations

import click

from ultra_train.cli.plugin.check import check
from ultra_train.cli.plugin.new import new


@click.group()
def plugin() -> None:
    """Tools for the authors of plugins."""


plugin.add_command(new)
plugin.add_command(check)
