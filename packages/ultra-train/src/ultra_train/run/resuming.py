"""Resuming a run: its checkpoint, the keys that have changed, the command to do so."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ultra_core.errors import UltraError
from ultra_train.config import Preset, load_preset, to_tree
from ultra_train.system.processes import Processes
from ultra_train.system.run_files import CHECKPOINTS, CONFIG, RUNS
from ultra_train.trainer.checkpoints.folders import Checkpoint, CheckpointError, newest_intact
from ultra_train.trainer.checkpoints.removal import set_aside
from ultra_train.trainer.checkpoints.resume import resume_damage

Say = Callable[[str], None]


def newest_checkpoint(run: Path, say: Say) -> Checkpoint | None:
    """Return the newest checkpoint that a run can resume from; None when it has none yet.

    Args:
        run: folder of the run.
        say: prints which checkpoints are skipped.

    Raises:
        CheckpointError: there are checkpoints, but all of them are damaged.
    """
    damaged: list[str] = []
    folder = run / CHECKPOINTS
    checkpoint = newest_intact(folder, damaged.append, check=resume_damage)
    for line in damaged:
        say(line)
    if checkpoint is None and damaged:
        raise CheckpointError(
            f"none of the checkpoints in {folder} can be used, so the run cannot be "
            "resumed. Restore a copy of one, or start again without --resume, which takes a new folder."
        )
    return checkpoint


def print_changed_keys(run: Path, preset: Preset, checkpoint: Checkpoint | None, say: Say) -> None:
    """Print the keys that differ from those that the run was trained with so far.

    Args:
        run: folder of the run.
        preset: the preset of the resumed run.
        checkpoint: the checkpoint that it resumes from.
        say: prints a line.
    """
    path = (checkpoint.path if checkpoint is not None else run) / CONFIG
    if not path.exists():
        return
    try:
        before = to_tree(load_preset(path))
    except UltraError as error:
        say(f"notice: the preset of the run cannot be read to compare it: {error}")
        return
    changed = [key for key in changed_keys(before, to_tree(preset)) if not key.startswith("meta.")]
    if changed:
        say(f"notice: changed since the run began: {', '.join(changed)}")
    if any(key.startswith("training.optimizer.") for key in changed):
        say("        the optimizer keeps the hyperparameters of its checkpoint")


def start_point(run: Path, checkpoint: Checkpoint | None, say: Say) -> str | None:
    """Return the folder of the checkpoint that a resumed run starts from; None for its beginning.

    Newer checkpoints are damaged and are set aside.
    """
    if checkpoint is None:
        say("no checkpoint was saved yet: the run starts again from its beginning")
        return None
    set_aside(run / CHECKPOINTS, newer_than=checkpoint.step)
    say(f"resuming after update {checkpoint.step}")
    return str(checkpoint.path)


def changed_keys(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted keys whose values differ between two presets as plain data."""
    found = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += changed_keys(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key}")
    return found


def resume_command(run: Path, here: Processes) -> str:
    """Return the command that resumes a run: the given one, or one with its recorded preset.

    Args:
        run: folder of the run.
        here: this process; several are started with ``torchrun``.
    """
    given = [a for a in sys.argv[1:] if a != "--resume"]
    program = Path(sys.argv[0])
    ours = program.name.startswith("ultra-train") or program.parent.name == "ultra_train"
    started_here = ours and given[:1] in (["run"], ["train"])
    words = given if started_here else ["run", str(run / CONFIG)]
    words = words if "--name" in words else [*words, "--name", run.name]
    elsewhere = "--output-dir" not in words and run.parent != Path(RUNS)
    there = ["--output-dir", str(run.parent)] if elsewhere else []
    return f"{_launcher(here)} {shlex.join([*words, *there])} --resume"


def _launcher(here: Processes) -> str:
    if not here.several:
        return "ultra-train"
    hosts = "" if here.count == here.local_count else "... "  # as many, which meet where they met before
    return f"torchrun {hosts}--nproc-per-node {here.local_count} -m ultra_train"
