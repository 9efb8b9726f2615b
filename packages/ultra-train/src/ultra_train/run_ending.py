"""How a run that ended early goes on."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ultra_core.errors import UltraError
from ultra_train.checkpoints import found
from ultra_train.run_folder import CONFIG, RUNS


def resume_command(run: Path) -> str:
    """Return the command that goes on with a run: the one that was given, or one with its recorded preset."""
    given = [a for a in sys.argv[1:] if a != "--resume"]
    started_here = Path(sys.argv[0]).name.startswith("ultra-train") and given[:1] in (["run"], ["train"])
    words = given if started_here else ["run", str(run / CONFIG)]
    words = words if "--name" in words else [*words, "--name", run.name]
    elsewhere = "--output-dir" not in words and run.parent != Path(RUNS)
    there = ["--output-dir", str(run.parent)] if elsewhere else []
    return f"{shlex.join(['ultra-train', *words, *there])} --resume"


@contextmanager
def dead_workers_explained(checkpoints: Path) -> Iterator[None]:
    """Turn the error of a data loader whose worker process died into one that says what to do.

    Args:
        checkpoints: folder of the run's checkpoints.

    Raises:
        UltraError: instead of torch's ``RuntimeError``.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        newest = next((c.path.name for c in found(checkpoints)), "its beginning")
        raise UltraError(
            f"a process that makes batches ended ({str(error).strip().rstrip('.')}), mostly because memory "
            "ran out and the system killed it. Use fewer of them (training.dataloader_workers) or smaller "
            f"batches (training.batch_size); the run goes on from {newest} with --resume."
        ) from error
