"""How the processes of a run share its work: the strategy that ``training.distributed`` names."""

from __future__ import annotations

import os

import torch

from ultra_core.errors import UltraError
from ultra_train.config.training import TrainingConfig
from ultra_train.system.processes import Processes
from ultra_train.trainer.fully_sharded import is_configured


def pick_strategy(training: TrainingConfig) -> str:
    """Return how several processes share the work: ``ddp`` or ``fsdp``.

    What ``accelerate launch`` was told counts where the preset says nothing.

    Raises:
        UltraError: the strategy is not available, or the launcher was told something else.
    """
    launched = _launched()
    strategy = training.distributed or launched or "ddp"
    if strategy == "deepspeed":
        raise UltraError(
            "training.distributed deepspeed: DeepSpeed's engine takes the steps of the optimizer itself, "
            "which rules out ultra's guards, exact checkpoints and matrix optimizers. Use "
            "training.distributed: fsdp, which divides weights, gradients and state among the processes as "
            "ZeRO-3 does"
        )
    if launched is not None and launched != strategy:
        raise UltraError(
            f"training.distributed is {strategy}, but accelerate launch was told to use {launched}; make "
            "them agree, or leave training.distributed out"
        )
    if launched == "fsdp" and os.environ.get("FSDP_VERSION", "1") != "2":
        raise UltraError(
            "accelerate launch was told to use the first version of FSDP; set fsdp_version: 2 in its "
            "configuration (--fsdp_version 2)"
        )
    return strategy


def _launched() -> str | None:
    """Return the strategy that ``accelerate launch`` was told to use, or None."""
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        return "deepspeed"
    return "fsdp" if is_configured() else None


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
