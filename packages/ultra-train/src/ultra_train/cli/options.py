"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])

runs_option = click.option(
    "--output-dir",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder of runs.",
)
"""Where runs are looked up by their names."""


def models_option(text: str) -> Callable[[_Command], _Command]:
    """Return the option ``--model``, which may be given several times."""
    return click.option("--model", "models", multiple=True, metavar="MODEL", help=text)


def loading_options(command: _Command) -> _Command:
    """Add the options of commands that load a model: its device, trust in foreign code."""
    for option in (
        click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model."),
        click.option("--device", help="Where the model runs: cpu, cuda [chosen by torch]."),
    ):
        command = option(command)
    return command


def encoding_options(command: _Command) -> _Command:
    """Add the options of commands that encode texts: batch size, device, trust in foreign code."""
    size = click.option(
        "--batch-size",
        default=32,
        show_default=True,
        type=click.IntRange(min=1),
        help="Texts that are encoded at once.",
    )
    return size(loading_options(command))
