"""Sides of ``embeddings.py``: runs of ultra, and trainers of sentence-transformers on the same batches."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments
from sentence_transformers.sparse_encoder.losses import (
    CSRLoss,
    SparseMultipleNegativesRankingLoss,
    SpladeLoss,
)
from sentence_transformers.sparse_encoder.modules import (
    SparseAutoEncoder,
    SparseStaticEmbedding,
    SpladePooling,
)
from sentence_transformers.sparse_encoder.trainer import SparseEncoderTrainer
from sentence_transformers.sparse_encoder.training_args import SparseEncoderTrainingArguments
from transformers import TrainerCallback

from ultra_core.plugins.hooks import hookimpl, plugin_manager
from ultra_train.config import load_preset
from ultra_train.data.pairs.reading import PairSource, read_splits
from ultra_train.run.execution import execute
from ultra_train.tasks.embeddings.data import PairData, PairSet
from ultra_train.tasks.embeddings.plan import PairPlan

WARM_UP = 4
"""Updates that are not timed."""
TASKS = ("dense", "splade", "inference-free", "csr")
REGULARISER, ACTIVE, LATENTS, SEED = 1e-3, 64, 1024, 1

DENSE = """\
base_model: {base}
training:
  task: sbert
  report_to: []
  eval_fraction: 0.0
  cache_dir: {cache}
  max_steps: {steps}
  seed: {seed}
  checkpoint_every_n_steps: 1000000
  sbert:
    dataset_name: "{pairs}"
    dataset_type: pairs
    batch_size: {rows}
    max_seq_length: {length}
    epochs: 1000
    checkpoint_save_steps: 1000000
"""
SPARSE = """\
model: {{base_model: {base}, {model}}}
training:
  max_steps: {steps}
  seed: {seed}
  report_to: []
  cache_dir: {cache}
  per_device_train_batch_size: {rows}
  max_seq_length: {length}
  eval_strategy: "no"
  save_steps: 1000000
loss: {{{loss}}}
datasets: {{pairs: {{source: "{pairs}", kind: pairs}}}}
evaluation: {{evaluator: none}}
"""
MODELS = {
    "splade": "architecture: splade",
    "inference-free": "architecture: inference-free-splade",
    "csr": f"architecture: csr, csr_k: {ACTIVE}, csr_k_aux: {2 * ACTIVE}, csr_hidden_dim: {LATENTS}",
}
LOSSES = {
    "splade": f"query_regularizer_weight: {REGULARISER}, document_regularizer_weight: {REGULARISER}",
    "inference-free": f"document_regularizer_weight: {REGULARISER}",
    "csr": "type: csr_loss, inner_loss_scale: 1.0",
}


@attrs.frozen
class Work:
    """What both sides are given.

    Attributes:
        folder: place for caches and runs.
        pairs: the data, as a preset names them.
        rows: pairs in an update.
        length: tokens to which texts are cut.
        steps: updates, the warm-up among them.
    """

    folder: Path
    pairs: str
    rows: int
    length: int
    steps: int

    def read(self) -> Any:
        """Return the pairs to train on."""
        source = PairSource(source=self.pairs, kind="pairs")
        return read_splits(source, cache_dir=str(self.folder / "cache"))["train"]

    def batches(self) -> list[list[int]]:
        """Return the rows of every update, as the runs of ultra plan them."""
        pairs = PairSet(
            name="pairs", kind="pairs", source=self.pairs, train=self.read(), negatives_in_batch=True
        )
        data = PairData(sets=[pairs], batch_size=self.rows, eval_batch_size=self.rows, seed=SEED)
        return planned(data.training_plan(), self.steps)


def planned(plan: PairPlan, steps: int) -> list[list[int]]:
    """Return the rows of the first batches."""
    if plan.batches(0) < steps:
        raise SystemExit(f"{steps} updates need more pairs: an epoch has {plan.batches(0)} batches")
    return [plan.batch(0, index).rows.tolist() for index in range(steps)]


class Stopwatch(TrainerCallback):
    """Wall seconds of every update.

    Args:
        work: what is trained on; a run of ultra that planned other batches is an error.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.began: list[float] = []

    def on_train_begin(self, args, state, control, **kwargs):
        loader = getattr(kwargs["train_dataloader"], "loader", None)  # that of a run of ultra
        if loader is not None and planned(loader.plan, self.work.steps) != self.work.batches():
            raise SystemExit("the sides train on different batches")

    def on_step_begin(self, args, state, control, **kwargs):
        self.began.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """The mean after the warm-up."""
        timed = self.began[WARM_UP:]
        return (timed[-1] - timed[0]) / (len(timed) - 1)


