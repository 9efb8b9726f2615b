"""``ultra-train encode``: the vectors of texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ultra_core.errors import UltraError
from ultra_train.cli.options import encoding_options

if TYPE_CHECKING:
    from ultra_train.search.vector_files import Precision


@click.command()
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--model", required=True, help="A dense or a sparse encoder: folder, run or hub name.")
@click.option("--from", "source", metavar="FOLDER_OR_FILE", help="Encode these documents, read as by index.")
@click.option("--id-column", help="Column of ids [_id or id, else the id is a hash of the content].")
@click.option("--text-column", default="text", show_default=True, help="Column of texts.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="A .jsonl, .npy, .npz or .safetensors [the screen]."
)
@click.option("--as", "role", type=click.Choice(["document", "query"]), default="document", show_default=True)
@click.option("--truncate-dim", type=click.IntRange(min=1), help="Dimensions to keep of a Matryoshka model.")
@click.option("--quantize", type=click.Choice(["int8", "binary"]), help="Smaller numbers, for dense vectors.")
@encoding_options
def encode(
    texts: tuple[str, ...],
    model: str,
    source: str | None,
    id_column: str | None,
    text_column: str,
    output: Path | None,
    role: str,
    truncate_dim: int | None,
    quantize: Precision | None,
    batch_size: int,
    device: str | None,
    trust_remote_code: bool,
) -> None:
    """Compute the vectors of texts, or of the documents of a file or folder.

    They are held in memory until they are written. An index takes any number of documents.
    """
    from ultra_train.search.documents import DocumentSource
    from ultra_train.search.encoders import EncodingOptions, identify
    from ultra_train.search.encoding import encode_texts
    from ultra_train.search.survey import survey
    from ultra_train.search.vector_files import check_format

    if bool(texts) == (source is not None):
        raise UltraError("give texts to encode, or documents with --from, and not both")
    identity, precision = identify(model), quantize or "float32"
    check_format(output or Path("-.jsonl"), sparse=identity.kind == "sparse", precision=precision)
    named = [(text, text) for text in texts]
    if source is not None:
        found = survey(DocumentSource(source=source, id_column=id_column, text_column=text_column))
        named = [(document.id, document.searched) for document in found.read()]
    options = EncodingOptions(
        device=device, batch_size=batch_size, truncate_dim=truncate_dim, trust_remote_code=trust_remote_code
    )
    made = encode_texts(identity, named, options, query=role == "query")
    if output is None:
        for line in made.json_lines(precision):
            click.echo(line)
    else:
        made.write(output, precision)
        click.echo(f"{output}: {len(named):,} vectors of {made.dimension:,} dimensions")
