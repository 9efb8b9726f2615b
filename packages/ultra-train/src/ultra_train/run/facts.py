"""``run.json``: where, when and how the parts of a run were trained.

A run that was resumed has several parts. A part whose process was killed has no end.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from ultra_train.run.device import describe_device
from ultra_train.system import files
from ultra_train.system.processes import processes
from ultra_train.system.run_files import FACTS

PACKAGES = ("ultra-core", "ultra-blocks", "ultra-optim", "ultra-train", "torch", "transformers")
"""The packages whose versions a checkpoint and ``run.json`` record."""
_SECRET = re.compile(r"(?i)((?:hub|hf|auth|access|api)_?(?:token|key)|password|secret)=.*")


class RunFacts:
    """The record of the parts of a run.

    Args:
        run: folder of the run.
    """

    def __init__(self, run: Path) -> None:
        self.path = run / FACTS
        self._open = False

    def begin(self, *, step: int, model: nn.Module, device: torch.device, precision: str) -> None:
        """Add a part, which is in progress until :meth:`end`.

        Args:
            step: the update after which it begins.
            model: the model.
            device: the device of this process.
            precision: the precision of the computation.
        """
        recorded = self._read()
        part = {
            "started": _now(),
            "step": step,
            "command": command_line(),
            "device": describe_device(device),
            "precision": precision,
            "processes": processes().count,
            "machine": machine(),
            "versions": {"python": platform.python_version(), **package_versions()},
        }
        parameters = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        }
        self._write({**recorded, **parameters, "parts": [*_parts(recorded), part]})
        self._open = True

    def end(self, *, step: int, outcome: str, tokens: int, seconds: float) -> None:
        """Complete the present part; does nothing when none has begun.

        Args:
            step: the last update.
            outcome: ``finished``, or why it stopped.
            tokens: real tokens of all applied updates of all parts.
            seconds: time spent in updates in all parts.
        """
        recorded = self._read()
        parts = _parts(recorded)
        if not self._open or not parts:
            return
        self._open = False
        ending = {"ended": _now(), "last_step": step, "outcome": outcome}
        totals = {"tokens": tokens, "training_seconds": seconds}
        self._write({**recorded, **totals, "parts": [*parts[:-1], {**parts[-1], **ending}]})

    def _read(self) -> dict[str, Any]:
        """Return the record; one that cannot be read counts as empty."""
        try:
            recorded = files.read_json(self.path)
        except (OSError, ValueError):
            return {}
        return recorded if isinstance(recorded, dict) else {}

    def _write(self, recorded: Mapping[str, Any]) -> None:
        files.write_text(self.path, json.dumps(recorded, indent=1))


def _parts(recorded: Mapping[str, Any]) -> list[dict[str, Any]]:
    parts = recorded.get("parts")
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def command_line() -> str:
    """Return the command that started this process, without the values of tokens and passwords."""
    program, *words = sys.argv
    name = Path(program).name
    start = ["python", "-m", Path(program).parent.name] if name == "__main__.py" else [name]
    return shlex.join([*start, *(_SECRET.sub(r"\1=***", word) for word in words)])


def machine() -> dict[str, Any]:
    """Return what the machine is: system, processor, cores that the run may use, memory, GPUs."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": cores,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpus": gpus,
    }


def _processor() -> str:
    """Return the name of the processor; Linux has it in a file only."""
    cpus = Path("/proc/cpuinfo")
    if cpus.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", cpus.read_text("utf-8", "replace"), re.MULTILINE)
        if found is not None:
            return found[1]
    return platform.processor() or platform.machine()


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that decide on the result of a run."""
    return {name: version(name) for name in PACKAGES}
