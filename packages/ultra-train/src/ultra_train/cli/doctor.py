"""``ultra-train doctor``: what is wrong with an encoder or a base model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ultra_train.cli.options import loading_options, runs_option

if TYPE_CHECKING:
    from rich.table import Table

    from ultra_train.embeddings.doctor.findings import Finding

PLAIN_WIDTH = 160
"""Characters in a line where the output is no terminal."""


@click.command()
@click.argument("model")
@click.option(
    "--data",
    default="ultra:es-commands",
    show_default=True,
    metavar="SOURCE",
    help="Texts on which the model is used: a file, a folder, a glob or a data set.",
)
@click.option(
    "--texts",
    "count",
    default=256,
    show_default=True,
    type=click.IntRange(min=2),
    help="Number of texts to look at.",
)
@loading_options
@runs_option
@click.pass_context
def doctor(
    ctx: click.Context,
    model: str,
    data: str,
    count: int,
    device: str | None,
    trust_remote_code: bool,
    output_dir: Path,
) -> None:
    """Check an encoder or a base model, with a line of advice for every check.

    MODEL is the folder of a model or of a run, the name of a run, or a name of the hub. Exit code 1 if there
    is something to do.
    """
    from rich.console import Console

    from ultra_train.embeddings.doctor.diagnosis import diagnose, sample_texts
    from ultra_train.embeddings.kinds import locate

    locate(model, output_dir)  # before the texts are read
    texts = sample_texts(data, count)
    findings = list(
        diagnose(model, texts, device=device, trust_remote_code=trust_remote_code, runs=output_dir)
    )
    console = Console()
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    console.print(table(findings))
    console.print(f"{len(texts):,} texts of {data}", highlight=False)
    if not all(finding.good for finding in findings):
        ctx.exit(1)


def table(findings: Sequence[Finding]) -> Table:
    """Return the table of what the checks found."""
    from rich import box
    from rich.table import Table

    drawn = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("", "check", "found", "advice"):
        drawn.add_column(name, overflow="fold")
    for finding in findings:
        drawn.add_row("" if finding.good else "!", finding.check, finding.value, finding.advice)
    return drawn
