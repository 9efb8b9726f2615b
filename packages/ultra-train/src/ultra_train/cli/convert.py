"""``ultra-train convert MODEL -o DIR``: a model of transformers as an encoder of ultra, or back."""

from __future__ import annotations

from pathlib import Path

import click

from ultra_train.cli.options import runs_option


@click.command()
@click.argument("model")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the new model."
)
@click.option("--to", help="Family of the new model: bert, roberta or modernbert [an encoder of ultra].")
@click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model.")
@runs_option
def convert(model: str, output: Path, to: str | None, trust_remote_code: bool, output_dir: Path) -> None:
    """Convert a model of transformers into an encoder of ultra with the same logits, or back.

    MODEL is a folder, the name of a run, or a hub id: BERT, RoBERTa (also XLM-RoBERTa and CamemBERT) or
    ModernBERT; with --to, an encoder of ultra with such an architecture. Logits are compared before anything
    is written.
    """
    from ultra_train.convert.folders import convert_folder

    for line in convert_folder(model, output, to=to, runs=output_dir, trust_remote_code=trust_remote_code):
        click.echo(line)
