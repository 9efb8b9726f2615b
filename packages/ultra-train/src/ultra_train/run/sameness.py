"""What must be the same on all processes of a run; each reads its own files and its own command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ultra_core.errors import UltraError
from ultra_train.run.resuming import changed_keys
from ultra_train.system.processes import Processes


def check_same_settings(here: Processes, settings: Mapping[str, Any]) -> None:
    """Refuse processes that were started with other settings than process 0; all call it together.

    They would train together on different batches, or wait for each other for ever.

    Args:
        here: this process.
        settings: the preset as plain data, and options of the command line.

    Raises:
        UltraError: on all processes; it names the keys, not their values, which may be secret.
    """
    if (found := _first_difference(here, settings)) is not None:
        rank, keys = found
        raise UltraError(
            f"process {rank} was started with other settings than process 0: {', '.join(keys)}. Start all "
            "processes of a run with the same preset and the same options"
        )


def check_same_data(here: Processes, facts: Mapping[str, Any]) -> None:
    """Refuse processes that have prepared other data than process 0; all call it together.

    Args:
        here: this process.
        facts: what identifies the data, from the task.

    Raises:
        UltraError: on all processes.
    """
    if (found := _first_difference(here, facts)) is not None:
        raise UltraError(
            f"process {found[0]} has read other texts or another tokenizer than process 0; all processes of "
            "a run need the same files: put texts, tokenizer and training.cache_dir on a disk that all "
            "machines share, or copy them before the run"
        )


def _first_difference(here: Processes, values: Mapping[str, Any]) -> tuple[int, list[str]] | None:
    """Return the first process whose values differ from those of process 0, and the keys that differ."""
    if not here.several:
        return None
    differing = changed_keys(here.share(dict(values)), dict(values))
    return next(((rank, keys) for rank, keys in enumerate(here.gather(differing)) if keys), None)
