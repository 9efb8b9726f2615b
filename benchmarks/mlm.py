"""Masked-language-model training side by side: ultra, transformers' BERT and ModernBERT.

    python benchmarks/mlm.py --text corpus.txt.gz

Real tokens a second through the whole trainer step (data, forward, backward, clip, optimizer) of a
4-layer, 256-wide, 4-head encoder over documents of real lengths, all sides in the same run, round after
round, medians. Every side has the same vocabulary, mask rate, special tokens, real tokens an update,
multiply-adds in its FFNs, no dropout, fused AdamW, and goes through its own trainer as its users would:

* ``bert``: BertForMaskedLM, a collator that pads 32 documents to the longest;
* ``modernbert``: ModernBertForMaskedLM(sparse_prediction=True) on concatenated full rows of 512 (run_mlm's
  ``group_texts``), in which documents see each other;
* ``ultra``: documents of like length in a batch, each on its own, with guards, statistics of gradients,
  metrics and TensorBoard, and a checkpoint every ten updates; the peers log and save nothing.

The first updates of every call are not timed. What a call takes until its first update ends is printed apart.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; read when torch is imported

import harness
import mlm_peers as peers
import torch

from ultra_core.plugins.hooks import hookimpl, plugin_manager
from ultra_train.config import load_preset
from ultra_train.data.sources.data_source import read_sources
from ultra_train.data.sources.texts import TextReader
from ultra_train.data.token_cache.build import prepare
from ultra_train.run.execution import execute
from ultra_train.tokenizer.loading import load_tokenizer
from ultra_train.tokenizer.training import train_tokenizer

PRESET = """\
model_class: frankenstein
model:
  vocab_size: {vocab_size}
  hidden_size: {hidden}
  num_layers: {layers}
  num_heads: {heads}
  retention_heads: {heads}
  layer_pattern: [{block}]
  norm_type: layer_norm
  use_moe: false
  use_hope: false
  ffn: mlp
  ffn_hidden_size: {width}
  dropout: 0.0
tokenizer:
  name_or_path: {tokenizer}
training:
  task: mlm
  dataset: {text}
  cache_dir: {cache}
  batch_size: {batch_size}
  gradient_accumulation_steps: {accumulation}
  max_length: {length}
  mlm_probability: {rate}
  eval_fraction: 0.0
  max_steps: {steps}
  seed: {seed}
  checkpoint_every_n_steps: 10
  grad_clip_max_norm: 1.0
  compile: {compile}
  optimizer:
    optimizer_class: adamw
    parameters: {{adamw-lr: 1.0e-4, adamw-weight_decay: 0.0}}
"""


class Clock(peers.Stopwatch):
    """A stopwatch that also reads how many real tokens ultra's trainer has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.run, self.tokens = None, []

    def on_step_end(self, args, state, control, **kwargs):
        super().on_step_end(args, state, control, **kwargs)
        self.tokens.append(self.run.trainer.tokens_seen)

    @property
    def rate(self) -> float:
        return (self.tokens[-1] - self.tokens[peers.WARM_UP - 1]) / self.seconds


class UltraSide:
    """Ultra through its own front door, ``execute``; a hook brings the stopwatch."""

    def __init__(self, folder: Path, **values: object) -> None:
        self.folder, self.values, self.seed = folder, values, 0
        self.clock = Clock()
        self.start_ups: list[float] = []

    @hookimpl
    def ultra_callbacks(self, run):
        self.clock.run = run
        return [self.clock]

    def __call__(self) -> float:
        self.clock = Clock()
        self.seed += 1
        preset = self.folder / "bench.yaml"
        preset.write_text(PRESET.format(seed=self.seed, **self.values))
        manager = plugin_manager()
        manager.register(self)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                execute(load_preset(preset), output_dir=tempfile.mkdtemp(dir=self.folder), device="cpu")
        finally:
            manager.unregister(self)
        self.start_ups.append(self.clock.start_up)
        return self.clock.rate


