"""A clear error when a worker process of the data loader dies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb

from ultra_core.errors import UltraError
from ultra_train.trainer.checkpoints.folders import list_checkpoints

LOADER = "torch.utils.data.dataloader"


@contextmanager
def dead_workers_explained(checkpoints: Path) -> Iterator[None]:
    """Replace the error of a data loader whose worker process died by one that says what to do.

    Args:
        checkpoints: folder of the run's checkpoints.

    Raises:
        UltraError: instead of the errors of torch, or of the pipe to the worker.
    """
    try:
        with _dead_worker_awaited():
            yield
    except (RuntimeError, OSError, EOFError) as error:
        if not (str(error).startswith("DataLoader worker (pid") or _lost_connection(error)):
            raise
        newest = next((c.path.name for c in list_checkpoints(checkpoints)), "its beginning")
        said = str(error).strip().rstrip(".") or type(error).__name__
        raise UltraError(
            f"a process that makes batches ended ({said}), most likely because memory ran out and the system "
            "killed it. Use fewer of them (training.dataloader_workers) or smaller batches "
            f"(training.batch_size); the run can be resumed from {newest} with --resume."
        ) from error


@contextmanager
def _dead_worker_awaited() -> Iterator[None]:
    """Give torch the time to raise its own error, which replaces that of the connection.

    It does so whatever the run does when the system reports the dead worker, a moment after the connection is
    lost.
    """
    try:
        yield
    except (OSError, EOFError) as error:
        if _lost_connection(error):
            time.sleep(1)
        raise


def _lost_connection(error: BaseException) -> bool:
    """Whether an error comes from the connection to a worker of a data loader, which dies with the worker."""
    modules = {frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)}
    return LOADER in modules and any(name.startswith("multiprocessing.") for name in modules)
