"""A clear error when memory runs out outside of a micro-batch: in the optimizer, evaluation, or loading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ultra_train.trainer.checkpoints.folders import newest_name
from ultra_train.trainer.out_of_memory import REMEDIES, OutOfMemory, is_out_of_memory

NO_THREAD = "can't start new thread"
"""What Python says when the stack of a thread does not fit, or there are too many threads."""


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
        if is_out_of_memory(error):
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            what = f"memory ran out ({reason})"
        elif NO_THREAD in str(error):
            what = (
                f"the system gave no other thread ({NO_THREAD}): memory ran out, or the number of threads "
                "that are allowed (ulimit -u, or the limit of a container)"
            )
        else:
            raise
        raise OutOfMemory(
            f"{what}. {REMEDIES} The run continues from {newest_name(checkpoints)} with --resume."
        ) from error
