"""What a run prints at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from ultra_train.run.context import Run
from ultra_train.system import run_files
from ultra_train.trainer.optimizers import evaluation_weights


def print_closing_words(run: Run, model: Path, metrics: Mapping[str, float], console: Console) -> None:
    """Print the duration of the run, the closing words of its task, and where the results are.

    Args:
        run: the finished run.
        model: folder of the finished model.
        metrics: those of the finished model.
        console: where to print.
    """
    trainer, path = run.trainer, run.path

    def say(line: str) -> None:
        console.print(line, markup=False)

    say(f"\nTrained {trainer.state.global_step} updates; {throughput(trainer)}")
    if run.graphs is not None:
        say(run.graphs.line)
    if dropped := trainer.gate.dropped:
        say(f"{dropped} updates were dropped; {path / run_files.METRICS} says why")
    with evaluation_weights(trainer.optimizer):
        for words in run.task.closing_words(trainer, metrics):
            console.print(words, soft_wrap=isinstance(words, str))
    for what, where in _results(path, model):
        say(f"  {what:<12} {where}")
    if (tip := run.task.tip(path)) is not None:
        say(f"Try it: {tip}")


def throughput(trainer: Any) -> str:
    """Return the real tokens and the seconds of all updates of a run, earlier parts included."""
    tokens, seconds = trainer.tokens_seen, trainer.training_seconds
    return f"{tokens:,} tokens in {seconds:.0f} s ({tokens / max(seconds, 1e-9):,.0f} a second)"


def _results(run: Path, model: Path) -> Iterator[tuple[str, Path]]:
    yield "model", model
    yield "report", run / run_files.REPORT
    yield "metrics", run / run_files.METRICS
    yield "checkpoints", run / run_files.CHECKPOINTS
    yield "preset", run / run_files.CONFIG