def multiply_adds(vocab_size: int, seen: float) -> float:
    """Return the multiply-adds of training on one token that attends to ``seen`` others: three forwards."""
    width = peers.HIDDEN
    layer = 4 * width**2 + 2 * width * peers.MLP_WIDTH + 2 * seen * width
    head = peers.RATE * (width**2 + width * vocab_size)
    return 3 * (peers.LAYERS * layer + head)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", default="ultra:es-commands", help="a text file, one document a line")
    parser.add_argument("--vocab-size", type=int, default=16_000)
    parser.add_argument("--tokens", type=int, default=4096, help="real tokens an update")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=20, help="timed updates of a side in a round")
    parser.add_argument("--compile", action="store_true", help="add ultra with torch.compile to the table")
    parser.add_argument("--cache", type=Path, default=Path(".cache/bench"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")

    name = Path(options.text).name.replace(":", "-")
    folder = options.cache / f"{name}-{options.vocab_size}"
    if not (folder / "tokenizer.json").exists():
        train_tokenizer(TextReader().texts(options.text), vocab_size=options.vocab_size, output_dir=folder)
    tokenizer = load_tokenizer(folder)
    sources = read_sources(options.text)
    shards, _ = prepare(
        sources, tokenizer, max_length=peers.LENGTH, cache_dir=options.cache, eval_fraction=0.0
    )
    order = torch.randperm(len(shards), generator=torch.Generator().manual_seed(0)).tolist()
    texts = [shards.document(i).tolist() for i in order[:60_000]]
    mean = sum(map(len, texts)) / len(texts)
    accumulation = max(1, round(options.tokens / (32 * mean)))
    rows = options.tokens // peers.LENGTH
    values = {
        "vocab_size": options.vocab_size, "hidden": peers.HIDDEN, "layers": peers.LAYERS,
        "heads": peers.HEADS, "width": peers.MLP_WIDTH, "length": peers.LENGTH, "rate": peers.RATE,
        "tokenizer": folder.resolve(),
        "text": Path(options.text).resolve() if Path(options.text).exists() else options.text,
        "cache": options.cache.resolve(), "batch_size": rows, "accumulation": 1,
        "steps": options.updates + peers.WARM_UP, "compile": "false",
    }  # fmt: skip
    scratch = Path(tempfile.mkdtemp())
    sides = {
        "bert": peers.PeerSide(
            peers.bert(options.vocab_size), tokenizer, texts, batch_size=32, accumulation=accumulation,
            updates=-(-options.updates // 5),  # each takes several times as long
        ),
        "modernbert": peers.PeerSide(
            peers.modernbert(options.vocab_size), tokenizer, peers.group_texts(texts, peers.LENGTH),
            batch_size=rows, accumulation=1, updates=options.updates,
        ),
        "ultra standard_attn": UltraSide(scratch, block="standard_attn", **values),
        "ultra retnet": UltraSide(scratch, block="{retnet: {value_expansion: 1}}", **values),
    }  # fmt: skip
    if options.compile:
        sides["ultra standard_attn, compiled"] = UltraSide(
            scratch, block="standard_attn", **values | {"compile": "true"}
        )
    matmuls: list[float] = []

    def matmul() -> float:
        matmuls.append(harness.matmul_rate())
        return matmuls[-1]

    figures = harness.interleave({**sides, "matmul": matmul}, options.rounds)
    peak = harness.median(figures.pop("matmul"))
    medians = {side: harness.median(values) for side, values in figures.items()}
    square = sum(len(t) ** 2 for t in texts) / sum(map(len, texts))
    print(
        f"{options.text}: {len(shards):,} documents of {mean:.1f} tokens on average; "
        f"{options.tokens} real tokens an update, {options.threads} threads; "
        f"matmul {peak / 1e9:.1f} G multiply-adds/s\n"
    )
    table = []
    for side, rate in medians.items():
        seen = peers.LENGTH if side == "modernbert" else square
        share = rate * multiply_adds(options.vocab_size, seen) / peak
        table.append(
            [side, f"{rate:,.0f}", harness.spread(figures[side]), f"{rate / medians['bert']:.2f}",
             f"{rate / medians['modernbert']:.2f}", f"{share:.0%}",
             f"{harness.median(sides[side].start_ups):.1f}"]
        )  # fmt: skip
    header = [
        "side", "real tokens/s", "spread", "x bert", "x modernbert", "of the matmul rate", "start-up (s)"
    ]  # fmt: skip
    print(harness.table(header, table))
    ceiling = multiply_adds(options.vocab_size, peers.LENGTH) / multiply_adds(options.vocab_size, square)
    print(f"\nBy multiply-adds alone, ultra standard_attn could be {ceiling:.2f} times modernbert.")


if __name__ == "__main__":
    main()
