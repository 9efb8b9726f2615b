"""What all processes of a run decide alike, although each sees something else.

A signal may reach one process only, or all of them during different updates; one GPU may be too hot; a
callback of a plugin may ask for a checkpoint on one process. Each process enters what it sees, and once an
update all learn the largest entries, in one small all-reduce. A single process exchanges nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ultra_train.system.processes import Processes

FLAGS = ("should_log", "should_evaluate", "should_save", "should_training_stop", "should_epoch_stop")
"""What callbacks ask of transformers' loop; it is done when any process asks for it."""


class Agreement:
    """The largest of what the processes see.

    Everything that decides on the course of a run reads :meth:`agreed` after the end of an update, in the
    method ``on_agreed`` of a callback, instead of what this process alone sees. All processes must call the
    methods in the same order.

    Numbers are exchanged between the processors (gloo), so that no GPU has to finish its work for that.

    Args:
        here: this process.
    """

    def __init__(self, here: Processes) -> None:
        self.here = here
        self._entries: dict[str, Callable[[], float]] = {}
        self._agreed: dict[str, float] = {}

    def watch(self, name: str, read: Callable[[], float]) -> None:
        """Add an entry to every exchange from now on; every process must add the same names.

        Args:
            name: name of the entry, for :meth:`agreed`.
            read: returns what this process sees, a number that fp64 holds exactly.
        """
        self._entries[name] = read

    def agreed(self, name: str) -> float:
        """Return the largest value of an entry at the last exchange; 0 before the first."""
        return self._agreed.get(name, 0.0)

    def settle(self, control: Any) -> None:
        """Exchange all entries, and the flags that callbacks have set in transformers' ``TrainerControl``."""
        names = sorted(self._entries)
        flags = [float(getattr(control, flag)) for flag in FLAGS]
        found = self.largest(*flags, *(float(self._entries[name]()) for name in names))
        for flag, value in zip(FLAGS, found, strict=False):
            setattr(control, flag, bool(value))
        self._agreed = dict(zip(names, found[len(FLAGS) :], strict=True))

    def largest(self, *values: float) -> tuple[float, ...]:
        """Return the largest of each value over all processes, which all must call it at this place."""
        if not self.here.several:
            return values
        import torch.distributed as dist

        exchanged = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(exchanged, dist.ReduceOp.MAX)
        return tuple(exchanged.tolist())
