"""The folder of a run: a new one, or that of the run to resume."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ultra_core.errors import did_you_mean
from ultra_train.run.folder_lock import RunFolderError, is_locked, locked
from ultra_train.system import files
from ultra_train.system.owned_files import OwnedFiles
from ultra_train.system.processes import Processes
from ultra_train.system.run_files import CHECKPOINTS, CONFIG, LOCK, OWNERSHIP_FILE, TOKENIZER
from ultra_train.trainer.checkpoints.folders import list_checkpoints

BEFORE_TRAINING = {CONFIG, TOKENIZER, LOCK, OWNERSHIP_FILE}
"""What a run that is killed before training leaves in its folder."""


def choose_folder(runs: Path, preset: str, *, name: str | None, resume: bool) -> Path:
    """Return the folder of a run; a new run never overwrites an existing one.

    A new run of the preset ``quickstart`` gets ``quickstart``, or ``quickstart-2`` if that is in use, and so
    on. ``resume`` selects the newest of them, or ``name``.

    Raises:
        RunFolderError: there is no run to resume, or ``name`` is in use.
    """
    if name is not None and (not re.fullmatch(r"[\w.]([\w.+ -]*[\w.+-])?", name) or not name.strip(".")):
        raise RunFolderError(
            f"{name!r} cannot name a run: use letters, digits, '_', '-', '+', '.' and, within it, spaces"
        )
    if resume:
        folder = runs / name if name is not None else _newest(runs, preset)
        if folder is None or not is_run(folder):
            there = sorted(p.name for p in runs.glob("*") if is_run(p))
            wanted = name or preset
            raise RunFolderError(
                f"there is no run {wanted!r} in {runs} to resume.{did_you_mean(wanted, there)} "
                f"Runs there: {', '.join(there) or 'none'}. Start it without --resume."
            )
        return folder
    if name is None:
        return _free(runs, preset)
    if not is_unused(runs / name):
        raise RunFolderError(
            f"{runs / name} exists already. Continue it with --resume, choose another --name, or remove it."
        )
    return runs / name


def _numbered(runs: Path, preset: str) -> Iterator[Path]:
    number = 1
    while True:
        yield runs / (preset if number == 1 else f"{preset}-{number}")
        number += 1


def _free(runs: Path, preset: str) -> Path:
    return next(p for p in _numbered(runs, preset) if is_unused(p))


def is_run(folder: Path) -> bool:
    """Whether a folder belongs to a run that can be resumed; ``config.yaml`` may be missing."""
    return (folder / CONFIG).is_file() or bool(list_checkpoints(folder / CHECKPOINTS))


def is_unused(folder: Path) -> bool:
    """Whether a new run may use this folder: it is missing, empty, or of a run that never trained.

    The lock file identifies the folder of a run: a folder with only a ``config.yaml`` may be somebody else's.
    """
    if not os.path.lexists(folder):
        return True
    if not folder.is_dir():
        return False
    there = {p.name for p in folder.iterdir()}
    return not there or (LOCK in there and there <= BEFORE_TRAINING and not is_locked(folder))


def check_reachable(key: str, folder: Path) -> None:
    """Refuse a folder that cannot be created or written, before the work whose result is written to it.

    Args:
        key: the key or option that names the folder, for messages.
        folder: the folder, which need not exist.

    Raises:
        RunFolderError: the folder or a parent is a file, a broken link, or not writable.
    """
    folder = files.expand_user(folder).absolute()
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not there.is_dir():
        what = "a file" if there.exists() else "a broken link"
        raise RunFolderError(
            f"{key}: {there} is {what}, so the folder {folder} cannot be created; name another one"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise RunFolderError(f"{key}: {there} is not writable; name another folder")


def check_unused(model: str | None) -> None:
    """Refuse a folder for the finished model (``hf_output_dir``) that is not empty.

    Raises:
        RunFolderError: it is a file, or a folder that is not empty.
    """
    folder = files.expand_user(model) if model else None
    if folder is not None and os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise RunFolderError(
            f"training.hf_output_dir: {folder} exists and is not an empty folder; nothing is "
            "overwritten. Name another one, or empty it."
        )


@contextmanager
def reserved(folder: Path) -> Iterator[Callable[[], None]]:
    """Lock the folder of a run, and remove it if the run ends before training begins.

    Only what the run created is removed. A process that does not get the lock removes nothing, because the
    content belongs to the process that holds it.

    Yields:
        a function that the run calls when training begins.

    Raises:
        RunFolderError: another process trains in the folder, or it cannot be written.
    """
    with locked(folder) as missing:
        before = _everything(folder)
        started: list[bool] = []
        try:
            yield lambda: started.append(True)
        finally:
            if not started:
                tokenizer = OwnedFiles(folder).get("tokenizer").get("files")
                copied = [f"{TOKENIZER}/{name}" for name in tokenizer] if isinstance(tokenizer, dict) else []
                files.remove_files(folder, [n for n in [*copied, CONFIG, OWNERSHIP_FILE] if n not in before])
                files.remove_empty(folder / CHECKPOINTS)
                if folder / LOCK in missing:  # last: from here on another process may take the folder
                    (folder / LOCK).unlink(missing_ok=True)
                for path in (p for p in (folder, *folder.parents) if p in missing):
                    files.remove_empty(path)


@contextmanager
def reserved_for_all(
    here: Processes, choose: Callable[[], Path]
) -> Iterator[tuple[Path, Callable[[], None]]]:
    """Let process 0 choose and lock the folder of the run, for all processes.

    Args:
        here: this process.
        choose: returns the folder; only process 0 calls it.

    Yields:
        the folder, and the function of :func:`reserved`, which does nothing on the other processes.
    """
    if not here.main:
        yield here.share(None), lambda: None
        return
    folder = choose()
    with reserved(folder) as started:
        here.share(folder)
        yield folder, started


def _everything(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*")} if folder.is_dir() else set()


def _newest(runs: Path, preset: str) -> Path | None:
    newest = None
    for folder in _numbered(runs, preset):
        if not folder.exists():
            return newest
        newest = folder
    return newest
