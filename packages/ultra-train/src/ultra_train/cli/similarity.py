"""``ultra-train similarity``: how alike texts are to a model."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from ultra_core.errors import UltraError
from ultra_train.cli.options import encoding_options

LABEL = 24
"""Characters of a text in the table."""


@click.command()
@click.argument("texts", nargs=-1, metavar="TEXT TEXT...")
@click.option("--model", required=True, help="A dense or a sparse encoder: folder, run or hub name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@encoding_options
def similarity(
    texts: tuple[str, ...],
    model: str,
    as_json: bool,
    batch_size: int,
    device: str | None,
    trust_remote_code: bool,
) -> None:
    """Print the similarity of two texts, or a table for more, by the measure that the model was made for."""
    from ultra_train.search.encoders import EncodingOptions, identify
    from ultra_train.search.encoding import similarities

    if len(texts) < 2:
        raise UltraError("give at least two texts to compare")
    options = EncodingOptions(device=device, batch_size=batch_size, trust_remote_code=trust_remote_code)
    found = similarities(identify(model), texts, options)
    if as_json:
        click.echo(json.dumps({"texts": texts, "similarity": found}, ensure_ascii=False))
    elif len(texts) == 2:
        click.echo(f"{found[0][1]:.4f}")
    else:
        for line in table(texts, found):
            click.echo(line)


def table(texts: Sequence[str], found: Sequence[Sequence[float]]) -> list[str]:
    """Return the lines of a table: a number, the beginning of a text, and its similarity to each text."""
    labels = [text if len(text) <= LABEL else f"{text[: LABEL - 1]}…" for text in texts]
    width, left = max(map(len, labels)), len(str(len(texts)))
    head = " " * (left + width + 3) + "".join(f"{number:>9}" for number in range(1, len(texts) + 1))
    rows = (
        f"{number:>{left}}  {label:<{width}} " + "".join(f"{value:9.4f}" for value in row)
        for number, (label, row) in enumerate(zip(labels, found, strict=True), 1)
    )
    return [head, *rows]
