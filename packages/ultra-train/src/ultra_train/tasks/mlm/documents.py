"""The tokenised documents of a run: all of them on disk, or those of a stream."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, TrainerCallback

from ultra_train.config.training import TrainingConfig
from ultra_train.data.batches.batch_plan import BatchPlan
from ultra_train.data.batches.loader import BatchLoader
from ultra_train.data.batches.masking import MLMCollator
from ultra_train.data.sources.data_source import DataSource
from ultra_train.data.sources.row_checker import SourceCounts
from ultra_train.data.sources.summary import table
from ultra_train.data.streaming.loader import StreamLoader
from ultra_train.data.token_cache.build import prepare
from ultra_train.data.token_cache.cutting import Cutting
from ultra_train.data.token_cache.shards import TokenShards
from ultra_train.system.disk_space import DiskSpace
from ultra_train.system.processes import processes
from ultra_train.tasks.base import Say
from ultra_train.tasks.mlm.options import MLMOptions


def cutting(options: MLMOptions) -> Cutting:
    """Return how texts become documents."""
    return Cutting(
        max_length=options.max_length,
        overlap=options.overlap_tokens,
        join_length=options.join_temp_data_context_window,
        join_shortest=options.join_temp_data_min_remainder_tokens,
    )


def tokenising_processes(num_workers: int) -> int:
    """Return this process's share of the ``num_workers`` processes that tokenise on its machine."""
    return -(-num_workers // processes().local_count)


class Documents(ABC):
    """The documents that a run trains on, and those that it holds out.

    Args:
        training: keys of the preset.
        options: those of the task.
        sources: where the texts come from.
        tokenizer: the tokenizer.
        say: prints a line.

    Attributes:
        train: documents to train on; those of a stream that are there from the beginning.
        held_out: documents for evaluation.
    """

    def __init__(
        self,
        training: TrainingConfig,
        options: MLMOptions,
        sources: Sequence[DataSource],
        tokenizer: PreTrainedTokenizerBase,
        say: Say,
    ) -> None:
        self.training = training
        self.options = options
        self.train, self.held_out = self._tokenise(sources, tokenizer, say)

    @abstractmethod
    def _tokenise(
        self, sources: Sequence[DataSource], tokenizer: PreTrainedTokenizerBase, say: Say
    ) -> tuple[TokenShards, TokenShards]:
        """Tokenise the texts, say what they are, and return the documents to train on and those held out."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies the documents and their order."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """The folder of the cache that holds them."""

    @abstractmethod
    def counts(self) -> Sequence[SourceCounts]:
        """Return the counts of each source so far."""

    @abstractmethod
    def loader(self, collator: MLMCollator, *, pin_memory: bool, **order: Any) -> BatchLoader | StreamLoader:
        """Return the training batches of all processes.

        Args:
            collator: makes a batch of documents.
            pin_memory: whether batches are made in memory that a GPU reads faster.
            order: arguments of the plan: size, length and order of the batches.
        """

    @abstractmethod
    def updates(self, loader: Any, *, world_size: int) -> int:
        """Return the updates until the first of ``max_steps``, ``num_epochs`` and ``max_samples``."""

    def callbacks(self) -> list[TrainerCallback]:
        """Return the callbacks that end a run where the number of updates is not known beforehand."""
        return []


class CachedDocuments(Documents):
    """Documents that are tokenised once, before training, into memory-mapped shards."""

    def _tokenise(
        self, sources: Sequence[DataSource], tokenizer: PreTrainedTokenizerBase, say: Say
    ) -> tuple[TokenShards, TokenShards]:
        training, options = self.training, self.options
        train, held_out = prepare(
            sources,
            tokenizer,
            cutting=cutting(options),
            cache_dir=training.cache_dir,
            eval_fraction=training.eval_fraction,
            seed=training.seed,
            num_workers=tokenising_processes(options.num_workers),
            documents_per_chunk=options.dataset_batch_size,
            on_bad_rows=options.on_bad_rows,
            processes=processes().count,
            disk=DiskSpace(say),
            notify=say,
            say=say,
        )
        for line in table(train.counts):
            say(f"      {line}")
        say(
            f"      {len(train):,} documents with {train.num_tokens:,} tokens to train on, "
            f"{len(held_out):,} held out"
        )
        return train, held_out

    @property
    def fingerprint(self) -> str:
        """Identifies the documents and their order."""
        return self.train.fingerprint

    @property
    def folder(self) -> Path:
        """The folder of the cache that holds them."""
        return self.train.directory

    def counts(self) -> Sequence[SourceCounts]:
        """Return the counts of each source."""
        return self.train.counts

    def loader(self, collator: MLMCollator, *, pin_memory: bool, **order: Any) -> BatchLoader:
        """Return the training batches of all processes; see ``Documents.loader``."""
        plan = BatchPlan(self.train, **order)
        workers = self.training.dataloader_workers
        return BatchLoader(plan, collator, num_workers=workers, pin_memory=pin_memory)

    def updates(self, loader: Any, *, world_size: int) -> int:
        """Return the updates until the first of ``max_steps``, ``num_epochs`` and ``max_samples``."""
        training, plan = self.training, loader.plan
        window = training.gradient_accumulation_steps * world_size
        steps = training.max_steps or training.scheduler_total_steps
        if training.num_epochs is not None:
            micro_batches = sum(plan.batches(epoch) for epoch in range(training.num_epochs))
            steps = min(steps, math.ceil(micro_batches / window))
        seen = 0
        for epoch in range(training.num_epochs or training.max_samples):
            batches = plan.batches(epoch)
            done = sum(plan.batches(e) for e in range(epoch)) if training.num_epochs else epoch * batches
            if done >= steps * window:
                break
            documents_here = len(self.train) if self.train.weights is None else int(self.train.weights.sum())
            if seen + documents_here < training.max_samples:
                seen += documents_here
                continue
            for index in range(batches):
                seen += len(plan.batch(epoch, index).draws)
                if seen >= training.max_samples:
                    return max(1, min(steps, math.ceil((done + index + 1) / window)))
        return steps
