"""The run that classification and token classification inherit from."""

from __future__ import annotations

import shlex
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from datasets import Dataset
from torch import nn

from ultra_train.config.training import TrainingConfig
from ultra_train.data.batches.loader import BatchLoader
from ultra_train.data.labelled.checking import Problem
from ultra_train.data.labelled.reading import LabelledRows, LabelledSource, read_labelled
from ultra_train.data.pairs.reading import chosen_rows
from ultra_train.data.pairs.splitting import hold_out
from ultra_train.tasks.base import TaskRun
from ultra_train.tasks.embeddings.batches import EvaluationBatches, PairCollator
from ultra_train.tasks.embeddings.data import fingerprint
from ultra_train.tasks.embeddings.plan import PairBatch, PairPlan, PlannedRows
from ultra_train.tasks.fine_tuning.keys import fitted_keys, updates_of
from ultra_train.tasks.labelled.model import labelled_model
from ultra_train.tasks.labelled.options import LabelledKeys
from ultra_train.tasks.labelled.trainer import LabelledTrainer, Measured
from ultra_train.tasks.labelled.weights import class_weights
from ultra_train.tasks.saved_precision import convert_to_save_dtype
from ultra_train.trainer.mixin import UltraTrainerMixin

Options = TypeVar("Options", bound=LabelledKeys, covariant=True)
ROWS = "rows"
"""The name of the only data set."""
SAMPLES = 6


class LabelledRun(TaskRun[Options]):
    """A run that trains a base model with a head on labelled rows."""

    trainer_class: ClassVar[type[UltraTrainerMixin]] = LabelledTrainer
    train: Dataset
    held_out: Dataset | None
    labels: tuple[str, ...]
    model: Any
    max_length: int

    # -- what a task defines ------------------------------------------------------------------------------

    @abstractmethod
    def collator(self, *, evaluation: bool) -> Any:
        """Return what makes tensors of a list of rows."""

    @abstractmethod
    def measure(self, batches: Sequence[tuple[Any, Any]]) -> Measured:
        """Return metrics and an event from the (logits, labels) of every batch."""

    @abstractmethod
    def counts(self) -> Counter[str]:
        """Return how often each label is in the rows to train on."""

    # -- the stages of a run ------------------------------------------------------------------------------

    @property
    def problem(self) -> Problem:
        """What a label is."""
        problem: Problem = self.task.problem(self.options)  # type: ignore[attr-defined]
        return problem

    @property
    def section(self) -> str:
        """Path of the keys of the task."""
        return ".".join(self.task.path)

    def prepare(self) -> None:
        """Read the rows, find their labels, and hold some out."""
        self.tokenizer = None
        options, training = self.options, self.training
        found = self._read()
        self.labels, self.train = found.labels, found.splits["train"]
        share = training.eval_fraction
        self.held_out = found.splits.get("dev") if share else None
        if share and self.held_out is None:
            self.train, self.held_out = hold_out(self.train, share, training.seed)
        self.train = chosen_rows(self.train, options.max_train_samples, training.seed)
        if self.held_out is not None:
            self.held_out = chosen_rows(self.held_out, options.max_eval_samples, training.seed)
        labels = f", {len(self.labels)} labels" if self.labels else ""
        held_out = f", {len(self.held_out):,} held out" if self.held_out is not None else ""
        self.say(f"data: {options.dataset_name}: {len(self.train):,} rows to train on{held_out}{labels}")
        _ = self.weights

    def _read(self) -> LabelledRows:
        options = self.options
        source = LabelledSource(
            source=options.dataset_name or "",
            problem=self.problem,
            columns=options.columns,
            name=options.dataset_config,
            labels=options.labels,
            separator=getattr(options, "label_separator", "|"),
        )
        return read_labelled(
            source, cache_dir=self.training.cache_dir, notify=lambda line: self.say(f"notice: {line}")
        )

    @cached_property
    def weights(self) -> Any:
        """The weight of each label, or None."""
        asked = self.options.class_weights
        if asked is None:
            return None
        return class_weights(asked, self.labels, self.counts(), f"{self.section}.class_weights")

    def build_model(self) -> nn.Module:
        """Return the base model with the head."""
        self.model, self.tokenizer, self.max_length = labelled_model(
            self.preset, self.options, self.problem, self.labels, self.section, self.say
        )
        model: nn.Module = self.model
        return model

    def evaluation(self) -> EvaluationBatches | None:
        """Return the held-out batches."""
        if self.held_out is None:
            return None
        rows = PlannedRows(count=len(self.held_out), fingerprint="")
        plan = PairPlan([rows], batch_size=self.options.batch_size, shuffle=False)
        return EvaluationBatches(plan, self._tensors(self.held_out, evaluation=True), [ROWS])

    def loader(self) -> BatchLoader[PairBatch]:
        """Return the training batches of all processes."""
        training = self.training
        rows = PlannedRows(count=len(self.train), fingerprint=self.fingerprint)
        return BatchLoader(
            PairPlan([rows], batch_size=training.batch_size, seed=training.seed),
            self._tensors(self.train, evaluation=False),
            num_workers=training.dataloader_workers,
            pin_memory=self.device.type == "cuda",
        )

    def _tensors(self, rows: Dataset, *, evaluation: bool) -> PairCollator:
        return PairCollator({ROWS: rows}, self.collator(evaluation=evaluation), named=False)

    @cached_property
    def fingerprint(self) -> str:
        """What identifies the rows that are trained on."""
        return fingerprint(self.train)

    def steps(self, loader: Any, *, world_size: int = 1) -> int:
        """Return the updates until the first of ``max_steps`` and ``epochs``."""
        return updates_of(loader.plan, self.training, world_size=world_size)

    def fitted(self, updates: int, updates_per_epoch: float) -> TrainingConfig:
        """Return the keys with the schedule, the evaluations and the checkpoints of the section."""
        return fitted_keys(self.training, self.options, updates=updates, per_epoch=updates_per_epoch)

    def facts(self) -> Mapping[str, Any]:
        """Return the fingerprint of the rows, their labels, and what their order depends on."""
        order = f"{self.training.batch_size}:{self.training.seed}"
        return {"data": f"{self.fingerprint}:{order}", "labels": list(self.labels)}

    def trainer_options(self) -> Mapping[str, Any]:
        """Return the metrics and the weights of the labels."""
        return {"measure": self.measure, "weights": self.weights}

    def data_lines(self) -> Sequence[str]:
        """Return a line about the data."""
        labels = f", {len(self.labels)} labels" if self.labels else ""
        return [f"`{self.options.dataset_name}` ({len(self.train):,} rows{labels})"]

    def events(self) -> Iterator[Mapping[str, Any]]:
        """Yield the number of rows."""
        sizes = {"train": len(self.train), "held_out": len(self.held_out or ())}
        yield {"event": "data", "sources": {self.options.dataset_name: sizes}}

    def tip(self, path: Path) -> str | None:
        """Return a command that labels the first held-out text."""
        rows = self.held_out if self.held_out is not None and len(self.held_out) else self.train
        first = next(iter(rows[0].values()))
        text = first if isinstance(first, str) else " ".join(first)
        if "text_pair" in rows.column_names or not text.isprintable():
            return None
        return shlex.join(["ultra-train", "predict", str(path), "--text", text])

    def save(self, trainer: Any, folder: Path) -> None:
        """Write the model and its tokenizer, as transformers loads them."""
        trainer.save_model(str(folder))
        convert_to_save_dtype(folder, self.training, self.say)
