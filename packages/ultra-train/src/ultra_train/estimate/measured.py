"""The same update on real tensors, under torch's allocation profiler: what estimates are compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.optim import Optimizer
from torch.profiler import ProfilerActivity, profile

from ultra_train.tasks.base import DryStep


def measured_peak(
    step: DryStep, build_optimizer: Callable[[Sequence[nn.Module]], Optimizer], *, accumulation: int
) -> int:
    """Return the most bytes that the tensors of two updates on the CPU take at once, weights included.

    Args:
        step: the model, the batch and the loss.
        build_optimizer: builds the optimizer over modules.
        accumulation: micro-batches in an update.
    """
    batch = step.batch()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        model = step.build_model().train()
        optimizer = build_optimizer([model])
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for micro_batches in (1, min(2, accumulation)):
            for _ in range(micro_batches):
                step.loss(model, batch).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            model.zero_grad()
    held = highest = 0
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        highest = max(highest, held)
    return highest
