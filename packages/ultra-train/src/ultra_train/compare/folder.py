"""The folder of a comparison: its plan, what its trials left, and what is shown of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ultra_core.errors import UltraError, listed
from ultra_train.compare.plan import Plan, Trial
from ultra_train.config import load_preset, to_tree, to_yaml
from ultra_train.run.folder import check_reachable
from ultra_train.run.folder_lock import locked
from ultra_train.run.resuming import changed_keys
from ultra_train.system import files
from ultra_train.system.run_files import LOCK, RUNS

COMPARISONS = "compare"
"""Folder of comparisons."""

PLAN = "comparison.json"
PRESETS = "presets"
RESULTS = "results"
TWINS = "twins"
TABLE = "comparison.csv"
SUMMARY = "summary.csv"
PAGE = "comparison.html"
_FORMAT = 1


class ComparisonFolderError(UltraError):
    """A folder cannot be used for this comparison."""


class ComparisonFolder:
    """Paths of a comparison, and the record of its plan.

    ``comparison.json`` lists the trials; it is written last of the plan, so that a folder has all presets or
    counts as empty. A trial is finished when its file in ``results`` is there.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs = path / RUNS
        self.twins = path / TWINS

    def preset(self, trial: Trial) -> Path:
        """Return the preset that a trial runs."""
        return self.path / PRESETS / f"{trial.name}.yaml"

    def result(self, trial: Trial) -> Path:
        """Return the record that a trial leaves at its end."""
        return self.path / RESULTS / f"{trial.name}.json"

    def output(self, trial: Trial) -> Path:
        """Return the file of what a trial prints."""
        return self.path / RESULTS / f"{trial.name}.log"

    def run(self, trial: Trial) -> Path:
        """Return the folder of the run of a trial."""
        return self.runs / trial.name

    @property
    def begun(self) -> bool:
        """Whether there is a plan here."""
        return (self.path / PLAN).is_file()

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Lock the folder: two processes never work on one comparison.

        What was created for a comparison that did not begin is removed.
        """
        with locked(self.path) as missing:
            try:
                yield
            finally:
                if not self.begun:
                    (self.path / LOCK).unlink(missing_ok=True)
                    for folder in (path for path in (self.path, *self.path.parents) if path in missing):
                        files.remove_empty(folder)

    def check_free(self) -> None:
        """Refuse a folder that cannot be written, or holds files of something else.

        Raises:
            UltraError: it is a file, not empty, or cannot be created.
        """
        check_reachable("-o", self.path)
        if not self.path.exists() or self.begun:
            return
        there = {entry.name for entry in self.path.iterdir()}
        if not there <= {LOCK, PRESETS, RESULTS, TWINS, RUNS}:
            raise ComparisonFolderError(
                f"{self.path} holds other files ({listed(sorted(there)[:5])}); name another folder with -o"
            )

    def record(self, plan: Plan, command: str) -> None:
        """Write the plan of a new comparison."""
        for name in (PRESETS, RESULTS, RUNS):
            (self.path / name).mkdir(parents=True, exist_ok=True)
        for trial in plan.trials:
            files.write_text(self.preset(trial), to_yaml(trial.preset))
        content = {
            "format": _FORMAT,
            "command": command,
            "budget": {"unit": plan.budget.unit, "amount": plan.budget.amount},
            "trials": [trial.name for trial in plan.trials],
        }
        files.write_text(self.path / PLAN, json.dumps(content, indent=1))

    def check_same(self, plan: Plan) -> None:
        """Refuse to continue another comparison than the one of this folder.

        Raises:
            ComparisonFolderError: names the trials or keys that differ.
        """
        recorded = self._recorded()
        said = f"{self.path} belongs to another comparison"
        advice = "Repeat its command to continue it, or name another folder with -o."
        names = [trial.name for trial in plan.trials]
        if recorded.get("trials") != names:
            known = recorded["trials"] if isinstance(recorded.get("trials"), list) else []
            parts = [
                f"{what} {listed(which[:5])}{', ...' if len(which) > 5 else ''}"
                for what, which in (
                    ("without the runs", [name for name in names if name not in known]),
                    ("with the runs", [name for name in known if name not in names]),
                )
                if which
            ]
            raise ComparisonFolderError(f"{said}, {' and '.join(parts) or 'in another order'}. {advice}")
        amount = {"unit": plan.budget.unit, "amount": plan.budget.amount}
        if recorded.get("budget") != amount:
            raise ComparisonFolderError(f"{said}, with another budget than {plan.budget.words}. {advice}")
        for trial in plan.trials:
            if keys := self._changes(trial):
                raise ComparisonFolderError(
                    f"{said}: {trial.name} has other values of {listed(keys[:8])}. {advice}"
                )

    @property
    def command(self) -> str:
        """The command that began the comparison."""
        return str(self._recorded().get("command", ""))

    def _recorded(self) -> dict[str, Any]:
        try:
            content = files.read_json(self.path / PLAN)
        except (OSError, ValueError) as error:
            raise ComparisonFolderError(
                f"{self.path / PLAN} cannot be read ({error}); restore it, or begin again with another -o"
            ) from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ComparisonFolderError(
                f"{self.path / PLAN} is not of this version; begin again with another -o"
            )
        return content

    def _changes(self, trial: Trial) -> list[str]:
        """Return the keys that the preset of a trial would change."""
        try:
            before = to_tree(load_preset(self.preset(trial)))
        except UltraError as error:
            raise ComparisonFolderError(f"{self.preset(trial)} cannot be read: {error}") from error
        return [key for key in changed_keys(before, to_tree(trial.preset)) if not key.startswith("meta.")]
