"""The record of which files a run owns; a resumed run replaces no others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultra_train.system import files

OWNERSHIP_FILE = "made.json"


class OwnedFiles:
    """The files of a run whose paths other programs may use too: the table, the model, the tokenizer.

    A record that cannot be read counts as empty, so that nothing is replaced.

    Args:
        run: folder of the run.
    """

    def __init__(self, run: Path) -> None:
        self.path = run / OWNERSHIP_FILE

    def get(self, kind: str) -> dict[str, Any]:
        """Return the record of a kind of file, such as ``model``; empty when there is none."""
        facts = self._read().get(kind)
        return facts if isinstance(facts, dict) else {}

    def put(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Store the record of a kind of file."""
        files.write_text(self.path, json.dumps({**self._read(), kind: facts}, indent=1))

    def _read(self) -> dict[str, Any]:
        try:
            facts = files.read_json(self.path)
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}
