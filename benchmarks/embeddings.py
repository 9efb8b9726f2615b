"""Training embeddings: runs of ultra, and scripts for the trainers of sentence-transformers, in turn.

    python benchmarks/embeddings.py [--pairs pairs.jsonl --pieces 16000]

Both sides of a task train the same base model on the same pairs with the same loss, AdamW, batch size and
length; ours with guards, statistics of gradients and metrics, as ``ultra-train run`` has them. Neither side
evaluates or saves a checkpoint.

* ``dense``: mean pooling, multiple negatives;
* ``splade``: the same pairs with FLOPS regularisers;
* bases: a BERT of transformers, and an encoder of ultra, whose padded batches runs of ultra pack into fewer
  rows.

Wall seconds of an update after a few that warm up, median over a round, and the median of the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; read when torch is imported

import attrs
import harness
import torch
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments
from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss
from sentence_transformers.sparse_encoder.modules import SpladePooling
from sentence_transformers.sparse_encoder.trainer import SparseEncoderTrainer
from sentence_transformers.sparse_encoder.training_args import SparseEncoderTrainingArguments
from transformers import BertConfig, BertForMaskedLM, TrainerCallback

import ultra_blocks.hf  # noqa: F401  registers our classes
from ultra_blocks.config import UltraConfig
from ultra_core.plugins.hooks import hookimpl, plugin_manager
from ultra_train.config import load_preset
from ultra_train.data.pairs.reading import PairSource, read_splits
from ultra_train.run.execution import execute
from ultra_train.tasks.mlm.models import new_model
from ultra_train.tokenizer.loading import load_tokenizer
from ultra_train.tokenizer.training import train_tokenizer

WARM_UP = 4
WIDTH, LAYERS = 256, 4
REGULARISER = 1e-3

DENSE = """\
base_model: {base}
training:
  task: sbert
  report_to: []
  eval_fraction: 0.0
  cache_dir: {cache}
  max_steps: {steps}
  checkpoint_every_n_steps: 1000000
  sbert:
    dataset_name: "{pairs}"
    dataset_type: pairs
    batch_size: {rows}
    max_seq_length: {length}
    epochs: 1000
    checkpoint_save_steps: 1000000
"""
SPLADE = """\
model: {{base_model: {base}, architecture: splade}}
training:
  max_steps: {steps}
  report_to: []
  cache_dir: {cache}
  per_device_train_batch_size: {rows}
  max_seq_length: {length}
  eval_strategy: "no"
  save_steps: 1000000
