"""Joining the other processes of a run: their rendezvous, the watch over each other, the process group."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from traceback import walk_tb
from typing import Any

import attrs

from ultra_core.errors import UltraError
from ultra_train.system import peers
from ultra_train.system.peers import PeerFailed, Peers
from ultra_train.system.processes import Processes, processes
from ultra_train.system.signals import Interrupted

PATIENCE = timedelta(days=30)
"""How long a collective operation may take: one process may tokenise, or pause, while the others wait.

Processes that have died are noticed by ``peers``, not by a time limit.
"""
_COLLECTIVE = ("torch.distributed", "torch.nn.parallel", "torch.autograd", "accelerate.")
_joined: Any = None


@attrs.frozen
class Group:
    """The processes of a run, joined.

    Attributes:
        here: this process.
        store: what the rendezvous agreed on; None in a single process.
        peers: the watch over the others; None in a single process.
    """

    here: Processes
    store: Any = None
    peers: Peers | None = None

    def open(self, device_type: str) -> None:
        """Create the process group of torch: nccl between GPUs, gloo between CPUs.

        Args:
            device_type: ``cuda`` or ``cpu``.

        Raises:
            UltraError: another process has a device of another type, with which it could not communicate.
        """
        import torch.distributed as dist

        if not self.here.several or dist.is_initialized():
            return
        self._check_devices(device_type)
        backend = "cuda:nccl,cpu:gloo" if device_type == "cuda" else "gloo"
        rank, count = self.here.rank, self.here.count
        dist.init_process_group(backend, store=self.store, rank=rank, world_size=count, timeout=PATIENCE)
        atexit.register(dist.destroy_process_group)

    def _check_devices(self, device_type: str) -> None:
        types = self._exchanged("device", device_type)
        for rank, other in enumerate(types):
            if other != types[0]:
                raise UltraError(
                    f"process {rank} would train on {other} and process 0 on {types[0]}; all processes of a "
                    "run need devices of one type: repair the machine without GPUs, or give --device to all"
                )

    def _exchanged(self, name: str, value: str) -> list[str]:
        """Return the texts of all processes, before there is a process group; once for every name."""
        keys, seen = (
            [f"ultra-train/{name}{suffix}/{rank}" for rank in range(self.here.count)]
            for suffix in ("", "/seen")
        )
        self.store.set(keys[self.here.rank], value)
        values = [text.decode() for text in self.store.multi_get(keys)]
        self.store.set(seen[self.here.rank], "")
        if self.here.main:  # the store may end with this process
            self.store.wait(seen)
        return values

    @contextmanager
    def failing_together(self) -> Iterator[None]:
        """End all processes when one fails inside the block, and say why.

        Raises:
            PeerFailed: another process failed.
            Interrupted: a signal stopped another process at once.
        """
        if self.peers is None:
            yield
            return
        try:
            with self.peers.watching():
                yield
        except PeerFailed:
            raise
        except Interrupted as stop:
            self.peers.report(stop.message or f"interrupted by {stop.name} at once", stop.number)
            raise
        except BaseException as error:
            consequence = not isinstance(error, UltraError) and _in_collective(error)
            fault = self.peers.wait_for_fault(5.0) if consequence else None
            if fault is None:
                named = isinstance(error, (UltraError, OSError))  # an OSError names its file
                self.peers.report(str(error) if named else repr(error))
                raise
            if fault.signal is not None:
                raise Interrupted(fault.reason or "", fault.signal) from error
            raise PeerFailed(fault) from error


def join(here: Processes) -> Group:
    """Return this process together with the others, once all have started; a process joins only once.

    Raises:
        UltraError: the launcher did not say where the others are, or one has not come.
    """
    global _joined
    if not here.several:
        return Group(here)
    if _joined is None or _joined.here != here:
        _joined = _join(here)
    return _joined


def _join(here: Processes) -> Group:
    from torch.distributed.rendezvous import rendezvous

    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if name not in os.environ:
            raise UltraError(
                f"the environment describes {here.count} processes, but {name} is not set; start the run "
                "with torchrun or accelerate launch, or unset WORLD_SIZE and RANK"
            )
    os.environ.setdefault("RANK", str(here.rank))
    store, *_ = next(rendezvous("env://", timeout=timedelta(seconds=peers.CONNECTING)))
    key = "ultra-train/peers"
    watch = peers.connect(
        here,
        publish=lambda text: store.set(key, text),
        read=lambda: store.get(key).decode(),
        address=os.environ["MASTER_ADDR"],
    )
    atexit.register(watch.close)
    return Group(here, store, watch)


def speaks_for_all(error: BaseException | None) -> bool:
    """Whether this process prints an error that ends the run.

    It is process 0, which is told what ended the others; process 1 where process 0 died without a word; and
    one process a machine as long as they have not joined.
    """
    try:
        here = processes()
    except UltraError:
        return True
    if here.main or _joined is None:
        return here.local_rank == 0
    return isinstance(error, PeerFailed) and here.rank == 1 and error.fault.rank == 0 and error.fault.silent


def _in_collective(error: BaseException) -> bool:
    """Whether an error was raised while the processes exchanged something."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    return any(f"{name}.".startswith(_COLLECTIVE) for name in modules)
