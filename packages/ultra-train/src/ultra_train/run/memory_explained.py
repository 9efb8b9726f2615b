"""A clear error when memory runs out outside of a micro-batch: in the optimizer, evaluation, or loading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ultra_train.trainer.checkpoints.folders import newest_name
from ultra_train.trainer.out_of_memory import REMEDIES, OutOfMemory, is_out_of_memory


@contextmanager
def out_of_memory_explained(checkpoints: Path) -> Iterator[None]:
    """Replace an error about memory by one that says what to do.

    Args:
        checkpoints: folder of the run's checkpoints.

    Raises:
        OutOfMemory: instead of the errors of torch and Python.
    """
    try:
        yield
    except OutOfMemory:
        raise
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise OutOfMemory(
            f"memory ran out ({reason}). {REMEDIES} The run continues from {newest_name(checkpoints)} with "
            "--resume."
        ) from error
