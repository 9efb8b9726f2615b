"""``ultra-train push RUN``: upload the model of a finished run."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--repo", help="OWNER/NAME on the hub [training.hub_model_id, or the name of the run].")
def push(run: Path, repo: str | None) -> None:
    """Push the model of RUN, the folder of a finished run, to the Hugging Face hub.

    The token is HF_TOKEN, or the one that `hf auth login` stored.
    """
    from ultra_train.hub.upload import upload
    from ultra_train.run.pushing import model_of, repository_of

    folder, repository = model_of(run), repo or repository_of(run)
    click.echo(f"pushing {folder} to {repository}")
    click.echo(f"pushed to {upload(folder, repository, say=click.echo)}")
