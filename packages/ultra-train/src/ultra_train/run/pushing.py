"""Pushing the model of a run to the Hugging Face hub."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from ultra_core.errors import UltraError
from ultra_train.config import load_preset
from ultra_train.config.training import TrainingConfig
from ultra_train.hub.background import BackgroundPush
from ultra_train.hub.upload import LOG_IN, has_token
from ultra_train.run.finding import find_run
from ultra_train.system import files, run_files
from ultra_train.system.owned_files import OwnedFiles

Say = Callable[[str], None]


def check_token(training: TrainingConfig, run: Path, say: Say) -> None:
    """Say before the training that the push at its end lacks a token; it may be there by then."""
    if training.push_to_hub and not has_token():
        say(
            f"notice: training.push_to_hub is set, but there is no token for the hub: {LOG_IN}, before the "
            f"run ends; or push later with: {push_command(run, training.hub_model_id)}"
        )


def pushed(training: TrainingConfig, run: Path, model: Path, say: Say) -> AbstractContextManager[Any]:
    """Return a context in which the model is pushed, if the preset asks for that."""
    if not training.push_to_hub:
        return nullcontext()
    again = push_command(run, training.hub_model_id)
    repository, private = repository_name(training, run), training.hub_private_repo
    return BackgroundPush(model, repository, again=again, say=say, private=private)


def repository_name(training: TrainingConfig, run: Path) -> str:
    """Return the repository that a preset names, or the name of the run."""
    return training.hub_model_id or run.resolve().name


def push_command(run: Path, repository: str | None = None) -> str:
    """Return the command that pushes the model of a run."""
    return shlex.join(["ultra-train", "push", str(run), *(["--repo", repository] if repository else [])])


def repository_of(run: Path) -> str:
    """Return the repository that the preset of a run names, or its name."""
    config = run / run_files.CONFIG
    return repository_name(load_preset(config).training, run) if config.is_file() else run.resolve().name


def find_pushed(name: str, runs: Path) -> Path:
    """Return the folder that ``ultra-train push`` is to push from: that of a run, or of a model.

    Args:
        name: name of a run, its folder, or the folder of a model.
        runs: folder of runs.

    Raises:
        RunFolderError: there is neither such a run nor such a model.
    """
    folder = files.expand_user(name)
    return folder if (folder / "config.json").is_file() else find_run(name, runs)


def model_of(run: Path) -> Path:
    """Return the folder of the finished model of a run.

    Raises:
        UltraError: the run has none.
    """
    recorded = OwnedFiles(run).get("model").get("folder")
    folders = [Path(recorded)] if isinstance(recorded, str) else []
    for folder in [*folders, run / run_files.MODEL, run]:
        if (folder / "config.json").is_file():
            return folder
    raise UltraError(
        f"{run}: there is no finished model; a run writes it at its end. Name a finished run, or the folder "
        f"of one, such as {run_files.RUNS}/quickstart"
    )