@attrs.frozen
class Ultra:
    """A run of ultra, with guards, statistics of gradients and metrics as any run has them."""

    work: Work
    base: Path
    task: str

    def __call__(self) -> float:
        work, clock = self.work, Stopwatch(self.work)
        form = DENSE if self.task == "dense" else SPARSE
        preset = work.folder / "preset.yaml"
        preset.write_text(
            form.format(
                base=self.base, cache=work.folder / "cache", pairs=work.pairs, rows=work.rows, seed=SEED,
                length=work.length, steps=work.steps, model=MODELS.get(self.task), loss=LOSSES.get(self.task),
            )
        )  # fmt: skip
        with _given(clock), contextlib.redirect_stdout(io.StringIO()):
            execute(load_preset(preset), output_dir=tempfile.mkdtemp(dir=work.folder), device="cpu")
        return clock.seconds


@contextlib.contextmanager
def _given(clock: Stopwatch) -> Iterator[None]:
    """Add the stopwatch to a run."""

    class Hook:
        @hookimpl
        def ultra_callbacks(self, run):
            return [clock]

    hook = Hook()
    plugin_manager().register(hook)
    try:
        yield
    finally:
        plugin_manager().unregister(hook)


@attrs.frozen
class Library:
    """A script for the trainers of sentence-transformers."""

    work: Work
    base: Path
    task: str

    def __call__(self) -> float:
        work, clock, batches = self.work, Stopwatch(self.work), self.work.batches()

        class Planned(DefaultBatchSampler):
            """The batches of the other side."""

            def __init__(self, dataset: Any, *args: Any, **kwargs: Any) -> None:
                super().__init__(range(len(dataset)), work.rows, drop_last=True)

            def __iter__(self) -> Iterator[list[int]]:
                return iter(batches)

        torch.manual_seed(SEED)
        model, loss = getattr(self, f"_{self.task.replace('-', '_')}")()
        dense = self.task == "dense"
        arguments = SentenceTransformerTrainingArguments if dense else SparseEncoderTrainingArguments
        trainer = SentenceTransformerTrainer if dense else SparseEncoderTrainer
        routes = {"anchor": "query", "positive": "document"} if self.task == "inference-free" else None
        settings = arguments(
            output_dir=tempfile.mkdtemp(dir=work.folder), max_steps=work.steps, learning_rate=2e-5,
            per_device_train_batch_size=work.rows, use_cpu=True, disable_tqdm=True, report_to=[],
            batch_sampler=Planned, save_strategy="no", logging_steps=10, router_mapping=routes,
        )  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()):
            trainer(
                model=model, args=settings, train_dataset=work.read(), loss=loss, callbacks=[clock]
            ).train()
        return clock.seconds

    def _dense(self) -> tuple[Any, Any]:
        model = SentenceTransformer(modules=self._vectors(), device="cpu")
        return model, MultipleNegativesRankingLoss(model)

    def _splade(self) -> tuple[Any, Any]:
        return self._regularised(self._weights(), query_regularizer_weight=REGULARISER)

    def _inference_free(self) -> tuple[Any, Any]:
        documents = self._weights()
        queries = [SparseStaticEmbedding(documents[0].tokenizer)]
        router = Router.for_query_document(query_modules=queries, document_modules=documents)
        return self._regularised([router], query_regularizer_weight=0)

    def _csr(self) -> tuple[Any, Any]:
        vectors = self._vectors()
        width = vectors[0].get_embedding_dimension()
        latents = SparseAutoEncoder(input_dim=width, hidden_dim=LATENTS, k=ACTIVE, k_aux=2 * ACTIVE)
        model = SparseEncoder(modules=[*vectors, latents], device="cpu")
        return model, CSRLoss(model, SparseMultipleNegativesRankingLoss(model), beta=0.1, gamma=1.0)

    def _regularised(self, modules: Sequence[Any], **weights: float) -> tuple[Any, Any]:
        model = SparseEncoder(modules=modules, device="cpu")
        ranking = SparseMultipleNegativesRankingLoss(model)
        return model, SpladeLoss(model, ranking, document_regularizer_weight=REGULARISER, **weights)

    def _vectors(self) -> list[Any]:
        network = self._network("feature-extraction")
        return [network, Pooling(network.get_embedding_dimension(), "mean")]

    def _weights(self) -> list[Any]:
        return [self._network("fill-mask"), SpladePooling("max")]

    def _network(self, task: Any) -> Transformer:
        network = Transformer(str(self.base), transformer_task=task)
        network.max_seq_length = self.work.length
        return network
