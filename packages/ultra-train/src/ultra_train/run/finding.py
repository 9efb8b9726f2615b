"""Finding runs that a user names: by their names below the folder of runs, or by their folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ultra_core.errors import did_you_mean, listed
from ultra_train.run.folder import is_run
from ultra_train.run.folder_lock import RunFolderError
from ultra_train.system import files
from ultra_train.system.run_files import FACTS, METRICS


def find_runs(names: Sequence[str], runs: Path) -> dict[str, Path]:
    """Return the folders of runs by name; a folder that is named twice appears once.

    Args:
        names: for each, the name of a run or its folder.
        runs: folder of runs.

    Returns:
        the folders by the name of the run; where two runs have the same name, by their paths.

    Raises:
        RunFolderError: there is no such run; the message says which ones there are.
    """
    folders = list({folder.resolve(): folder for folder in (find_run(name, runs) for name in names)})
    short = [folder.name for folder in folders]
    return {(f.name if short.count(f.name) == 1 else str(f)): f for f in folders}


def find_run(name: str, runs: Path) -> Path:
    """Return the folder of a run.

    Args:
        name: the name of the run, or its folder.
        runs: folder of runs.

    Raises:
        RunFolderError: there is no such run; the message says which ones there are.
    """
    places = (files.expand_user(name), runs / name)
    found = next((place for place in places if has_recorded(place)), None)
    if found is not None:
        return found
    there = sorted(path.name for path in runs.glob("*") if has_recorded(path))
    runs_there = f"Runs in {runs}: {listed(there)}." if there else f"There are no runs in {runs}."
    if (place := next((place for place in places if place.is_dir()), None)) is not None:
        raise RunFolderError(
            f"{place} is no folder of a run: it has neither metrics nor a preset. {runs_there}"
        )
    raise RunFolderError(
        f"there is no run {name!r}.{did_you_mean(name, there)} {runs_there} Give the name of one, the path "
        "of its folder, or --output-dir if the runs are elsewhere."
    )


def has_recorded(folder: Path) -> bool:
    """Whether a folder belongs to a run, whatever is missing from it."""
    return is_run(folder) or any((folder / name).is_file() for name in (METRICS, FACTS))
