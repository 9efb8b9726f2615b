"""Several processes of one run, forked so that none has to import torch again."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any


def on_ranks(count: int, function: Callable[..., Any], *arguments: Any, group: bool = True) -> list[Any]:
    """Call a function in ``count`` processes that see each other over gloo; return what each returned.

    The environment of each process is that of ``torchrun``.

    Args:
        count: number of processes.
        function: is called in every process with the arguments; its result is pickled.
        arguments: of the function.
        group: whether the process group exists when the function is called.

    Raises:
        AssertionError: a process failed; the message has its traceback.
    """
    port = free_port()
    ranks = [_start(rank, count, port, function, arguments, group) for rank in range(count)]
    results, faults = [], []
    for rank, (pid, pipe) in enumerate(ranks):
        with os.fdopen(pipe, "rb") as file:
            raw = file.read()
        os.waitpid(pid, 0)
        good, value = pickle.loads(raw) if raw else (False, "it ended without a result")
        (results if good else faults).append(value if good else f"rank {rank}: {value}")
    assert not faults, "\n".join(faults)
    return results


def environment(rank: int, count: int, port: int) -> dict[str, str]:
    """Return the variables that ``torchrun`` sets for a process."""
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip


def free_port() -> int:
    """Return a port on this machine that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _forget_accelerate() -> None:
    """Let accelerate look at the environment again; it remembers what it saw when a test before used it."""
    state = sys.modules.get("accelerate.state")
    if state is not None:
        state.AcceleratorState._reset_state(reset_partial_state=True)
        state.GradientState._reset_state()


def _start(
    rank: int, count: int, port: int, function: Callable[..., Any], arguments: tuple[Any, ...], group: bool
) -> tuple[int, int]:
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        return pid, read
    os.close(read)
    signal.alarm(120)  # a process that waits for one that failed
    os.environ |= environment(rank, count, port)
    _forget_accelerate()
    try:
        import torch.distributed as dist

        if group:
            dist.init_process_group("gloo")
        answer = True, function(*arguments)
        if dist.is_initialized():
            dist.destroy_process_group()
    except BaseException:
        answer = False, traceback.format_exc()
    with os.fdopen(write, "wb") as file:
        file.write(pickle.dumps(answer))
    os._exit(0)
