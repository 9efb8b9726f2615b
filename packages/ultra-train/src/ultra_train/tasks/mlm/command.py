"""The command ``ultra-train fill-mask``: the guesses of a trained model for a blank."""

from __future__ import annotations

import click


@click.command("fill-mask")
@click.argument("model")
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...")
@click.option("--top-k", default=5, show_default=True, type=click.IntRange(min=1), help="Guesses per blank.")
@click.option("--runs", default="runs", show_default=True, help="Folder of runs.")
@click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model.")
def fill_mask(model: str, texts: tuple[str, ...], top_k: int, runs: str, trust_remote_code: bool) -> None:
    """Show the most probable tokens at each [MASK] or <mask> of TEXT.

    MODEL is the folder of a run or of a model, the name of a run, or a hub id.
    """
    from ultra_train.tasks.mlm.fill_mask import fill_mask as fill

    found = fill(model, list(texts), top_k, runs=runs, trust_remote_code=trust_remote_code)
    for text, blanks in zip(texts, found, strict=True):
        click.echo(text)
        for guesses in blanks:
            click.echo("  " + "  ".join(f"{guess.token} {guess.probability:.2f}" for guess in guesses))
