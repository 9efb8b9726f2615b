"""What a pipeline prints at its end."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from rich.console import Console

from ultra_train.embeddings.kinds import kind_of
from ultra_train.evaluation.printing import print_results
from ultra_train.pipeline.evaluation import results_of
from ultra_train.pipeline.examples import read_query
from ultra_train.pipeline.folder import DOCUMENTS, EVALUATION, PipelineFolder
from ultra_train.pipeline.form import PipelinePreset
from ultra_train.report.words import duration


def print_closing_words(preset: PipelinePreset, folder: PipelineFolder, console: Console) -> None:
    """Print how long the steps took, how good their models are, and what to try with them.

    Args:
        preset: the finished pipeline.
        folder: its folder.
        console: where to print.
    """

    def say(line: str) -> None:
        console.print(line, markup=False)

    if (results := results_of(folder)) is not None:
        say("")
        print_results(results, console)
    seconds = folder.seconds
    names = [*(step.name for step in preset.steps), EVALUATION]
    times = ", ".join(f"{name} {duration(seconds[name])}" for name in names if name in seconds)
    say(f"\n{folder.path.name}: {times}; together {duration(sum(seconds.values()))}")
    for step in preset.steps:
        say(f"  {step.name:<12} {folder.model(step.name)}")
    if results is not None:
        say(f"  {EVALUATION:<12} {folder.evaluation}")
    say(f"  {'report':<12} {folder.report}")
    if found := list(commands([step.name for step in preset.steps], folder)):
        say("Try:")
        for command in found:
            say(f"  {command}")


def commands(steps: Sequence[str], folder: PipelineFolder) -> Iterator[str]:
    """Yield commands to try the finished models with.

    Args:
        steps: names of the steps.
        folder: the folder of the pipeline.
    """
    tips, query = folder.tips, read_query(folder)
    yield from (tips[name] for name in steps if name in tips)
    if query is not None:
        yield from _of_query(steps, folder, shlex.quote(query))


def _of_query(steps: Sequence[str], folder: PipelineFolder, query: str) -> Iterator[str]:
    """Yield commands that index and search the texts of the evaluation."""
    kinds = {name: kind_of(str(folder.model(name))) for name in steps}
    models = " ".join(f"--model {folder.run(n)}" for n, kind in kinds.items() if kind in ("dense", "sparse"))
    if models:
        index = folder.path / "index.db"
        yield f"ultra-train index {folder.evaluation / DOCUMENTS} {models} --bm25 --to {index}"
        yield f"ultra-train search {query} --index {index}"
