"""The command ``ultra-train predict``: the labels of texts in a file or on the command line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ultra_core.errors import UltraError, did_you_mean, listed

if TYPE_CHECKING:
    from ultra_train.tasks.labelled.predicting import Prediction

Row = dict[str, Any]
FORMATS = (".csv", ".tsv", ".jsonl")


@click.command()
@click.argument("model")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option("--text", "texts", multiple=True, help="A text to label; may be given several times.")
@click.option("--text-column", default="text", show_default=True, help="Column of texts.")
@click.option("--pair-column", help="Column of second texts, for models of pairs.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="A .csv, .tsv or .jsonl [the screen, as .csv]."
)
@click.option("--all-scores", is_flag=True, help="Add the probability of every label.")
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(min=1))
@click.option("--device", help="cpu, cuda, cuda:1 [a GPU if there is one].")
@click.option("--runs", default="runs", show_default=True, help="Folder of runs.")
@click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model.")
def predict(
    model: str,
    files: tuple[Path, ...],
    texts: tuple[str, ...],
    text_column: str,
    pair_column: str | None,
    output: Path | None,
    all_scores: bool,
    batch_size: int,
    device: str | None,
    runs: str,
    trust_remote_code: bool,
) -> None:
    """Label texts with a model of classification or token classification.

    FILE is a .csv, .tsv, .jsonl, .json or .parquet with a column of texts, or a .txt with a text on each
    line. Its rows are written with a label and a score; for token classification with a tag for every word
    between blanks.
    """
    if bool(files) == bool(texts):
        raise UltraError("give files, or texts with --text, and not both")
    if output is not None and output.suffix not in FORMATS:
        raise UltraError(f"--output {output}: must end in {listed(list(FORMATS))}")
    columns = [text_column, *([pair_column] if pair_column else [])]
    rows = [{text_column: text} for text in texts] or [row for file in files for row in _rows(file, columns)]
    if texts and pair_column:
        raise UltraError("--pair-column is for files; --text gives single texts")
    from ultra_train.tasks.labelled.predicting import Predictor

    predictor = Predictor(
        model, runs=runs, device=device, batch_size=batch_size, trust_remote_code=trust_remote_code
    )
    found = predictor([tuple(row[column] for column in columns) for row in rows])
    labelled = [_with(row, one, all_scores) for row, one in zip(rows, found, strict=True)]
    if output is None:
        click.echo(_written(labelled, ".csv"), nl=False)
        return
    from ultra_train.system.files import write_text

    write_text(output, _written(labelled, output.suffix))
    click.echo(f"{output}: {len(labelled):,} rows")


def _rows(path: Path, columns: list[str]) -> Iterator[Row]:
    """Yield the rows of a file, which have the columns of texts.

    Raises:
        UltraError: the file is missing or broken, lacks a column, or a text is none.
    """
    from ultra_train.data.sources.readers import SUFFIXES, read_file, suffix
    from ultra_train.data.sources.rows import ROW_SUFFIXES, read_rows

    if not path.is_file():
        raise UltraError(f"there is no file {path}")
    if suffix(path, ROW_SUFFIXES):
        for where, row in read_rows(path):
            for column in columns:
                if column not in row:
                    raise UltraError(
                        f"{where}: has no column {column!r}; its columns are {listed(list(row)[:20])}."
                        f"{did_you_mean(column, list(row))} Name it with --text-column."
                    )
                if not isinstance(row[column], str):
                    raise UltraError(f"{where}: column {column!r} holds {row[column]!r}, which is no text")
            yield row
    elif suffix(path):
        yield from ({columns[0]: text} for text in read_file(path))
    else:
        raise UltraError(f"{path}: its name must end in {listed(sorted({*SUFFIXES, *ROW_SUFFIXES}))}")


def _with(row: Row, one: Prediction, all_scores: bool) -> Row:
    """Return a row with what the model says; columns of the file that are called alike are kept."""
    made: Row = {"label": one.label, "score": None if one.score is None else round(one.score, 6)}
    if all_scores:
        made |= {f"score_{name}": round(score, 6) for name, score in one.scores.items()}
    return {**row, **{f"predicted_{name}" if name in row else name: value for name, value in made.items()}}


def _written(rows: list[Row], suffix: str) -> str:
    if suffix == ".jsonl":
        return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
    text = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(
        text, list(names), delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
