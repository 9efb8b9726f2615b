"""The run that the tasks on embeddings inherit from."""

from __future__ import annotations

import math
import shlex
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from torch import nn

from ultra_train.data.batches.loader import BatchLoader
from ultra_train.tasks.base import Sample, TaskRun
from ultra_train.tasks.embeddings.batches import EvaluationBatches, PairCollator
from ultra_train.tasks.embeddings.closing import metric_lines
from ultra_train.tasks.embeddings.data import PairData, PairSet
from ultra_train.tasks.embeddings.evaluators import Evaluator
from ultra_train.tasks.embeddings.plan import PairBatch
from ultra_train.tasks.embeddings.samples import samples_of
from ultra_train.tasks.embeddings.trainers import DenseTrainer, EmbeddingTrainerMixin
from ultra_train.tasks.fine_tuning.keys import updates_of
from ultra_train.tasks.saved_precision import convert_to_save_dtype

if TYPE_CHECKING:
    from pathlib import Path

Options = TypeVar("Options", covariant=True)

SHORT = 60
"""Characters of the longest text in a command that is printed."""


class EmbeddingRun(TaskRun[Options]):
    """A run that trains a ``SentenceTransformer`` or a ``SparseEncoder``.

    A task says what its encoder is, what its data sets are and what their losses are.
    """

    trainer_class: ClassVar[type[EmbeddingTrainerMixin]] = DenseTrainer
    largest_gradient_norm: ClassVar[float] = math.inf
    """Losses that compare scaled similarities have gradients of any size, which clipping deals with."""
    data: PairData
    model: Any

    # -- what a task defines ------------------------------------------------------------------------------

    @abstractmethod
    def encoder(self) -> Any:
        """Return the encoder to train, on the CPU, in the precision of its weights."""

    @abstractmethod
    def pairs(self) -> PairData:
        """Return the data sets, read and checked before any model is loaded."""

    @abstractmethod
    def losses(self, model: Any) -> Mapping[str, nn.Module]:
        """Return the loss of each data set; data sets may share one.

        Args:
            model: the encoder.
        """

    def evaluators(self) -> Sequence[Evaluator]:
        """Return what measures the model at every evaluation beside the loss."""
        return ()

    def prompts(self, pairs: PairSet) -> Mapping[str, str]:
        """Return what is put before the texts of the columns of a data set."""
        return {}

    def routes(self, pairs: PairSet) -> Mapping[str, str]:
        """Return the route of each column of a data set, for a model with a ``Router``."""
        return {}

    # -- the stages of a run ------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Read the data sets."""
        self.tokenizer = None
        self.data = self.pairs()
        for one in self.data:
            held_out = f", {len(one.held_out):,} held out" if one.held_out is not None else ""
            self.say(f"data: {one.source} ({one.kind}): {len(one.train):,} rows to train on{held_out}")

    def build_model(self) -> nn.Module:
        """Return the encoder."""
        self.model = self.encoder()
        self.tokenizer = self.model.tokenizer
        model: nn.Module = self.model
        return model

    def evaluation(self) -> EvaluationBatches | None:
        """Return the held-out batches of all data sets."""
        plan = self.data.evaluation_plan()
        if plan is None:
            return None
        rows = {one.name: one.held_out for one in self.data.held_out if one.held_out is not None}
        return EvaluationBatches(plan, PairCollator(rows, self.collate, named=self._several), list(rows))

    def loader(self) -> BatchLoader[PairBatch]:
        """Return the training batches of all processes."""
        rows = {one.name: one.train for one in self.data}
        return BatchLoader(
            self.data.training_plan(),
            PairCollator(rows, self.collate, named=self._several),
            **self.loading(),
        )

    def loading(self) -> dict[str, Any]:
        """Return how batches are loaded: arguments of ``BatchLoader``."""
        return {
            "num_workers": self.training.dataloader_workers,
            "pin_memory": self.device.type == "cuda",
        }

    def steps(self, loader: Any, *, world_size: int = 1) -> int:
        """Return the updates until the first of ``max_steps`` and ``num_epochs``."""
        return updates_of(loader.plan, self.training, world_size=world_size)

    def facts(self) -> Mapping[str, Any]:
        """Return the fingerprints of the data sets and what the order of their rows depends on."""
        data = self.data
        order = f"{data.strategy}:{data.batch_size}:{data.seed}"
        return {"data": f"{data.fingerprint}:{order}"}

    def arguments(self) -> Mapping[str, Any]:
        """Return the prompts and the routes of the columns, for the trainer's own collator."""
        return {
            "prompts": self._by_set(self.prompts),
            "router_mapping": self._by_set(self.routes),
            "dataloader_drop_last": True,  # without effect, but the library would warn of it
        }

    def trainer_options(self) -> Mapping[str, Any]:
        """Return the losses and the evaluators."""
        losses = self.losses(self.model)
        single = len(set(map(id, losses.values()))) == 1
        loss = next(iter(losses.values())) if single else losses
        return {"loss": loss, "evaluators": self.evaluators()}

    def data_lines(self) -> Sequence[str]:
        """Return a line about every data set."""
        return [f"`{one.source}` ({one.kind}, {len(one.train):,} rows)" for one in self.data]

    def events(self) -> Iterator[Mapping[str, Any]]:
        """Yield the number of rows of every data set."""
        yield {
            "event": "data",
            "sources": {
                one.name: {"train": len(one.train), "held_out": len(one.held_out or ())} for one in self.data
            },
        }

    def samples(self, trainer: Any) -> Iterator[Sample]:
        """Yield what the model makes of a few held-out rows of each data set."""
        for one in self.data.held_out:
            yield from samples_of(trainer, one)

    def closing_words(self, trainer: Any, metrics: Mapping[str, float]) -> Iterator[Any]:
        """Yield a line about each data set with held-out rows."""
        yield from metric_lines(metrics)

    def tip(self, path: Path) -> str | None:
        """Return a command that compares two texts of the data; None where they are long."""
        first = next((one.held_out for one in self.data.held_out), None) or self.data.sets[0].train
        texts = [str(value) for value in first[0].values()][:2]
        short = all(len(text) <= SHORT and text.isprintable() for text in texts)
        return shlex.join(["ultra-train", "similarity", "--model", str(path), *texts]) if short else None

    def save(self, trainer: Any, folder: Path) -> None:
        """Write the model as sentence-transformers loads it."""
        trainer.save_model(str(folder))
        convert_to_save_dtype(folder, self.training, self.say)

    # -- batches ------------------------------------------------------------------------------------------

    @cached_property
    def collate(self) -> Any:
        """The data collator of the trainer of sentence-transformers, with prompts and routes."""
        return self.trainer_class.data_collator_class(
            preprocess_fn=self.model.preprocess,
            prompts=self._by_set(self.prompts),
            router_mapping=self._by_set(self.routes),
        )

    @property
    def _several(self) -> bool:
        return len(self.data.sets) > 1

    def _by_set(self, of: Any) -> dict[str, Any]:
        """Return mappings of columns: of the only data set, or those of each by its name."""
        found = {one.name: dict(of(one)) for one in self.data}
        if not any(found.values()):
            return {}
        return found if self._several else next(iter(found.values()))
