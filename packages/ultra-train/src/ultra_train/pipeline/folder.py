"""The folder of a pipeline: a run in a folder of its own for each step, and what is known of all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ultra_core.errors import UltraError
from ultra_train.config import load_any, to_tree, to_yaml
from ultra_train.pipeline.form import PipelinePreset
from ultra_train.pipeline.steps import Step
from ultra_train.run.resuming import changed_keys
from ultra_train.system import files
from ultra_train.system.run_files import CONFIG, FACTS, MODEL, REPORT

EVALUATION = "evaluation"
"""Folder of the results of the evaluation."""

DOCUMENTS = "corpus.jsonl"
"""The documents of the collection, in the folder of the evaluation."""

STEPS = "steps.json"


class PipelineFolder:
    """Paths of a pipeline, and the state of its steps.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / CONFIG
        self.report = path / REPORT
        self.evaluation = path / EVALUATION

    def run(self, step: str) -> Path:
        """Return the folder of the run of a step."""
        return self.path / step

    def model(self, step: str) -> Path:
        """Return the folder of the finished model of a step."""
        return self.run(step) / MODEL

    def record(self, preset: PipelinePreset) -> None:
        """Write the preset of the pipeline, with all keys of its steps."""
        files.write_text(self.config, to_yaml(preset))

    def is_finished(self, step: str) -> bool:
        """Whether the run of a step came to its end, and its model is there."""
        parts = _read(self.run(step) / FACTS).get("parts")
        last = parts[-1] if isinstance(parts, list) and parts else {}
        return self.model(step).is_dir() and isinstance(last, dict) and last.get("outcome") == "finished"

    def changes(self, step: Step) -> list[str]:
        """Return the keys in which a step differs from its run; none where that is not known."""
        base = self.model(step.base) if step.base is not None else None
        try:
            before = to_tree(load_any(self.run(step.name) / CONFIG))
        except UltraError:
            return []
        return [key for key in changed_keys(before, to_tree(step.load(base))) if not key.startswith("meta.")]

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds that each step took, and the evaluation, by name."""
        return {name: float(known["seconds"]) for name, known in self._known.items() if "seconds" in known}

    @property
    def tips(self) -> dict[str, str]:
        """Commands to try finished steps with, by the name of the step."""
        return {name: str(known["tip"]) for name, known in self._known.items() if "tip" in known}

    def add_seconds(self, name: str, seconds: float) -> None:
        """Add to the time of a step, which may be resumed several times."""
        self._note(name, "seconds", round(self.seconds.get(name, 0.0) + seconds, 1))

    def add_tip(self, name: str, tip: str) -> None:
        """Note a command to try a finished step with."""
        self._note(name, "tip", tip)

    @property
    def _known(self) -> dict[str, dict[str, Any]]:
        return {name: known for name, known in _read(self.path / STEPS).items() if isinstance(known, dict)}

    def _note(self, name: str, key: str, value: float | str) -> None:
        known = self._known
        known[name] = {**known.get(name, {}), key: value}
        files.write_text(self.path / STEPS, json.dumps(known, indent=1, ensure_ascii=False))


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file of ours; nothing where a kill has left none."""
    try:
        content = files.read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
