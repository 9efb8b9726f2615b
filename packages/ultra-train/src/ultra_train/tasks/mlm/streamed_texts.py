"""Texts that are tokenised while a run already trains on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import PreTrainedTokenizerBase, TrainerCallback, TrainerControl, TrainerState

from ultra_train.config.training import TrainingConfig
from ultra_train.data.cache import Notify
from ultra_train.data.sources.data_source import DataSource
from ultra_train.data.streaming.extent import text_bytes
from ultra_train.data.streaming.loader import StreamLoader
from ultra_train.data.streaming.stream import WindowStream
from ultra_train.data.token_cache.cutting import Cutting
from ultra_train.system.processes import processes
from ultra_train.tasks.mlm.options import MLMOptions


def is_streamed(training: TrainingConfig, options: MLMOptions, sources: list[DataSource]) -> bool:
    """Return whether texts are tokenised while the run trains, which depends on their size only."""
    if not training.stream_local_parquet:
        return False
    size = text_bytes(sources)
    return size is not None and size > options.stream_above_gb * 1e9


def open_stream(
    training: TrainingConfig,
    options: MLMOptions,
    sources: list[DataSource],
    tokenizer: PreTrainedTokenizerBase,
    cutting: Cutting,
    say: Notify,
) -> WindowStream:
    """Return the stream of a run, once its first window is tokenised."""
    size = (text_bytes(sources) or 0) / 1e9
    say(
        f"      about {size:,.2f} GB of text, tokenised while the run trains, in windows of "
        f"{options.stream_window_documents:,} texts; at most {options.stream_cache_gb:g} GB of these stay in "
        f"{training.cache_dir}"
    )
    return WindowStream(
        sources,
        tokenizer,
        cutting=cutting,
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


def tokenising_processes(num_workers: int) -> int:
    """Return this process's share of the ``num_workers`` processes that tokenise on its machine."""
    return -(-num_workers // processes().local_count)


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
