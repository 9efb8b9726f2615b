"""The processes of a run: who this one is, and what they say to each other.

A launcher (``torchrun``, ``accelerate launch``, Slurm's ``srun torchrun``) describes the processes in
environment variables; reading them imports no torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from ultra_core.errors import UltraError

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@attrs.frozen
class Processes:
    """The place of this process among those of its run.

    Attributes:
        rank: number of this process, from 0.
        count: number of processes.
        local_rank: number of this process among those of its machine.
        local_count: number of processes on this machine.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the process that prints and writes the files of the run."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether the run has more than one process."""
        return self.count > 1

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self.several:
            import torch.distributed as dist

            dist.barrier()

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Let process 0 run a block before the others, which then find what it has put into a cache."""
        if not self.main:
            self.wait()
        yield
        if self.main:
            self.wait()

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in the order of their ranks, on every process."""
        if not self.several:
            return [value]
        import torch.distributed as dist

        values = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def share(self, value: Any) -> Any:
        """Return the value that process 0 gives, on every process."""
        if not self.several:
            return value
        import torch.distributed as dist

        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]


def processes() -> Processes:
    """Return the place of this process, as the launcher described it.

    Raises:
        UltraError: the environment variables of the launcher contradict each other.
    """
    if "WORLD_SIZE" not in os.environ:
        return Processes()
    try:
        rank, count = int(os.environ.get("RANK", "0")), int(os.environ["WORLD_SIZE"])
        local_rank = int(os.environ.get("LOCAL_RANK", rank))
        local_count = int(os.environ.get("LOCAL_WORLD_SIZE", count))
    except ValueError:
        rank, count, local_rank, local_count = -1, 0, 0, 0
    if not (0 <= rank < count and 0 <= local_rank < local_count <= count):
        said = ", ".join(f"{name}={os.environ[name]}" for name in _VARIABLES if name in os.environ)
        raise UltraError(
            f"the environment describes processes that cannot be: {said}; start the run with torchrun or "
            "accelerate launch, or unset these variables"
        )
    return Processes(rank, count, local_rank, local_count)
