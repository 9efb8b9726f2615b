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

Each side runs in a process of its own, in turn, since a run of ultra changes what the C library does with
freed memory. The first updates are not timed; what a side takes until the first one ends is printed apart.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import warnings
from functools import partial
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

    def __init__(self, **values: object) -> None:
        self.values = values
        self.clock = Clock()

    @hookimpl
    def ultra_callbacks(self, run):
        self.clock.run = run
        return [self.clock]

    def __call__(self) -> float:
        manager = plugin_manager()
        manager.register(self)
        try:
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
                preset = Path(folder) / "bench.yaml"
                preset.write_text(PRESET.format(**self.values))
                execute(load_preset(preset), output_dir=folder, device="cpu")
        finally:
            manager.unregister(self)
        return self.clock.rate

    @property
    def start_up(self) -> float:
        return self.clock.start_up


class Work:
    """The tokenizer, the documents and the sizes that all sides have in common."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        text, name = options.text, Path(options.text).name.replace(":", "-")
        self.folder = options.cache / f"{name}-{options.vocab_size}"
        if not (self.folder / "tokenizer.json").exists():
            train_tokenizer(TextReader().texts(text), vocab_size=options.vocab_size, output_dir=self.folder)
        self.tokenizer = load_tokenizer(self.folder)
        shards, _ = prepare(
            read_sources(text), self.tokenizer, max_length=peers.LENGTH, cache_dir=options.cache,
            eval_fraction=0.0,
        )  # fmt: skip
        order = torch.randperm(len(shards), generator=torch.Generator().manual_seed(0)).tolist()
        self.documents = len(shards)
        self.texts = [shards.document(i).tolist() for i in order[:60_000]]
        self.mean = sum(map(len, self.texts)) / len(self.texts)
        self.square = sum(len(t) ** 2 for t in self.texts) / sum(map(len, self.texts))

    def side(self, name: str) -> peers.PeerSide | UltraSide:
        """Return one of ``SIDES``."""
        options, rows = self.options, self.options.tokens // peers.LENGTH
        if name == "bert":
            return peers.PeerSide(
                peers.bert(options.vocab_size), self.tokenizer, self.texts, batch_size=32,
                accumulation=max(1, round(options.tokens / (32 * self.mean))),
                updates=-(-options.updates // 5), seed=options.seed,  # each takes several times as long
            )  # fmt: skip
        if name == "modernbert":
            return peers.PeerSide(
                peers.modernbert(options.vocab_size), self.tokenizer,
                peers.group_texts(self.texts, peers.LENGTH), batch_size=rows, accumulation=1,
                updates=options.updates, seed=options.seed,
            )  # fmt: skip
        return UltraSide(
            **ULTRA[name], vocab_size=options.vocab_size, hidden=peers.HIDDEN, layers=peers.LAYERS,
            heads=peers.HEADS, width=peers.MLP_WIDTH, length=peers.LENGTH, rate=peers.RATE,
            tokenizer=self.folder.resolve(), cache=options.cache.resolve(), batch_size=rows, accumulation=1,
            text=Path(options.text).resolve() if Path(options.text).exists() else options.text,
            steps=options.updates + peers.WARM_UP, seed=options.seed,
        )  # fmt: skip


ULTRA = {
    "ultra standard_attn": {"block": "standard_attn", "compile": "false"},
    "ultra retnet": {"block": "{retnet: {value_expansion: 1}}", "compile": "false"},
    "ultra standard_attn, compiled": {"block": "standard_attn", "compile": "true"},
}
SIDES = ("bert", "modernbert", *ULTRA)


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
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    work = Work(options)
    if options.side:
        side = work.side(options.side)
        rate = side()
        print(json.dumps({"rate": rate, "start_up": side.start_up}))
        return

    names = [name for name in SIDES if options.compile or "compiled" not in name]
    start_ups: dict[str, list[float]] = {name: [] for name in names}

    def run(name: str) -> float:
        seed = str(len(start_ups[name]))
        command = [sys.executable, __file__, *sys.argv[1:], "--side", name, "--seed", seed]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
        measured = json.loads(done.stdout.splitlines()[-1])
        start_ups[name].append(measured["start_up"])
        return measured["rate"]

    sides = {name: partial(run, name) for name in names}
    figures = harness.interleave({**sides, "matmul": harness.matmul_rate}, options.rounds)
    peak = harness.median(figures.pop("matmul"))
    medians = {side: harness.median(values) for side, values in figures.items()}
    print(
        f"{options.text}: {work.documents:,} documents of {work.mean:.1f} tokens on average; "
        f"{options.tokens} real tokens an update, {options.threads} threads; "
        f"matmul {peak / 1e9:.1f} G multiply-adds/s\n"
    )
    table = []
    for side, rate in medians.items():
        seen = peers.LENGTH if side == "modernbert" else work.square
        share = rate * multiply_adds(options.vocab_size, seen) / peak
        table.append(
            [side, f"{rate:,.0f}", harness.spread(figures[side]), f"{rate / medians['bert']:.2f}",
             f"{rate / medians['modernbert']:.2f}", f"{share:.0%}", f"{harness.median(start_ups[side]):.1f}"]
        )  # fmt: skip
    header = [
        "side", "real tokens/s", "spread", "x bert", "x modernbert", "of the matmul rate", "start-up (s)"
    ]  # fmt: skip
    print(harness.table(header, table))
    attention = [multiply_adds(options.vocab_size, seen) for seen in (peers.LENGTH, work.square)]
    print(
        f"\nBy multiply-adds alone, ultra standard_attn could be {attention[0] / attention[1]:.2f} times "
        "modernbert."
    )


if __name__ == "__main__":
    main()
