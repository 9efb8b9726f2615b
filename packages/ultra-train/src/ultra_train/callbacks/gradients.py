"""Norms of the gradients by role and by block, after clipping."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

LAYER = re.compile(r"(?:^|\.)(?:layers|layer)\.(\d+)\.")


class GradientCallback(TrainerCallback):
    """Measures gradients now and then; the next line of the log has the numbers.

    ``grad_norm_<role>`` for every role, and ``grad_norm_layer_<n>`` for every layer when ``blocks`` is set:
    norm = sqrt(sum of squares) over the parameters that belong there, as the optimizer gets them.

    Args:
        extra: where the numbers go.
        every: updates between measurements (``gradient_log_interval``).
        blocks: also by layer (``enable_block_grad_norms``).
    """

    def __init__(self, extra: dict[str, float], *, every: int, blocks: bool = False) -> None:
        self.extra = extra
        self.every = every
        self.blocks = blocks

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        optimizer: Any = None,
        **kwargs: Any,
    ) -> None:
        """Measure; one synchronisation for all numbers."""
        if state.global_step % self.every:
            return
        groups: dict[str, list[torch.Tensor]] = {}
        for group in optimizer.param_groups:
            name = f"grad_norm_{group.get('role', 'all')}"
            groups.setdefault(name, []).extend(p.grad for p in group["params"] if p.grad is not None)
        if self.blocks:
            for name, parameter in model.named_parameters():
                if parameter.grad is not None and (layer := LAYER.search(name)):
                    groups.setdefault(f"grad_norm_layer_{layer[1]}", []).append(parameter.grad)
        self.extra.update(norms(groups))


def norms(groups: Mapping[str, list[torch.Tensor]]) -> dict[str, float]:
    """Return the norm of every non-empty group of gradients."""
    filled = {name: grads for name, grads in groups.items() if grads}
    if not filled:
        return {}
    values = [torch.nn.utils.get_total_norm(grads) for grads in filled.values()]
    return dict(zip(filled, torch.stack(values).tolist(), strict=True))
