"""Gradient norms by role and by layer, before clipping."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ultra_train.trainer.norms import total_norm

PREFIX = "grad_norm_"
LAYER = re.compile(r"(?:^|\.)(?:layers|layer)\.(\d+)\.")


class GradientCallback(TrainerCallback):
    """Measures gradient norms at some of the updates that have a line in the log, for that line.

    The metrics are ``grad_norm_<role>`` for every role and, with ``blocks``, ``grad_norm_layer_<n>`` for
    every layer. Each is the root of the sum of squares over the parameters of the role or layer, before
    clipping, so the squares of all roles sum to the square of ``grad_norm``.

    Args:
        metrics: receives the numbers.
        every: least number of updates between two measurements (``gradient_log_interval``).
        blocks: whether to measure every layer too (``enable_block_grad_norms``).
    """

    def __init__(self, metrics: dict[str, float], *, every: int, blocks: bool = False) -> None:
        self.metrics = metrics
        self.every = every
        self.blocks = blocks

    def due(self, step: int, logging_steps: float) -> bool:
        """Return whether an update is measured: it has a line, and an interval has ended since the last line.

        Depends on the update alone, so that a resumed run measures the same updates.
        """
        lines = max(1, round(logging_steps))
        return step == 1 or (step % lines == 0 and step // self.every > (step - lines) // self.every)

    def on_gradients(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        optimizer: Any = None,
        **kwargs: Any,
    ) -> None:
        """Measure the complete gradients of an update; one synchronisation for all numbers."""
        for name in [n for n in self.metrics if n.startswith(PREFIX)]:
            del self.metrics[name]  # of an earlier update, perhaps from before a resume
        if not self.due(state.global_step + 1, state.logging_steps):
            return
        groups: dict[str, list[torch.Tensor]] = {}
        for group in optimizer.param_groups:
            name = f"{PREFIX}{group.get('role', 'all')}"
            groups.setdefault(name, []).extend(p.grad for p in group["params"] if p.grad is not None)
        if self.blocks:
            for name, parameter in model.named_parameters():
                if parameter.grad is not None and (layer := LAYER.search(name)):
                    groups.setdefault(f"{PREFIX}layer_{layer[1]}", []).append(parameter.grad)
        self.metrics.update(norms(groups))


def norms(groups: Mapping[str, list[torch.Tensor]]) -> dict[str, float]:
    """Return the norm of every non-empty group of gradients."""
    filled = {name: grads for name, grads in groups.items() if grads}
    if not filled:
        return {}
    values = [total_norm(grads) for grads in filled.values()]
    return dict(zip(filled, torch.stack(values).tolist(), strict=True))
