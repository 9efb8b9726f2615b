"""Runs of masked language modelling, of a new encoder or a base model."""

from __future__ import annotations

import math
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from ultra_blocks.encoder.limits import Limits
from ultra_core.errors import UltraError
from ultra_train.config.sections import TokenizerConfig
from ultra_train.data.batches.batch_plan import BatchPlan
from ultra_train.data.batches.loader import BatchLoader
from ultra_train.data.batches.masking import MLMCollator
from ultra_train.data.batches.widths import row_widths
from ultra_train.data.sources.data_source import DataSource
from ultra_train.data.sources.summary import data_event, table
from ultra_train.data.streaming.loader import StreamLoader
from ultra_train.data.streaming.plan import StreamPlan
from ultra_train.data.streaming.stream import WindowStream
from ultra_train.data.token_cache.build import prepare
from ultra_train.data.token_cache.cutting import Cutting
from ultra_train.data.token_cache.shards import TokenShards
from ultra_train.hf.precision import DTYPE_NAMES, DTYPES, Precision, convert_saved
from ultra_train.hf.vocabulary import num_token_ids
from ultra_train.system.disk_space import DiskSpace
from ultra_train.system.processes import processes
from ultra_train.system.run_files import TOKENIZER
from ultra_train.tasks.base import Sample, TaskRun
from ultra_train.tasks.mlm.base_model import Base, load_base
from ultra_train.tasks.mlm.evaluation import MLMTrainer, PlannedBatches, most_frequent_token
from ultra_train.tasks.mlm.guesses import guesses_table, sentence_with_a_blank
from ultra_train.tasks.mlm.options import MLMOptions
from ultra_train.tasks.mlm.samples import Blank, choose_blanks, guess_blanks
from ultra_train.tasks.mlm.streamed_texts import EndOfData, is_streamed, open_stream, tokenising_processes
from ultra_train.tasks.sentence_modules import write_sentence_modules
from ultra_train.tasks.texts import check_all_is_here, text_sources, tokenizer_of_run
from ultra_train.trainer.mixin import UltraTrainerMixin


