"""Norms of the gradients by role and by block, before clipping."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

PREFIX = "grad_norm_"
LAYER = re.compile(r"(?:^|\.)(?:layers|layer)\.(\d+)\.")


class GradientCallback(TrainerCallback):
    """Measures gradients now and then, at updates that have a line in the log; that line has the numbers.

    ``grad_norm_<role>`` for every role, and ``grad_norm_layer_<n>`` for every layer when ``blocks`` is set:
    norm = sqrt(sum of squares) over the parameters that belong there, of that update and before clipping, so
    that the squares of the roles sum to the square of ``grad_norm``.

    Args:
        extra: where the numbers go.
        every: least updates between measurements (``gradient_log_interval``).
        blocks: also by layer (``enable_block_grad_norms``).
    """

    def __init__(self, extra: dict[str, float], *, every: int, blocks: bool = False) -> None:
        self.extra = extra
        self.every = every
        self.blocks = blocks

    def due(self, step: int, logging_steps: float) -> bool:
        """Whether an update is measured: it has a line, and an interval ended since the line before.

        A function of the update alone, so that a resumed run measures the same ones.
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
        """Measure the gradients of a whole update, not clipped yet; one synchronisation for all numbers."""
        for name in [n for n in self.extra if n.startswith(PREFIX)]:
            del self.extra[name]  # of an earlier update, also one of before the run was resumed
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
        self.extra.update(norms(groups))


def norms(groups: Mapping[str, list[torch.Tensor]]) -> dict[str, float]:
    """Return the norm of every non-empty group of gradients."""
    filled = {name: grads for name, grads in groups.items() if grads}
    if not filled:
        return {}
    values = [torch.nn.utils.get_total_norm(grads) for grads in filled.values()]
    return dict(zip(filled, torch.stack(values).tolist(), strict=True))
