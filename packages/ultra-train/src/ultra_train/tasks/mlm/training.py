"""Runs of masked language modelling, of a new encoder or a base model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ultra_train.data.batches.loader import BatchLoader
from ultra_train.data.sources.summary import data_event, table
from ultra_train.data.streaming.loader import StreamLoader
from ultra_train.data.token_cache.shards import TokenShards
from ultra_train.system.run_files import TOKENIZER
from ultra_train.tasks.base import Sample, TaskRun
from ultra_train.tasks.base_model import Base
from ultra_train.tasks.mlm.batches import MLMBatches
from ultra_train.tasks.mlm.batching import Batching, pick_batching
from ultra_train.tasks.mlm.closing import accuracy_line, fill_mask_command
from ultra_train.tasks.mlm.documents import CachedDocuments, Documents
from ultra_train.tasks.mlm.evaluation import MLMTrainer, PlannedBatches, most_frequent_token
from ultra_train.tasks.mlm.guesses import guesses_table
from ultra_train.tasks.mlm.models import check_vocabulary, continued_model, new_model
from ultra_train.tasks.mlm.options import MLMOptions
from ultra_train.tasks.mlm.samples import Blank, choose_blanks, guess_blanks
from ultra_train.tasks.mlm.streamed_texts import StreamedDocuments, is_streamed
from ultra_train.tasks.saved_precision import convert_to_save_dtype
from ultra_train.tasks.sentence_modules import write_sentence_modules
from ultra_train.tasks.texts import check_all_is_here, text_sources, tokenizer_of_run
from ultra_train.trainer.mixin import UltraTrainerMixin


class MLMRun(TaskRun[MLMOptions]):
    """A run of masked language modelling, of a new encoder or of a base model that is continued."""

    trainer_class: ClassVar[type[UltraTrainerMixin]] = MLMTrainer
    tokenizer: PreTrainedTokenizerBase
    documents: Documents

    def prepare(self) -> None:
        """Load or train the tokenizer; tokenise the texts, all of them or the first window of a stream."""
        preset, training, options = self.preset, self.preset.training, self.options
        check_all_is_here(preset, self.say)
        self.tokenizer = tokenizer_of_run(self)
        check_vocabulary(preset, self.tokenizer)
        if preset.model is None:
            _ = self.base  # before the texts are tokenised: what is wrong with it is said at once
        sources = text_sources(preset)
        self.say(f"data: {', '.join(s.source for s in sources)}")
        kind = StreamedDocuments if is_streamed(training, options, sources) else CachedDocuments
        self.documents = kind(training, options, sources, self.tokenizer, self.say)

    @property
    def train(self) -> TokenShards:
        """The documents to train on; those of a stream that are there from the beginning."""
        return self.documents.train

    @property
    def held_out(self) -> TokenShards:
        """The documents for evaluation."""
        return self.documents.held_out

    def build_model(self) -> PreTrainedModel:
        """Return a fresh ``UltraForMaskedLM``, or the base model with its weights.

        Raises:
            UltraError: the base model cannot be loaded, or cannot read rows as long as they will be.
        """
        if self.preset.model is None:
            return self.base.model
        return new_model(self.preset.model, self.tokenizer, self.preset.training.weights_dtype)

    @cached_property
    def base(self) -> Base:
        """The model that the run continues, loaded once."""
        return continued_model(
            self.preset,
            self.tokenizer,
            packed=self.batching == "packed",
            max_length=self.options.max_length,
            say=self.say,
        )

    @property
    def batching(self) -> Batching:
        """How documents are put into rows."""
        return pick_batching(self.preset, self.options, self.device.type)

    @property
    def batches(self) -> MLMBatches:
        """How documents become batches."""
        return MLMBatches(self.preset, self.options, self.batching, self.device)

    def loader(self) -> BatchLoader | StreamLoader:
        """Return the training batches of all processes."""
        return self.batches.training(self.documents, self.tokenizer)

    def evaluation(self) -> PlannedBatches | None:
        """Return the held-out batches with their fixed masks."""
        return self.batches.evaluation(self.held_out, self.tokenizer)

    def steps(self, loader: Any, *, world_size: int = 1) -> int:
        """Return the updates until the first of ``max_steps``, ``num_epochs`` and ``max_samples``."""
        return self.documents.updates(loader, world_size=world_size)

    def caches(self) -> Sequence[Path]:
        """Return the folder of the tokenised texts."""
        return (self.documents.folder,)

    def facts(self) -> Mapping[str, Any]:
        """Return the fingerprint of the data and what its order depends on."""
        training = self.preset.training
        order = f"{self.batching}:{training.batch_size}:{self.options.max_length}:{training.seed}"
        return {"data": f"{self.documents.fingerprint}:{order}"}

    def events(self) -> Iterator[Mapping[str, Any]]:
        """Yield the counts of each source."""
        yield data_event(self.documents.counts())

    def trainer_options(self) -> Mapping[str, Any]:
        """Return the token that the unigram baseline always guesses, and what ends the run of a stream."""
        return {
            "frequent_token": most_frequent_token(self.train, self.tokenizer),
            "callbacks": self.documents.callbacks(),
        }

    def samples(self, trainer: Any) -> Iterator[Sample]:
        """Yield the guesses for one token of a few held-out texts."""
        yield from guess_blanks(trainer, self.tokenizer, self._blanks)

    @cached_property
    def _blanks(self) -> list[Blank]:
        return choose_blanks(self.held_out, self.tokenizer)

    def save(self, trainer: Any, folder: Path) -> None:
        """Write the model, its tokenizer, and the files that sentence-transformers reads."""
        trainer.save_model(str(folder))
        base = self.base.dtype if self.preset.model is None else None
        convert_to_save_dtype(folder, self.preset.training, self.say, base=base)
        if (model := self.folder / TOKENIZER / "sentencepiece.model").is_file():
            shutil.copy(model, folder)
        if isinstance(width := getattr(trainer.model.config, "hidden_size", None), int):
            write_sentence_modules(folder, width=width, max_length=self.options.max_length)
        else:
            self.say("notice: the config does not say how wide states are; sentence-transformers needs it")

    def closing_words(self, trainer: Any, metrics: Mapping[str, float]) -> Iterator[Any]:
        """Yield the accuracy on held-out texts, and a table of predictions."""
        if isinstance(self.documents, StreamedDocuments):
            yield "Texts that were tokenised:"
            yield from table(self.documents.counts())
        yield from accuracy_line(metrics)
        if any("ultra:es-commands" in source.source for source in text_sources(self.preset)):
            yield guesses_table(trainer.model, self.tokenizer)

    def tip(self, path: Path) -> str | None:
        """Return a command that fills a blank in a sentence of the run's own texts."""
        return fill_mask_command(path, self.preset, self.documents, self.tokenizer)