loss: {{query_regularizer_weight: 1.0e-3, document_regularizer_weight: 1.0e-3}}
datasets: {{pairs: {{source: "{pairs}", kind: pairs}}}}
evaluation: {{evaluator: none}}
"""


class Stopwatch(TrainerCallback):
    """Wall seconds of every update."""

    def __init__(self) -> None:
        self.began: list[float] = []

    def on_step_begin(self, args, state, control, **kwargs):
        self.began.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        pairs = zip(self.began[WARM_UP:], self.began[WARM_UP + 1 :], strict=False)
        return statistics.median(after - before for before, after in pairs)


@attrs.frozen
class Work:
    """What both sides are given."""

    folder: Path
    pairs: str
    rows: int
    length: int
    steps: int

    def source(self) -> PairSource:
        return PairSource(source=self.pairs, kind="pairs")


@attrs.frozen
class Ultra:
    """A run of ultra."""

    work: Work
    base: Path
    form: str

    def __call__(self) -> float:
        work, clock = self.work, Stopwatch()
        preset = work.folder / "preset.yaml"
        preset.write_text(
            self.form.format(
                base=self.base, cache=work.folder / "cache", pairs=work.pairs, rows=work.rows,
                length=work.length, steps=work.steps,
            )
        )  # fmt: skip
        with _given(clock), contextlib.redirect_stdout(io.StringIO()):
            execute(load_preset(preset), output_dir=tempfile.mkdtemp(dir=work.folder), device="cpu")
        return clock.seconds


@contextlib.contextmanager
def _given(clock: Stopwatch):
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
    sparse: bool

    def __call__(self) -> float:
        work, clock = self.work, Stopwatch()
        rows = read_splits(work.source(), cache_dir=str(work.folder / "cache"))["train"]
        torch.manual_seed(0)
        model, loss, trainer, arguments = self._parts()
        settings = arguments(
            output_dir=tempfile.mkdtemp(dir=work.folder), max_steps=work.steps, learning_rate=2e-5,
            per_device_train_batch_size=work.rows, use_cpu=True, disable_tqdm=True, report_to=[],
            batch_sampler="no_duplicates", save_strategy="no", logging_steps=10,
        )  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()):
            trainer(model=model, args=settings, train_dataset=rows, loss=loss, callbacks=[clock]).train()
        return clock.seconds

    def _parts(self):
        task = "fill-mask" if self.sparse else "feature-extraction"
        network = Transformer(str(self.base), transformer_task=task)
        network.max_seq_length = self.work.length
        if not self.sparse:
            dense = SentenceTransformer(modules=[network, Pooling(WIDTH, "mean")], device="cpu")
            loss = MultipleNegativesRankingLoss(dense)
            return dense, loss, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
        sparse = SparseEncoder(modules=[network, SpladePooling("max")], device="cpu")
        ranking = SparseMultipleNegativesRankingLoss(sparse)
        loss = SpladeLoss(
            sparse, ranking, document_regularizer_weight=REGULARISER, query_regularizer_weight=REGULARISER
        )
        return sparse, loss, SparseEncoderTrainer, SparseEncoderTrainingArguments


def bases(work: Work, pieces: int) -> dict[str, Path]:
    """Write the base models, with one tokenizer of the texts, and return their folders."""
    rows = read_splits(work.source(), cache_dir=str(work.folder / "cache"))["train"]
    texts = [text for column in ("anchor", "positive") for text in rows[column]]
    train_tokenizer(iter(texts), vocab_size=pieces, output_dir=work.folder / "tokenizer")
    words = load_tokenizer(work.folder / "tokenizer")
    torch.manual_seed(0)
    bert = BertForMaskedLM(
        BertConfig(
            vocab_size=len(words), hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=4,
            intermediate_size=4 * WIDTH, pad_token_id=words.pad_token_id,
        )
    )  # fmt: skip
    ours = new_model(
        UltraConfig(
            vocab_size=len(words), hidden_size=WIDTH, num_layers=LAYERS, num_heads=4, dropout=0.1,
            layer_pattern=("standard_attn",), ffn_hidden_size=4 * WIDTH, use_moe=False, use_hope=False,
        ),
        words,
        "fp32",
    )  # fmt: skip
    folders = {}
    for name, model in {"bert": bert, "ultra encoder": ours}.items():
        folders[name] = work.folder / name.replace(" ", "-")
        model.save_pretrained(folders[name])
        words.save_pretrained(folders[name])
    return folders


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", default="ultra:es-commands", help="pairs of texts, as a preset names them")
    parser.add_argument("--pieces", type=int, default=800, help="size of the vocabulary")
    parser.add_argument("--rows", type=int, default=64, help="pairs in an update")
    parser.add_argument("--length", type=int, default=128, help="tokens to which texts are cut")
    parser.add_argument("--updates", type=int, default=20, help="timed updates of a side in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    steps = options.updates + WARM_UP + 1
    with tempfile.TemporaryDirectory() as made:
        pairs = options.pairs
        if Path(pairs).exists():
            pairs = str(Path(pairs).resolve())
        work = Work(Path(made), pairs, options.rows, options.length, steps)
        sides: dict[str, Callable[[], float]] = {}
        for base, folder in bases(work, options.pieces).items():
            for task, form in {"dense": DENSE, "splade": SPLADE}.items():
                sides[f"{task}, {base}: ultra"] = Ultra(work, folder, form)
                sides[f"{task}, {base}: library"] = Library(work, folder, task == "splade")
        figures = harness.interleave(sides, options.rounds)
    found = {side: harness.median(values) for side, values in figures.items()}
    rows = []
    for side, seconds in found.items():
        ratio = found[side.rpartition(":")[0] + ": library"] / seconds
        rows.append(
            [side, f"{1000 * seconds:.0f}", f"{options.rows / seconds:.0f}", harness.spread(figures[side]),
             f"{ratio:.2f}"]
        )  # fmt: skip
    print(harness.table(["side", "ms an update", "pairs/s", "spread", "x library"], rows))


if __name__ == "__main__":
    main()
