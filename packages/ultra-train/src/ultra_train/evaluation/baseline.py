"""The systems of an earlier evaluation on the same items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np

from ultra_core.errors import UltraError
from ultra_train.evaluation.results import FORMAT, RESULTS
from ultra_train.system import files


@attrs.frozen(kw_only=True)
class EarlierSystem:
    """A system of an earlier evaluation.

    Attributes:
        name: its name.
        kind: ``dense``, ``sparse``, ``BM25`` or ``hybrid``.
        values: its values for each item.
    """

    name: str
    kind: str
    values: dict[str, np.ndarray]


@attrs.frozen(kw_only=True)
class Baseline:
    """An earlier evaluation.

    Attributes:
        path: its file.
        task: what was evaluated.
        data: name of its data, split, and sizes.
        fingerprint: of its items.
        systems: its systems.
    """

    path: Path
    task: str
    data: dict[str, Any]
    fingerprint: str
    systems: list[EarlierSystem]

    def check(self, task: str, fingerprint: str) -> None:
        """Refuse results of another task or other items.

        Raises:
            UltraError: they cannot be compared.
        """
        if (self.task, self.fingerprint) != (task, fingerprint):
            was = f"{self.task} on {self.data.get('name')}, split {self.data.get('split')}"
            raise UltraError(
                f"--baseline: {self.path} holds results of other data ({was}); systems can only be compared "
                "on the same items"
            )


def read_baseline(path: Path) -> Baseline:
    """Read the results of an earlier evaluation.

    Args:
        path: the file, or its folder.

    Raises:
        UltraError: it cannot be read, or holds no results of this format.
    """
    path = path / RESULTS if path.is_dir() else path
    try:
        found = files.read_json(path)
        if found["format"] != FORMAT:
            raise UltraError(f"--baseline: {path} has the format {found['format']}, but {FORMAT} is read")
        kinds = {system["name"]: system["kind"] for system in found["groups"][0]["systems"]}
        systems = [
            EarlierSystem(
                name=name,
                kind=kinds[name],
                values={measure: np.array(numbers, dtype=np.float64) for measure, numbers in values.items()},
            )
            for name, values in found["values"].items()
        ]
        return Baseline(
            path=path,
            task=found["task"],
            data=found["data"],
            fingerprint=found["fingerprint"],
            systems=systems,
        )
    except OSError as error:
        raise UltraError(f"--baseline: {path} cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise UltraError(f"--baseline: {path} holds no results of ultra-train eval ({error!r})") from error
