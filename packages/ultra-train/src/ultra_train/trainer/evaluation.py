"""Evaluation over all processes, by what a task measures instead of transformers' own loop."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from transformers.trainer_utils import EvalLoopOutput

from ultra_train.trainer.mixin import UltraTrainerMixin


class EvaluationMixin(UltraTrainerMixin):
    """What a trainer adds that measures held-out batches itself; it stands before the one of transformers."""

    @abstractmethod
    def held_out_metrics(self, batches: Any) -> tuple[dict[str, float], int]:
        """Return the metrics by name, and the number of items that they are means over.

        The model is in evaluation mode, and no gradients are recorded.

        Args:
            batches: the held-out batches, of all processes.
        """

    @torch.no_grad()
    def evaluation_loop(
        self: Any,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Return the metrics under transformers' names; the outputs of a whole evaluation would not fit."""
        self.model.eval()
        values, count = self.held_out_metrics(dataloader)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in values.items()}
        return EvalLoopOutput(np.empty(0), label_ids=None, metrics=metrics, num_samples=count)
