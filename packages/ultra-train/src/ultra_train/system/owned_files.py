"""What a run has made, kept in its folder: only that may be replaced when it goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultra_train.system import files

FILE = "made.json"


class OwnedFiles:
    """The record of a run's files whose place others may use too: the table, the model, the tokenizer.

    A record that cannot be read says that nothing was made, so that nothing is replaced.

    Args:
        run: folder of the run.
    """

    def __init__(self, run: Path) -> None:
        self.path = run / FILE

    def get(self, what: str) -> dict[str, Any]:
        """Return what is recorded of something; empty when nothing is."""
        facts = self._read().get(what)
        return facts if isinstance(facts, dict) else {}

    def put(self, what: str, facts: Mapping[str, Any]) -> None:
        """Record something."""
        files.write_text(self.path, json.dumps({**self._read(), what: facts}, indent=1))

    def _read(self) -> dict[str, Any]:
        try:
            facts = files.read_json(self.path)
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file; an empty text for what is no regular file, such as a pipe."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder by its name."""
    found = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {p.relative_to(folder).as_posix(): checksum(p) for p in found}
