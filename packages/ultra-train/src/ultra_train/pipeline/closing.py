"""What a pipeline prints at its end."""

from __future__ import annotations

from rich.console import Console

from ultra_train.pipeline.folder import PipelineFolder
from ultra_train.pipeline.form import PipelinePreset
from ultra_train.report.words import duration


def print_closing_words(preset: PipelinePreset, folder: PipelineFolder, console: Console) -> None:
    """Print how long the steps took, and what to try with them.

    Args:
        preset: the finished pipeline.
        folder: its folder.
        console: where to print.
    """

    def say(line: str) -> None:
        console.print(line, markup=False)

    seconds = folder.seconds
    names = [step.name for step in preset.steps if step.name in seconds]
    times = ", ".join(f"{name} {duration(seconds[name])}" for name in names)
    say(f"\n{folder.path.name}: {times}; together {duration(sum(seconds.values()))}")
    for step in preset.steps:
        say(f"  {step.name:<12} {folder.model(step.name)}")
    say(f"  {'report':<12} {folder.report}")
