"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path

import click

runs_option = click.option(
    "--output-dir",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder of runs.",
)
"""Where runs are looked up by their names."""
