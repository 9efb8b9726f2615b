"""``ultra-train index``: documents into an index that can be searched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ultra_train.cli.options import encoding_options, models_option

if TYPE_CHECKING:
    from ultra_train.search.indexing import Indexing


@click.command()
@click.argument("source", metavar="FOLDER_OR_FILE")
@models_option("A dense or a sparse encoder: folder, run or hub name; once for each.")
@click.option("--bm25", is_flag=True, help="Index the words of the documents, too.")
@click.option("--to", default="index.db", show_default=True, help="Local index, or http://host:19530.")
@click.option("--collection", default="documents", show_default=True, help="Name of the collection.")
@click.option("--id-column", help="Column of ids [_id or id, else the id is a hash of the content].")
@click.option("--text-column", default="text", show_default=True, help="Column of texts.")
@click.option("--title-column", help="Column of titles [title, if there is one].")
@click.option("--truncate-dim", type=click.IntRange(min=1), help="Dimensions to keep of a Matryoshka model.")
@encoding_options
def index(
    source: str,
    models: tuple[str, ...],
    bm25: bool,
    to: str,
    collection: str,
    id_column: str | None,
    text_column: str,
    title_column: str | None,
    truncate_dim: int | None,
    batch_size: int,
    device: str | None,
    trust_remote_code: bool,
) -> None:
    """Build an index of documents, or add to it what is new.

    FOLDER_OR_FILE is a table (JSON lines, CSV, TSV or Parquet, also gzipped) with a document in each row, a
    folder of such tables and of text files, or a folder in the layout of BEIR (corpus.jsonl).

    Documents that the index has with the same content are not encoded again, so a building that was
    interrupted goes on when the same command is given again.
    """
    from rich.console import Console

    from ultra_train.search.documents import DocumentSource
    from ultra_train.search.encoders import EncodingOptions
    from ultra_train.search.indexing import index_documents

    made = index_documents(
        DocumentSource(
            source=source, id_column=id_column, text_column=text_column, title_column=title_column
        ),
        models,
        bm25=bm25,
        to=to,
        collection=collection,
        options=EncodingOptions(
            device=device,
            batch_size=batch_size,
            truncate_dim=truncate_dim,
            trust_remote_code=trust_remote_code,
        ),
        console=Console(stderr=True, soft_wrap=True),
    )
    for line in summary(made, to):
        click.echo(line)


def summary(made: Indexing, to: str) -> list[str]:
    """Return the lines about what was done."""
    from ultra_train.system.memory import peak_resident

    counts, peak = made.counts, peak_resident()
    memory = f", peak memory {peak / 2**20:,.0f} MiB" if peak else ""
    lines = [
        f"{to}: {counts.added:,} documents added, {counts.replaced:,} replaced, {counts.unchanged:,} "
        f"unchanged; {made.total:,} in the index",
        f"{made.seconds:,.1f} s, {counts.read / max(made.seconds, 1e-9):,.0f} documents a second{memory}",
    ]
    left_out = {"empty": made.survey.empty, "repeated": made.survey.repeated}
    if any(left_out.values()):
        lines.append(
            "left out: " + ", ".join(f"{number:,} {kind}" for kind, number in left_out.items() if number)
        )
    if made.total > made.survey.documents:
        lines.append(
            f"{made.total - made.survey.documents:,} documents of the index are not in this source; they stay"
        )
    return lines
