"""``ultra-train push RUN``: upload the model of a finished run."""

from __future__ import annotations

from pathlib import Path

import click

from ultra_train.cli.options import runs_option


@click.command()
@click.argument("run")
@click.option("--repo", help="OWNER/NAME on the hub [training.hub_model_id, or the name of the run].")
@runs_option
def push(run: str, repo: str | None, output_dir: Path) -> None:
    """Push the model of a finished run to the Hugging Face hub.

    RUN is the name of a run, its folder, or the folder of a model.

    The token is HF_TOKEN, or the one that `hf auth login` stored.
    """
    from ultra_train.hub.upload import upload
    from ultra_train.run.pushing import find_pushed, model_of, repository_of

    found = find_pushed(run, output_dir)
    folder, repository = model_of(found), repo or repository_of(found)
    click.echo(f"pushing {folder} to {repository}")
    click.echo(f"pushed to {upload(folder, repository, say=click.echo)}")
