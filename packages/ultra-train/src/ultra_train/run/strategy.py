"""How the processes of a run share its work: the strategy that ``training.distributed`` names."""

from __future__ import annotations

import torch

from ultra_core.errors import UltraError
from ultra_train.config.training import TrainingConfig
from ultra_train.system.processes import Processes


def pick_strategy(training: TrainingConfig) -> str:
    """Return how several processes share the work.

    Raises:
        UltraError: the strategy is not available.
    """
    strategy = training.distributed or "ddp"
    if strategy != "ddp":
        raise UltraError(f"training.distributed {strategy} is not available yet; use ddp, or leave it out")
    return strategy


def describe_strategy(training: TrainingConfig, here: Processes, device: torch.device) -> str:
    """Return a line about the processes of a run and the size of an update; all processes must call it."""
    hosts = here.gather(here.local_rank).count(0)
    window = training.gradient_accumulation_steps
    rows = here.count * window * training.batch_size
    backend = "nccl" if device.type == "cuda" else "gloo"
    return (
        f"{pick_strategy(training)} ({backend}) over {here.count} processes on {hosts} "
        f"host{'s' if hosts > 1 else ''}; global batch of an update: {here.count} processes x {window} "
        f"micro-batches x {training.batch_size} = {rows} rows of the greatest length"
    )
