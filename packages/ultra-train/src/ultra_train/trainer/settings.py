"""What a run tells the trainer beyond transformers' ``TrainingArguments``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import nn
from torch.optim import Optimizer

from ultra_optim.contract.traits import traits_of
from ultra_train.trainer.checkpoints.folders import RetentionPolicy
from ultra_train.trainer.guards import Guard, Rollbacks
from ultra_train.trainer.stream import EndlessBatches

Event = Mapping[str, Any]


def _nothing(_: Any) -> None:
    return None


@attrs.define(kw_only=True)
class TrainerSettings:
    """Plugins, guards and bookkeeping of one run.

    Attributes:
        stream: the micro-batches to train on.
        build_optimizer: makes the optimizer for the model and the losses that own parameters.
        schedule: factor of the learning rate after a number of updates.
        guard: judges every update.
        rollbacks: what the run left out when it went back.
        keeping: which checkpoints stay.
        files: texts that go into every checkpoint, by file name (the resolved preset).
        facts: what the manifest of a checkpoint records (packages, fingerprint of the data).
        storage_budget: bytes that ``run_folder`` may take, or None.
        run_folder: folder of the run.
        on_event: hears of dropped updates, rollbacks and resumes.
        on_saved: hears of every finished checkpoint.
    """

    stream: EndlessBatches
    build_optimizer: Callable[[Sequence[nn.Module]], Optimizer]
    schedule: Callable[[int], float]
    rollbacks: Rollbacks
    run_folder: Path
    guard: Guard = attrs.field(factory=Guard)
    keeping: RetentionPolicy = attrs.field(factory=RetentionPolicy)
    files: Mapping[str, str] = attrs.field(factory=dict)
    facts: Mapping[str, Any] = attrs.field(factory=dict)
    storage_budget: int | None = None
    on_event: Callable[[Event], None] = _nothing
    on_saved: Callable[[Path], None] = _nothing


def unwrapped(optimizer: Any) -> Optimizer:
    """Return the optimizer below accelerate's wrapper."""
    while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = inner
    assert isinstance(optimizer, Optimizer)
    return optimizer


@contextmanager
def evaluation_weights(optimizer: Any) -> Iterator[dict[int, torch.Tensor]]:
    """Put the weights that evaluation, saving and export use into the model, and take them out again exactly.

    For an optimizer with two sets of weights (trait ``eval_weights``). Yields the training weights by
    ``id(parameter)``; empty for every other optimizer.
    """
    inner = unwrapped(optimizer) if optimizer is not None else None
    if inner is None or not traits_of(inner).eval_weights:
        yield {}
        return
    parameters = [p for group in inner.param_groups for p in group["params"]]
    training = {id(p): p.detach().clone() for p in parameters}
    inner.eval()  # type: ignore[attr-defined]
    try:
        yield training
    finally:
        inner.train()  # type: ignore[attr-defined]
        with torch.no_grad():
            for parameter in parameters:  # swapping back rounds; the copy does not
                parameter.copy_(training[id(parameter)])


def learning_rates(optimizer: Optimizer) -> dict[str, float]:
    """Return the present rate of every role as ``lr_<role>``."""
    return {f"lr_{group.get('role', 'other')}": float(group["lr"]) for group in optimizer.param_groups}
