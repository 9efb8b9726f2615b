"""``ultra-train eval MODEL... --data DATA``: how good encoders are, side by side."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from ultra_train.cli.options import encoding_options, runs_option


@click.command(name="eval")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--data",
    "source",
    required=True,
    metavar="DATA",
    help="Folder or .tar.gz in the layout of BEIR, nanobeir:NAME, mteb:TASK; or a file of pairs or triplets.",
)
@click.option(
    "--task",
    type=click.Choice(["retrieval", "sts", "triplets", "binary"]),
    help="What is evaluated [retrieval for collections].",
)
@click.option("--split", help="Split to evaluate on [test].")
@click.option(
    "--column", "columns", multiple=True, metavar="KEY=NAME", help="Name of a column: --column sentence1=a."
)
@click.option("--bm25/--no-bm25", default=True, show_default=True, help="BM25 beside the models.")
@click.option("--language", metavar="CODE", help="Language that BM25 stems in, or none [guessed].")
@click.option("--hybrid/--no-hybrid", default=True, show_default=True, help="Also combine the searches.")
@click.option(
    "--tune-split", default="dev", show_default=True, help="Split that the weights of hybrids are tuned on."
)
@click.option(
    "--seen-qrels", "seen", metavar="SPLIT", help="Report documents apart that answer queries of this split."
)
@click.option("--recall", "recalls", multiple=True, type=int, metavar="K", help="Recall@K [10 and 100].")
@click.option("--analyze-sparsity", is_flag=True, help="Also report how sparse sparse vectors are.")
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="results.json of an earlier evaluation to compare with.",
)
@encoding_options
@click.option("--max-length", type=click.IntRange(1), help="Tokens to which texts are cut [as saved].")
@click.option("--resamples", type=click.IntRange(100, 1_000_000), default=2000, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the resamples.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder [evaluation/MODELS-DATA].")
@runs_option
def evaluate(
    models: tuple[str, ...],
    source: str,
    task: str | None,
    split: str | None,
    columns: tuple[str, ...],
    bm25: bool,
    language: str | None,
    hybrid: bool,
    tune_split: str,
    seen: str | None,
    recalls: tuple[int, ...],
    analyze_sparsity: bool,
    baseline: Path | None,
    batch_size: int,
    max_length: int | None,
    device: str | None,
    trust_remote_code: bool,
    resamples: int,
    seed: int,
    output: Path | None,
    output_dir: Path,
) -> Path:
    """Evaluate encoders, side by side.

    On a collection (documents, queries, judgements) every MODEL searches exactly, as what it is: a dense one
    by its similarity, a sparse one by dot products. BM25 and hybrids stand beside them, with intervals and a
    paired test. On pairs (--task sts or binary) and triplets similarities are evaluated. MODEL is a folder, a
    run, or a name of the hub. Writes results.json, results.md and results.html.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see ultra_train.cli.run
    from rich.console import Console

    from ultra_train.evaluation.printing import print_results
    from ultra_train.evaluation.results import Resampling
    from ultra_train.evaluation.retrieval import Plan
    from ultra_train.evaluation.running import Loading, Request
    from ultra_train.evaluation.running import evaluate as execute
    from ultra_train.report.evaluation_page import write_results

    request = Request(
        models=models,
        source=source,
        task=task,
        split=split,
        columns=named_columns(columns),
        plan=Plan(
            split=split or "test",
            tuning_split=tune_split,
            seen_split=seen,
            recalls=recalls,
            hybrids=hybrid,
            sparsity=analyze_sparsity,
            resampling=Resampling(resamples=resamples, seed=seed),
        ),
        bm25=bm25,
        language=language,
        loading=Loading(
            device=device,
            batch_size=batch_size,
            max_length=max_length,
            trust_remote_code=trust_remote_code,
            runs=output_dir,
        ),
        baseline=baseline,
    )
    folder = output if output is not None else Path("evaluation") / default_name(request.names, source)
    check_output(folder)
    results = execute(request, lambda line: click.echo(line, err=True))
    print_results(results, Console())
    write_results(results, fresh(folder), own_command())
    click.echo(f"results: {folder}")
    return folder


def own_command() -> str:
    """Return the command line as it would be typed again."""
    words = sys.argv[1:]
    return shlex.join(["ultra-train", *(words if words[:1] == ["eval"] else ["eval", *words])])


def named_columns(given: Sequence[str]) -> dict[str, str]:
    """Return columns given as ``KEY=NAME``.

    Raises:
        UltraError: one has no ``=``.
    """
    from ultra_core.errors import UltraError

    for one in given:
        if "=" not in one:
            raise UltraError(f"--column: {one!r} should be KEY=NAME, such as sentence1=a")
    return dict(one.split("=", 1) for one in given)


def default_name(models: Sequence[str], source: str) -> str:
    """Return the name of the folder of results: the models and the data."""
    data = source.rstrip("/").rpartition("/")[2].split(".")[0].replace(":", "-")
    return "-".join([*(model.rpartition("/")[2] for model in models or ("bm25",)), data])


def check_output(folder: Path) -> None:
    """Refuse a folder that holds anything but the results of an earlier evaluation.

    Raises:
        UltraError: it is a file, or holds other files.
    """
    from ultra_core.errors import UltraError
    from ultra_train.evaluation.results import RESULTS

    if folder.exists() and not folder.is_dir():
        raise UltraError(f"-o: {folder} is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RESULTS).is_file():
        raise UltraError(
            f"-o: {folder} holds other files; name a new folder, such as {folder / 'evaluation'}"
        )


def fresh(folder: Path) -> Path:
    """Return the empty folder; earlier results in it are kept under another name."""
    from ultra_train.system.files import set_aside

    if folder.is_dir() and any(folder.iterdir()):
        click.echo(f"notice: earlier results are now in {set_aside(folder)}", err=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
