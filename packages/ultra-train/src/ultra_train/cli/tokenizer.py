"""``ultra-train tokenizer train``: a SentencePiece tokenizer from any data."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click


@click.group()
def tokenizer() -> None:
    """Train tokenizers."""


@tokenizer.command()
@click.option("--data", required=True, multiple=True, help="File, folder, glob or data set.")
@click.option(
    "--vocab-size",
    required=True,
    type=click.IntRange(min=1),
    help="Size of the vocabulary, special tokens included.",
)
@click.option("--output-dir", default="tokenizer", show_default=True, type=click.Path(path_type=Path))
@click.option("--model-type", default="unigram", show_default=True, type=click.Choice(["unigram", "bpe"]))
@click.option(
    "--max-length",
    default=512,
    show_default=True,
    type=click.IntRange(min=1),
    help="Maximum number of tokens of a text.",
)
@click.option("--lowercase", is_flag=True, help="Convert texts to lower case.")
@click.option(
    "--character-coverage",
    default=0.9999,
    show_default=True,
    type=click.FloatRange(0, 1),
)
@click.option(
    "--max-texts",
    default=2_000_000,
    show_default=True,
    type=click.IntRange(min=1),
    help="Maximum number of texts to read.",
)
@click.option("--column", default="text", show_default=True, help="Column of tables that holds the text.")
@click.option(
    "--on-bad-rows",
    default="error",
    show_default=True,
    type=click.Choice(["error", "skip"]),
    help="Whether an unusable row ends the training or is skipped and counted.",
)
def train(
    data: tuple[str, ...],
    vocab_size: int,
    output_dir: Path,
    model_type: Literal["unigram", "bpe"],
    max_length: int,
    lowercase: bool,
    character_coverage: float,
    max_texts: int,
    column: str,
    on_bad_rows: Literal["error", "skip"],
) -> None:
    """Train a tokenizer and save it as a fast Hugging Face tokenizer plus the SentencePiece model."""
    from ultra_train.data.sources.data_source import DataSource
    from ultra_train.data.sources.row_checker import RowChecker
    from ultra_train.data.sources.summary import left_out, table
    from ultra_train.data.sources.texts import TextReader, check_exists
    from ultra_train.tokenizer.training import train_tokenizer

    sources = [(DataSource(name, column=column), RowChecker(name, on_bad_rows)) for name in data]
    for source, _ in sources:  # all of them, before the first is read
        check_exists(source)
    reader = TextReader()
    trained = train_tokenizer(
        (record.text for source, checker in sources for record in reader.records(source, checker)),
        vocab_size=vocab_size,
        model_type=model_type,
        output_dir=output_dir,
        max_length=max_length,
        lowercase=lowercase,
        character_coverage=character_coverage,
        max_texts=max_texts,
    )
    counts = [checker.counts for _, checker in sources]
    if any(map(left_out, counts)):
        for line in table(counts):
            click.echo(line, err=True)
    click.echo(f"{len(trained)} tokens in {output_dir}")
