"""One trial, in a process of its own: what is wrong with it, its memory and its death stay there."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import attrs

from ultra_core.errors import UltraError
from ultra_train.compare.budget import Budget
from ultra_train.system import files
from ultra_train.system.memory import peak_resident
from ultra_train.system.signals import NUMBERS, Interrupted

Status = Literal["finished", "failed"]

START = "fork" if sys.platform == "linux" else "spawn"
"""How processes are started: a fork has imported everything; elsewhere it is not safe."""

STOPPED = 75
"""Exit code of a trial that stopped for a reason that holds for all: the disk is full, the GPU is too hot."""


@attrs.frozen
class Order:
    """What the process of a trial is told; plain values, so that every way to start one can pass it.

    Attributes:
        name: name of the run.
        preset: its preset file.
        runs: the folder of runs.
        result: the file to write at the end.
        output: the file of what it prints.
        budget: what it may spend.
        device: where it trains, as ``ultra-train run --device`` takes it.
    """

    name: str
    preset: Path
    runs: Path
    result: Path
    output: Path
    budget: Budget
    device: str | None = None


def run_trial(order: Order) -> None:
    """Train, and leave a record; the body of the process of a trial.

    The record is missing when the process was stopped or killed, so that the trial is continued later.
    """
    _attach(order.output)
    _end_with_parent(os.getppid())
    began = time.monotonic()
    try:
        facts = _train(order)
    except Interrupted as stop:
        raise SystemExit(128 + stop.number) from None
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    except Exception as error:
        _end_if_it_concerns_all(error)
        _report(error)
        facts = {"status": "failed", "reason": _reason(error)}
    facts |= {"peak_memory": peak_memory(), "wall_seconds": time.monotonic() - began}
    files.write_text(order.result, json.dumps(facts, indent=1))


def _train(order: Order) -> dict[str, Any]:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from ultra_core.plugins.hooks import plugin_manager
    from ultra_train.compare.budget_hooks import BudgetHooks
    from ultra_train.config import load_preset
    from ultra_train.run.device import describe_device, pick_device
    from ultra_train.run.execution import execute
    from ultra_train.run.folder import is_run
    from ultra_train.system.processes import processes

    hooks = BudgetHooks(order.budget)
    plugin_manager().register(hooks, name="ultra-train compare")
    try:
        execute(
            load_preset(order.preset),
            resume=is_run(order.runs / order.name),
            name=order.name,
            output_dir=order.runs,
            device=order.device,
        )
    finally:
        plugin_manager().unregister(hooks)
    packages = ("ultra-core", "ultra-blocks", "ultra-optim", "ultra-train", "torch", "transformers")
    return {
        "status": "finished",
        "device": describe_device(pick_device(order.device, processes())),
        "packages": {name: version(name) for name in packages},
        **hooks.totals,
    }


def _attach(output: Path) -> None:
    """Write what the process prints to a file, and give signals back their default actions."""
    for number in NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    descriptor = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    text: dict[str, Any] = {"buffering": 1, "encoding": "utf-8", "errors": "backslashreplace"}
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False, **text) for number in (1, 2))


def _end_with_parent(parent: int) -> None:
    """Stop as after SIGTERM, with a checkpoint, when the process of the comparison has died."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _end_if_it_concerns_all(error: Exception) -> None:
    """End the process without a record when the next trial would fail for the same reason."""
    if getattr(error, "passing", False) or files.is_full_disk(error):
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(STOPPED) from error


def _report(error: Exception) -> None:
    """Print an error, with its traceback unless it explains itself."""
    if isinstance(error, UltraError):
        print(f"error: {error}", file=sys.stderr)
    else:
        traceback.print_exception(error)


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    if _is_out_of_memory(error):
        return f"out of memory: {lines[0] if lines else 'an allocation failed'}"
    return str(error) if isinstance(error, UltraError) else f"{type(error).__name__}: {error}"


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one behind it, says that memory ran out."""
    while error is not None:
        text = str(error).lower()
        if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
            return True
        error = error.__cause__ or error.__context__
    return False


def peak_memory() -> int | None:
    """Return the peak memory of this process in bytes: of its GPU where it used one, else resident memory."""
    import torch

    if torch.cuda.is_initialized() and (allocated := torch.cuda.max_memory_allocated()):
        return int(allocated)
    return peak_resident()
