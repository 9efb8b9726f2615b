"""Training embeddings: runs of ultra, and scripts for the trainers of sentence-transformers, in turn.

    python benchmarks/embeddings.py [--pairs pairs.jsonl --pieces 16000]

Both sides of a task train the same base model on the same batches of pairs with the same loss, AdamW and
length; ours with guards, statistics of gradients and metrics, as ``ultra-train run`` has them. Neither side
evaluates or saves a checkpoint.

* ``dense``: mean pooling, multiple negatives;
* ``splade``: the same pairs with FLOPS regularisers;
* ``inference-free``: queries are their tokens, each with a trained weight;
* ``csr``: a sparse autoencoder on mean pooling;
* bases: a BERT of transformers, and an encoder of ultra, whose padded batches runs of ultra pack into fewer
  rows.

Wall seconds of an update after a few that warm up, mean of a round, and the median of the rounds.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; read when torch is imported

import harness
import torch
from embedding_sides import TASKS, WARM_UP, Library, Ultra, Work
from transformers import BertConfig, BertForMaskedLM

import ultra_blocks.hf  # noqa: F401  registers our classes
from ultra_blocks.config import UltraConfig
from ultra_train.tasks.mlm.models import new_model
from ultra_train.tokenizer.loading import load_tokenizer
from ultra_train.tokenizer.training import train_tokenizer

WIDTH, LAYERS = 256, 4


def bases(work: Work, pieces: int) -> dict[str, Path]:
    """Write the base models, with one tokenizer of the texts, and return their folders."""
    rows = work.read()
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
    parser.add_argument("--only", default="", help="sides with this in their names, such as 'splade, bert'")
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
            for task in TASKS:
                sides[f"{task}, {base}: ultra"] = Ultra(work, folder, task)
                sides[f"{task}, {base}: library"] = Library(work, folder, task)
        chosen = {name: side for name, side in sides.items() if options.only in name}
        figures = harness.interleave(chosen, options.rounds)
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
