"""The memory that the process of a run uses."""

from __future__ import annotations

from typing import Any

import psutil
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class MemoryCallback(TrainerCallback):
    """Measures memory for every training line of the log.

    The metrics are ``memory_gb``, the resident set size of this process in GB, and on a GPU
    ``gpu_peak_memory_gb``, the most that the tensors of this process have occupied there.

    Args:
        metrics: receives the numbers.
        device: the device of the run.
    """

    def __init__(self, metrics: dict[str, float], device: torch.device) -> None:
        self.metrics = metrics
        self.device = device
        self._process = psutil.Process()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure when the update has a line in the log."""
        if not control.should_log:
            return
        self.metrics["memory_gb"] = self._process.memory_info().rss / 1e9
        if self.device.type == "cuda":
            self.metrics["gpu_peak_memory_gb"] = torch.cuda.max_memory_allocated(self.device) / 1e9
