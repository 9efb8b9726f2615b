"""How documents become the batches that a run trains on and evaluates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from ultra_train.config.preset import Preset
from ultra_train.data.batches.batch_plan import BatchPlan
from ultra_train.data.batches.loader import BatchLoader
from ultra_train.data.batches.masking import MLMCollator
from ultra_train.data.batches.widths import row_widths
from ultra_train.data.streaming.loader import StreamLoader
from ultra_train.data.token_cache.shards import TokenShards
from ultra_train.tasks.mlm.batching import Batching
from ultra_train.tasks.mlm.documents import Documents
from ultra_train.tasks.mlm.evaluation import PlannedBatches
from ultra_train.tasks.mlm.options import MLMOptions


@attrs.frozen
class MLMBatches:
    """The batches of a run.

    Attributes:
        preset: the preset.
        options: its options of the task.
        batching: how documents are put into rows.
        device: where the run trains.
    """

    preset: Preset
    options: MLMOptions
    batching: Batching
    device: torch.device

    @property
    def order(self) -> dict[str, Any]:
        """What the size, the length and the order of the batches depend on."""
        return {
            "batch_size": self.preset.training.batch_size,
            "max_length": self.options.max_length,
            "seed": self.preset.training.seed,
            "mode": self.batching,
        }

    def training(
        self, documents: Documents, tokenizer: PreTrainedTokenizerBase
    ) -> BatchLoader | StreamLoader:
        """Return the training batches of all processes, whose tokens are masked anew in every epoch."""
        policy = self.options.mask_policy
        collator = self._collator(
            documents.train,
            tokenizer,
            mask_rate=policy.mask_rate,
            random_rate=policy.random_rate,
            widths=self._widths(documents.train),
        )
        return documents.loader(collator, pin_memory=self.device.type == "cuda", **self.order)

    def evaluation(self, shards: TokenShards, tokenizer: PreTrainedTokenizerBase) -> PlannedBatches | None:
        """Return the held-out batches with their fixed masks; None when nothing is held out."""
        if not len(shards):
            return None
        collator = self._collator(shards, tokenizer, mask_rate=1.0, random_rate=0.0)
        return PlannedBatches(BatchPlan(shards, shuffle=False, **self.order), collator)

    def _widths(self, shards: TokenShards) -> Sequence[int]:
        """Return the lengths of rows for a model that is compiled; none if rows are as long as needed."""
        if not self.preset.training.compile or self.batching == "packed":
            return ()
        return row_widths(np.asarray(shards.lengths), self.options.max_length)

    def _collator(
        self,
        shards: TokenShards,
        tokenizer: PreTrainedTokenizerBase,
        *,
        mask_rate: float,
        random_rate: float,
        widths: Sequence[int] = (),
    ) -> MLMCollator:
        return MLMCollator(
            shards,
            tokenizer,
            mlm_probability=self.options.mlm_probability,
            seed=self.preset.training.seed,
            policy=self.options.mask_policy.policy,
            mask_rate=mask_rate,
            random_rate=random_rate,
            max_length=self.options.max_length,
            widths=widths,
        )
