"""The splits ``train``, ``dev`` and ``test``, and the names that files, folders and data sets give them."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Literal

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")

_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "development", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_WORD = re.compile(r"[a-z]+")


@lru_cache(maxsize=1024)
def split_of_name(name: str) -> Split | None:
    """Return the split that a name stands for: that of a split on the hub, or of a file without its folder.

    ``validation``, ``sts-dev.jsonl`` and ``train-00000-of-00002.parquet`` name one; ``corpus.jsonl`` names
    none, and neither does a name with two of them.
    """
    found = {_NAMES[word] for word in _WORD.findall(name.lower()) if word in _NAMES}
    return found.pop() if len(found) == 1 else None


def split_of_file(path: Path, source: Path) -> Split | None:
    """Return the split of a file of a source, by its name or that of a folder between them."""
    inner = path.relative_to(source) if path.is_relative_to(source) else Path(path.name)
    parts = (split_of_name(part) for part in reversed(inner.parts))
    return next((split for split in parts if split is not None), None)