class MLMRun(TaskRun[MLMOptions]):
    """A run of masked language modelling, of a new encoder or of a base model that is continued."""

    trainer_class: ClassVar[type[UltraTrainerMixin]] = MLMTrainer
    tokenizer: PreTrainedTokenizerBase
    train: TokenShards
    held_out: TokenShards
    stream: WindowStream | None = None
    """The windows of texts that are tokenised while the run trains; ``train`` is then the first of them."""

    def prepare(self) -> None:
        """Load or train the tokenizer; tokenise the texts once into memory-mapped shards."""
        training, options = self.preset.training, self.options
        check_all_is_here(self.preset, self.say)
        self.tokenizer = self._tokenizer()
        self._check_vocabulary()
        if self.preset.model is None:
            _ = self.base  # before the texts are tokenised: what is wrong with it is said at once
        self.say(f"data: {', '.join(s.source for s in self.sources)}")
        if is_streamed(training, options, self.sources):
            self.stream = open_stream(training, options, self.sources, self.tokenizer, self.cutting, self.say)
            self.train, self.held_out = self.stream.first, self.stream.held_out
            return
        self.train, self.held_out = prepare(
            self.sources,
            self.tokenizer,
            cutting=self.cutting,
            cache_dir=training.cache_dir,
            eval_fraction=training.eval_fraction,
            seed=training.seed,
            num_workers=tokenising_processes(options.num_workers),
            documents_per_chunk=options.dataset_batch_size,
            on_bad_rows=options.on_bad_rows,
            processes=processes().count,
            disk=DiskSpace(self.say),
            notify=self.say,
            say=self.say,
        )
        for line in table(self.train.counts):
            self.say(f"      {line}")
        self.say(
            f"      {len(self.train):,} documents with {self.train.num_tokens:,} tokens to train on, "
            f"{len(self.held_out):,} held out"
        )

    @property
    def cutting(self) -> Cutting:
        """How texts become documents."""
        options = self.options
        return Cutting(
            max_length=options.max_length,
            overlap=options.overlap_tokens,
            join_length=options.join_temp_data_context_window,
            join_shortest=options.join_temp_data_min_remainder_tokens,
        )

    @property
    def sources(self) -> list[DataSource]:
        """Where the texts come from."""
        return text_sources(self.preset)

    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return tokenizer_of_run(self)

    def _check_vocabulary(self) -> None:
        tokenizer, named = self.tokenizer, (self.preset.tokenizer or TokenizerConfig()).name_or_path
        if tokenizer.mask_token_id is None or tokenizer.pad_token_id is None:
            raise UltraError(
                f"the tokenizer {named or ''} has no mask token or no padding token, which masked language "
                "modelling needs; use one that has both"
            )
        if len(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids)) < 2:
            raise UltraError(
                f"the tokenizer {named or ''} knows no tokens but special ones; are its files there "
                "(tokenizer.json, or those of a slow tokenizer)?"
            )
        model, needed = self.preset.model, num_token_ids(self.tokenizer)
        if model is not None and needed > model.vocab_size:
            raise UltraError(
                f"the tokenizer has {needed:,} tokens, but model.vocab_size is {model.vocab_size:,}; set "
                f"model.vocab_size to {needed} or more"
            )

    def build_model(self) -> PreTrainedModel:
        """Return a fresh ``UltraForMaskedLM``, or the base model with its weights.

        Raises:
            UltraError: the base model cannot be loaded, or cannot read rows as long as they will be.
        """
        if self.preset.model is None:
            return self.base.model
        from ultra_blocks.hf import UltraForMaskedLM, UltraHFConfig

        pad = self.tokenizer.pad_token_id
        fresh = UltraForMaskedLM(UltraHFConfig.from_ultra(self.preset.model, pad_token_id=pad))
        for parameter in fresh.parameters():  # buffers stay as precise as they were made
            parameter.data = parameter.data.to(DTYPES[self.preset.training.weights_dtype])
        return fresh

    @cached_property
    def base(self) -> Base:
        """The model that the run continues, loaded once; missing weights are initialised from the seed."""
        name, training = self.preset.base_model or "", self.preset.training
        trust = self.preset.tokenizer is not None and self.preset.tokenizer.trust_remote_code
        set_seed(training.seed)
        base = load_base(
            name,
            dtype=DTYPES[training.weights_dtype],
            tokens=num_token_ids(self.tokenizer),
            trust_remote_code=trust,
        )
        kind = type(base.model).__name__
        if self.batching == "packed" and "document_ids" not in signature(base.model.forward).parameters:
            raise UltraError(
                f"training.batching packed puts several documents into a row, but base_model {name!r} "
                f"({kind}) would read them as one; use length"
            )
        if training.activation_checkpointing and not base.model.supports_gradient_checkpointing:
            raise UltraError(
                f"training.activation_checkpointing: base_model {name!r} ({kind}) cannot compute its "
                "activations again in the backward pass; leave it out"
            )
        for line in base.check(self.tokenizer, self.options.max_length):
            self.say(f"notice: base_model {name} {line}")
        return base

    @property
    def save_dtype(self) -> Precision:
        """The precision in which the finished model is saved."""
        training = self.preset.training
        of_base = DTYPE_NAMES.get(self.base.dtype) if self.preset.model is None else None
        return training.save_dtype or of_base or training.weights_dtype

    def _plan(self, shards: TokenShards, *, shuffle: bool = True) -> BatchPlan:
        training = self.preset.training
        return BatchPlan(
            shards,
            batch_size=training.batch_size,
            max_length=self.options.max_length,
            seed=training.seed,
            mode=self.batching,
            shuffle=shuffle,
        )

    @property
    def batching(self) -> Literal["length", "packed"]:
        """How documents are put into rows: packed on a GPU, where kernels separate them, else by length.

        By length, too, where a block does not keep packed documents apart.
        """
        if self.options.batching is not None:
            return self.options.batching
        if self.device.type != "cuda" or self.preset.model is None:
            return "length"
        return "packed" if Limits.of(self.preset.model).unpacked is None else "length"

    def _collator(
        self, shards: TokenShards, *, mask_rate: float, random_rate: float, widths: Sequence[int] = ()
    ) -> MLMCollator:
        return MLMCollator(
            shards,
            self.tokenizer,
            mlm_probability=self.options.mlm_probability,
            seed=self.preset.training.seed,
            policy=self.options.mask_policy.policy,
            mask_rate=mask_rate,
            random_rate=random_rate,
            max_length=self.options.max_length,
            widths=widths,
        )

    @property
    def widths(self) -> tuple[int, ...]:
        """Lengths of rows for a model that is compiled; empty if rows are as long as their batch needs."""
        if not self.preset.training.compile or self.batching == "packed":
            return ()
        return row_widths(np.asarray(self.train.lengths), self.options.max_length)

    def loader(self) -> BatchLoader | StreamLoader:
        """Return the training batches of all processes."""
        training, policy = self.preset.training, self.options.mask_policy
        collator = self._collator(
            self.train, mask_rate=policy.mask_rate, random_rate=policy.random_rate, widths=self.widths
        )
        if self.stream is not None:
            return self._stream_loader(self.stream, collator)
        return BatchLoader(
            self._plan(self.train),
            collator,
            num_workers=training.dataloader_workers,
            pin_memory=self.device.type == "cuda",
        )

    def _stream_loader(self, stream: WindowStream, collator: MLMCollator) -> StreamLoader:
        training = self.preset.training
        plan = StreamPlan(
            stream.folder,
            stream.split,
            batch_size=training.batch_size,
            max_length=self.options.max_length,
            seed=training.seed,
            mode=self.batching,
        )
        self._streaming = StreamLoader(
            stream,
            plan,
            collator,
            num_workers=training.dataloader_workers,
            pin_memory=self.device.type == "cuda",
        )
        return self._streaming

    def evaluation(self) -> PlannedBatches | None:
        """Return the held-out batches with their fixed masks."""
        if not len(self.held_out):
            return None
        collator = self._collator(self.held_out, mask_rate=1.0, random_rate=0.0)
        return PlannedBatches(self._plan(self.held_out, shuffle=False), collator)

    def steps(self, loader: Any, *, world_size: int = 1) -> int:
        """Return the updates until the first of ``max_steps``, ``num_epochs`` and ``max_samples``.

        Of a stream, nobody knows how many updates an epoch has; ``EndOfData`` ends such a run.
        """
        training, plan = self.preset.training, loader.plan
        if self.stream is not None:
            return training.max_steps or training.scheduler_total_steps
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

    def caches(self) -> Sequence[Path]:
        """Return the folder of the tokenised texts."""
        return (self.train.directory if self.stream is None else self.stream.folder.directory,)

    def facts(self) -> Mapping[str, Any]:
        """Return the fingerprint of the data and what its order depends on."""
        training = self.preset.training
        order = f"{self.batching}:{training.batch_size}:{self.options.max_length}:{training.seed}"
        data = self.train if self.stream is None else self.stream
        return {"data": f"{data.fingerprint}:{order}"}

    def events(self) -> Iterator[Mapping[str, Any]]:
        """Yield the counts of each source."""
        yield data_event(self.train.counts if self.stream is None else self.stream.folder.counts())

    def trainer_options(self) -> Mapping[str, Any]:
        """Return the token that the unigram baseline always guesses, and what ends the run of a stream."""
        end = [EndOfData(lambda: self._streaming, self.preset.training)] if self.stream is not None else []
        return {"frequent_token": most_frequent_token(self.train, self.tokenizer), "callbacks": end}

    def samples(self, trainer: Any) -> Iterator[Sample]:
        """Yield the guesses for one token of a few held-out texts."""
        yield from guess_blanks(trainer, self.tokenizer, self._blanks)

    @cached_property
    def _blanks(self) -> list[Blank]:
        return choose_blanks(self.held_out, self.tokenizer)

    def save(self, trainer: Any, folder: Path) -> None:
        """Write the model, its tokenizer, and the files that sentence-transformers reads."""
        trainer.save_model(str(folder))
        self._convert(folder)
        if (model := self.folder / TOKENIZER / "sentencepiece.model").is_file():
            shutil.copy(model, folder)
        if isinstance(width := getattr(trainer.model.config, "hidden_size", None), int):
            write_sentence_modules(folder, width=width, max_length=self.options.max_length)
        else:
            self.say("notice: the config does not say how wide states are; sentence-transformers needs it")

    def _convert(self, folder: Path) -> None:
        """Convert the saved weights to ``save_dtype``."""
        held, wanted = self.preset.training.weights_dtype, self.save_dtype
        if wanted == held:
            return
        if (name := convert_saved(folder, wanted)) is not None:
            self.say(f"notice: the model is saved in {held}, since {name} is too large for {wanted}")
        else:
            self.say(f"The model is saved in {wanted} (training.save_dtype); its checkpoints are in {held}.")

    def closing_words(self, trainer: Any, metrics: Mapping[str, float]) -> Iterator[Any]:
        """Yield the accuracy on held-out texts, and a table of predictions."""
        if self.stream is not None:
            yield "Texts that were tokenised:"
            yield from table(self.stream.folder.counts())
        if "eval_accuracy" in metrics:
            accuracy, baseline = metrics["eval_accuracy"], metrics["eval_unigram_accuracy"]
            yield (
                f"Held-out texts: {accuracy:.1%} of the masked tokens are guessed right; always guessing the "
                f"commonest token gets {baseline:.1%} right{_compared_with_baseline(accuracy, baseline)}."
            )
        if any("ultra:es-commands" in source.source for source in self.sources):
            yield guesses_table(trainer.model, self.tokenizer)

    def tip(self, path: Path) -> str | None:
        """Return a command that fills a blank in a sentence of the run's own texts."""
        shards = self.held_out if len(self.held_out) else self.train
        sentence = sentence_with_a_blank(shards, self.tokenizer)
        if sentence is None:
            return None
        remote = self.preset.tokenizer is not None and self.preset.tokenizer.trust_remote_code
        trust = ["--trust-remote-code"] if remote else []
        return shlex.join(["ultra-train", "fill-mask", *trust, str(path), sentence])


def _compared_with_baseline(accuracy: float, baseline: float) -> str:
    """Return a phrase that compares the accuracy with that of the most frequent token."""
    if accuracy < baseline:
        return "; the model is worse than that, it has learned nothing of use yet"
    if accuracy < 1.1 * baseline or accuracy == 0:
        return "; the model is no better than that yet"
    return f", the model {accuracy / baseline:.1f} times as many" if baseline > 0 else ""
