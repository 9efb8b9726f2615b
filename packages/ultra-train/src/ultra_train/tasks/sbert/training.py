"""Runs that train sentence embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ultra_train.config.training import TrainingConfig
from ultra_train.tasks.embeddings.data import PairData, PairSet
from ultra_train.tasks.embeddings.evaluators import Evaluator, dense_evaluators, evaluators_of
from ultra_train.tasks.embeddings.loss_names import DENSE_DEFAULTS
from ultra_train.tasks.embeddings.losses import build_loss
from ultra_train.tasks.embeddings.training import EmbeddingRun
from ultra_train.tasks.fine_tuning.keys import fitted_keys
from ultra_train.tasks.sbert.data import read_set
from ultra_train.tasks.sbert.encoder import build_encoder
from ultra_train.tasks.sbert.options import SbertOptions
from ultra_train.tasks.sbert.rules import WITH_QUERIES


class SbertRun(EmbeddingRun[SbertOptions]):
    """A run that trains a ``SentenceTransformer``: an encoder and the pooling of its token states."""

    def encoder(self) -> Any:
        """Return the base model with pooling, whose weights are those of its files."""
        return build_encoder(self.preset, self.options, self.say)

    def pairs(self) -> PairData:
        """Return the data sets of the section."""
        options, training = self.options, self.training
        sets = options.sets.items()
        return PairData(
            sets=[read_set(name, one, options, training, self.say) for name, one in sets],
            strategy=options.sampling_strategy,
            batch_size=options.batch_size,
            eval_batch_size=options.batch_size,
            seed=training.seed,
        )

    def losses(self, model: Any) -> Mapping[str, nn.Module]:
        """Return the loss of each data set; data sets of one kind share it, unless they name one each."""
        made: dict[str, nn.Module] = {}
        found: dict[str, nn.Module] = {}
        for name, one in self.options.sets.items():
            spec = one.loss or self.options.loss or DENSE_DEFAULTS[one.dataset_type]
            if str(spec) not in made:
                dims = self.options.matryoshka_dims
                made[str(spec)] = build_loss(spec, model, matryoshka_dims=dims)
            found[name] = made[str(spec)]
        return found

    def evaluators(self) -> Sequence[Evaluator]:
        """Return the evaluators of each data set with held-out rows."""
        several, classes = len(self.data.sets) > 1, dense_evaluators()
        return [
            evaluator
            for one in self.data.held_out
            for evaluator in evaluators_of(
                one,
                classes,
                name=one.name if several else "",
                batch_size=self.data.eval_batch_size,
                prompts=self.prompts(one),
            )
        ]

    def prompts(self, pairs: PairSet) -> Mapping[str, str]:
        """Return the prefix of queries and that of documents, for data that have them."""
        if pairs.kind not in WITH_QUERIES:
            return {}
        query, *documents = pairs.text_columns
        found = {query: self.options.query_prefix, **dict.fromkeys(documents, self.options.document_prefix)}
        return {column: prefix for column, prefix in found.items() if prefix}

    def fitted(self, updates: int, updates_per_epoch: float) -> TrainingConfig:
        """Return the keys with the schedule, the evaluations and the checkpoints of the section."""
        return fitted_keys(self.training, self.options, updates=updates, per_epoch=updates_per_epoch)
