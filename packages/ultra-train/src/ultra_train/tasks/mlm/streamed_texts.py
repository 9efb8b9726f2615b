"""Texts that are tokenised while a run already trains on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, TrainerCallback, TrainerControl, TrainerState

from ultra_train.config.training import TrainingConfig
from ultra_train.data.batches.masking import MLMCollator
from ultra_train.data.sources.data_source import DataSource
from ultra_train.data.sources.row_checker import SourceCounts
from ultra_train.data.streaming.extent import text_bytes
from ultra_train.data.streaming.loader import StreamLoader
from ultra_train.data.streaming.plan import StreamPlan
from ultra_train.data.streaming.stream import WindowStream
from ultra_train.data.token_cache.shards import TokenShards
from ultra_train.system.processes import processes
from ultra_train.tasks.base import Say
from ultra_train.tasks.mlm.documents import Documents, cutting, tokenising_processes
from ultra_train.tasks.mlm.options import MLMOptions


def is_streamed(training: TrainingConfig, options: MLMOptions, sources: list[DataSource]) -> bool:
    """Return whether texts are tokenised while the run trains, which depends on their size only."""
    if not training.stream_local_parquet:
        return False
    size = text_bytes(sources)
    return size is not None and size > options.stream_above_gb * 1e9


class StreamedDocuments(Documents):
    """Documents in windows; the first window is tokenised before training, the others while it goes on."""

    def _tokenise(
        self, sources: Sequence[DataSource], tokenizer: PreTrainedTokenizerBase, say: Say
    ) -> tuple[TokenShards, TokenShards]:
        training, options = self.training, self.options
        size = (text_bytes(list(sources)) or 0) / 1e9
        say(
            f"      about {size:,.2f} GB of text, tokenised while the run trains, in windows of "
            f"{options.stream_window_documents:,} texts; at most {options.stream_cache_gb:g} GB of these "
            f"stay in {training.cache_dir}"
        )
        self.stream = WindowStream(
            sources,
            tokenizer,
            cutting=cutting(options),
            cache_dir=training.cache_dir,
            window=options.stream_window_documents,
            eval_fraction=training.eval_fraction,
            seed=training.seed,
            num_workers=tokenising_processes(options.num_workers),
            budget=int(options.stream_cache_gb * 1e9),
            on_bad_rows=options.on_bad_rows,
            processes=processes().count,
            say=say,
        )
        return self.stream.first, self.stream.held_out

    @property
    def fingerprint(self) -> str:
        """Identifies the documents and their order."""
        return self.stream.fingerprint

    @property
    def folder(self) -> Path:
        """The folder of the windows."""
        return self.stream.folder.directory

    def counts(self) -> Sequence[SourceCounts]:
        """Return the counts of each source in the windows so far."""
        return self.stream.folder.counts()

    def loader(self, collator: MLMCollator, *, pin_memory: bool, **order: Any) -> StreamLoader:
        """Return the training batches of all processes; see ``Documents.loader``."""
        plan = StreamPlan(self.stream.folder, self.stream.split, **order)
        workers = self.training.dataloader_workers
        self._loader = StreamLoader(self.stream, plan, collator, num_workers=workers, pin_memory=pin_memory)
        return self._loader

    def updates(self, loader: Any, *, world_size: int) -> int:
        """Return ``max_steps``: nobody knows how many updates an epoch has; ``EndOfData`` ends such a run."""
        return self.training.max_steps or self.training.scheduler_total_steps

    def callbacks(self) -> list[TrainerCallback]:
        """Return what ends the run after ``num_epochs`` or ``max_samples``."""
        return [EndOfData(lambda: self._loader, self.training)]


class EndOfData(TrainerCallback):
    """Ends a run after ``num_epochs`` or ``max_samples``, since nobody knows how many updates that takes.

    Args:
        loader: returns the loader of the run.
        training: the limits.
    """

    def __init__(self, loader: Callable[[], StreamLoader], training: TrainingConfig) -> None:
        self._loader, self._training = loader, training

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop after the update that reaches a limit, with a checkpoint and an evaluation."""
        loader, epochs = self._loader(), self._training.num_epochs
        at_end = epochs is not None and loader.epoch >= epochs
        if at_end or loader.texts >= self._training.max_samples:
            control.should_training_stop = control.should_save = True
            control.should_evaluate = self._training.eval_fraction > 0
