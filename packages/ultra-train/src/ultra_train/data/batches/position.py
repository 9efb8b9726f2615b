"""Reading the position in the data that a checkpoint recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ultra_train.data.errors import DataError


def read_position(state: Mapping[str, Any], here: Mapping[str, Any]) -> tuple[int, int]:
    """Return the epoch and the index of the batch that a loader's state says.

    Args:
        state: of the checkpoint.
        here: of the loader that is to be moved; ``seed`` and ``shards`` identify its data.

    Raises:
        DataError: the state belongs to other data or another seed, or is damaged.
    """
    for name in ("seed", "shards"):
        if state.get(name, here[name]) != here[name]:
            raise DataError(
                f"The checkpoint's data position belongs to {name} {state[name]!r}, but this run has "
                f"{here[name]!r}: the data, the tokenizer, max_length or the seed changed. Restore them, "
                "or start a new run."
            )
    epoch, index = state.get("epoch"), state.get("index")
    if not (type(epoch) is type(index) is int and epoch >= 0 and index >= 0):
        raise damaged(epoch, index)
    return epoch, index


def damaged(epoch: object, index: object) -> DataError:
    """Return the error about a position that no run can have recorded."""
    return DataError(f"The checkpoint's data position is damaged: epoch {epoch!r}, batch {index!r}.")
