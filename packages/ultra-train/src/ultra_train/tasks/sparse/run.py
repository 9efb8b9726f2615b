"""The run that the tasks of sparse encoders inherit from."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import attrs
from sentence_transformers import SparseEncoder
from sentence_transformers.sparse_encoder.callbacks.splade_callbacks import (
    SpladeRegularizerWeightSchedulerCallback,
)
from sentence_transformers.sparse_encoder.losses import SpladeLoss
from torch import nn

from ultra_train.config.training import TrainingConfig
from ultra_train.system.files import expand_user
from ultra_train.tasks.base import Sample
from ultra_train.tasks.embeddings.data import PairData, PairSet
from ultra_train.tasks.embeddings.evaluators import Evaluator
from ultra_train.tasks.embeddings.trainers import EmbeddingTrainerMixin
from ultra_train.tasks.embeddings.training import EmbeddingRun
from ultra_train.tasks.sparse.callback import WARM_UP
from ultra_train.tasks.sparse.closing import sparsity_words
from ultra_train.tasks.sparse.data import read_data, route_of
from ultra_train.tasks.sparse.encoders import build_encoder, check_head
from ultra_train.tasks.sparse.evaluation import (
    HELD_OUT_METRIC,
    Measure,
    held_out_retrieval,
    nanobeir,
    pick_measure,
)
from ultra_train.tasks.sparse.inner_losses import InnerLoss, find_inner_loss
from ultra_train.tasks.sparse.lowering import UNLIMITED
from ultra_train.tasks.sparse.preset import SparseFile
from ultra_train.tasks.sparse.query_rates import own_rates
from ultra_train.tasks.sparse.samples import TEXTS, decoded, sample_texts
from ultra_train.tasks.sparse.sparsity import MeteredLoss, SparsityMeter
from ultra_train.tasks.sparse.trainer import SparsityTrainer

LOOKED_AT = 16
"""Documents on which the head of a base model is tried."""


class SparseRun(EmbeddingRun[SparseFile]):
    """A run that trains a ``SparseEncoder``."""

    trainer_class: ClassVar[type[EmbeddingTrainerMixin]] = SparsityTrainer
    model: SparseEncoder
    measure: Measure

    def encoder(self) -> SparseEncoder:
        """Return the encoder that the preset describes; a head that cannot be sparse is refused."""
        encoder = build_encoder(self.options, self.say)
        one = next(iter(self.data))
        texts = one.train[:LOOKED_AT][one.text_columns[1]]
        check_head(encoder, texts, self.say)
        return encoder

    @abstractmethod
    def loss(self, model: SparseEncoder, inner: nn.Module) -> nn.Module:
        """Return the loss of the architecture.

        Args:
            model: the encoder.
            inner: the ranking loss inside.
        """

    # -- what it is evaluated with ------------------------------------------------------------------------

    def prepare(self) -> None:
        """Read the data sets, and decide what measures the run."""
        super().prepare()
        self.measure, why = pick_measure(self.options.evaluation)
        if why is not None and self.data.held_out:
            self.say(f"notice: {why}")

    def evaluators(self) -> Sequence[Evaluator]:
        """Return NanoBEIR, or retrieval among the held-out texts."""
        size = self.options.training.per_device_eval_batch_size
        if self.measure == "nanobeir":
            return [nanobeir(self.options.evaluation.nanobeir_datasets, size)]
        found = held_out_retrieval(self.data, size) if self.measure == "held_out" else None
        return [found] if found is not None else []

    def samples(self, trainer: Any) -> Iterator[Sample]:
        """Yield the terms of a few held-out texts, if the preset asks for them."""
        wanted = self.options.evaluation.log_decoded_samples
        if wanted and self.decodes:
            yield from decoded(self.model, sample_texts(self.data, TEXTS if wanted is True else wanted))

    decodes: ClassVar[bool] = True
    """Whether the dimensions of a representation are tokens."""

    def card_fields(self) -> Mapping[str, Any]:
        """Return the base model, if it has a name on the hub, and what ``model_card`` says."""
        base = self.options.model.base_model
        own = {} if expand_user(base).exists() else {"base_model": base}
        return {**own, **self.options.model_card}

    def tip(self, path: Path) -> str | None:
        """Return the command that runs the first MTEB task of the preset on the finished model."""
        tasks = self.options.evaluation.mteb_tasks or ()
        return f"ultra-train eval {path} --data mteb:{tasks[0]}" if tasks else None

    def closing_words(self, trainer: Any, metrics: Mapping[str, float]) -> Iterator[Any]:
        """Yield retrieval and sparsity on held-out texts."""
        yield from sparsity_words(metrics, self.model.get_embedding_dimension())

    # -- data ---------------------------------------------------------------------------------------------

    def pairs(self) -> PairData:
        """Read the data sets that are enabled."""
        return read_data(self.options, self.inner, cache_dir=self.training.cache_dir, say=self.say)

    def routes(self, pairs: PairSet) -> Mapping[str, str]:
        """Return the route of each column, if queries have an encoder of their own."""
        if not self.options.model.use_router:
            return {}
        mapping = self.options.router.mapping
        return {column: mapping.get(column, route_of(column)) for column in pairs.text_columns}

    # -- losses -------------------------------------------------------------------------------------------

    @property
    def inner(self) -> InnerLoss:
        """The ranking loss inside."""
        found = find_inner_loss(self.options.loss.inner_loss)
        assert found is not None, "rules refuse other names"
        return found

    def losses(self, model: SparseEncoder) -> Mapping[str, nn.Module]:
        """Return one loss for all data sets."""
        ranking = self.inner.build(model, self.scale(model))
        metered = MeteredLoss(ranking, training=self.meter, evaluation=self.held_out_meter)
        loss = self.loss(model, metered)
        return {one.name: loss for one in self.data}

    def scale(self, model: SparseEncoder) -> float | None:
        """Return the factor of the similarities in the ranking loss; None: that of the library."""
        return self.options.loss.inner_loss_scale

    @cached_property
    def meter(self) -> SparsityMeter:
        """The meter of training batches."""
        return SparsityMeter()

    @cached_property
    def held_out_meter(self) -> SparsityMeter:
        """The meter of evaluation batches."""
        return SparsityMeter()

    def trainer_options(self) -> Mapping[str, Any]:
        """Return the losses, evaluators, learning rates and callbacks."""
        options = dict(super().trainer_options())
        loss, sparse = options["loss"], self.options
        rates = own_rates(
            self.model, sparse.training.query_learning_rate, sparse.router.learning_rate_patterns
        )
        for notice in rates.notices:
            self.say(f"notice: {notice}")
        schedule = (
            SpladeRegularizerWeightSchedulerCallback(loss, warmup_ratio=WARM_UP)
            if isinstance(loss, SpladeLoss)
            else None
        )
        return {
            **options,
            "own_rates": rates,
            "held_out": self.held_out_meter,
            "schedule": schedule,
            "meter": self.meter if sparse.evaluation.track_sparsity else None,
        }

    def arguments(self) -> Mapping[str, Any]:
        """Return prompts and routes, and how processes look for parameters without a gradient.

        With an encoder of its own, a query leaves the parameters of documents out and a document those of
        queries, but an update has both: a search after each forward pass would count them as unused.
        """
        routed = {"ddp_find_unused_parameters": False} if self.options.model.use_router else {}
        return {**super().arguments(), **routed}

    def loading(self) -> dict[str, Any]:
        """Return how batches are loaded, by the keys of the preset."""
        training = self.options.training
        workers = training.dataloader_num_workers
        return {
            "num_workers": workers,
            "pin_memory": training.dataloader_pin_memory and self.device.type == "cuda",
            "prefetch_factor": training.dataloader_prefetch_factor if workers else None,
        }

    # -- length -------------------------------------------------------------------------------------------

    def steps(self, loader: Any, *, world_size: int = 1) -> int:
        """Return ``max_steps``, or the updates of ``num_train_epochs``, which may be a fraction."""
        training = self.options.training
        if training.max_steps > 0:
            return training.max_steps
        whole = math.floor(training.num_train_epochs)
        batches = sum(loader.plan.batches(epoch) for epoch in range(whole))
        batches += round((training.num_train_epochs - whole) * loader.plan.batches(whole))
        return max(1, math.ceil(batches / (training.gradient_accumulation_steps * world_size)))

    def fitted(self, updates: int, updates_per_epoch: float) -> TrainingConfig:
        """Return the keys with a schedule over all updates, and evaluations and checkpoints every epoch."""
        training, epoch = self.options.training, max(1, round(updates_per_epoch))
        saves = {"steps": training.save_steps, "epoch": epoch}.get(training.save_strategy, UNLIMITED)
        metric = self.training.best_metric
        if self.measure != "nanobeir" and "NanoBEIR" in metric:
            metric = HELD_OUT_METRIC
        return attrs.evolve(
            self.training,
            best_metric=metric,
            max_steps=updates,
            scheduler_total_steps=updates,
            eval_every_n_steps=epoch if training.eval_strategy == "epoch" else training.eval_steps,
            checkpoint_every_n_steps=saves,
            num_best_checkpoints=int(training.load_best_model_at_end or training.save_strategy == "best"),
        )
