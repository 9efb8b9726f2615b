"""``ultra-train fill-mask``: what a trained model puts into a blank."""

from __future__ import annotations

import click


@click.command("fill-mask")
@click.argument("model")
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...")
@click.option("--top-k", default=5, show_default=True, type=click.IntRange(min=1), help="Guesses per blank.")
def fill_mask(model: str, texts: tuple[str, ...], top_k: int) -> None:
    """Show the likeliest tokens at each [MASK] of TEXT.

    MODEL is the folder of a run, the folder of a model, or the name of a run below runs/.
    """
    from ultra_train.fill_mask import as_text
    from ultra_train.fill_mask import fill_mask as fill

    click.echo(as_text(texts, fill(model, texts, top_k)))
