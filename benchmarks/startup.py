"""What it takes to begin: the command line against the imports that transformers' users wait for.

    python benchmarks/startup.py

Whole processes, in turn in the same rounds, medians of the wall time; every side imports compiled bytecode.

* ``fill-mask`` guesses one masked word with the model of a short run of ``quickstart``; beside it, Python
  imports ``AutoModelForMaskedLM`` and ``AutoTokenizer`` and does the same with a BERT of the same size.
* ``run`` begins the preset ``quickstart``, whose tokenizer and token cache exist, and is stopped when the
  metrics of the first update are written; beside it, Python imports transformers' ``Trainer`` and does
  nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import harness

TEXT = "abre la [MASK] del garaje"
ULTRA = [sys.executable, "-m", "ultra_train"]
TRAIN = [*ULTRA, "run", "quickstart", "--device", "cpu", "--set", "training.eval_fraction=0.0"]
ONE_UPDATE = ["--set", "training.max_steps=1"]

IMPORT_TRAINER = "from transformers import AutoModelForMaskedLM, AutoTokenizer, Trainer, TrainingArguments"
IMPORT_MODELS = "from transformers import AutoModelForMaskedLM, AutoTokenizer"
GUESS = f"""
import torch
{IMPORT_MODELS}
model, tokenizer = AutoModelForMaskedLM.from_pretrained("bert"), AutoTokenizer.from_pretrained("bert")
batch = tokenizer({TEXT!r}, return_tensors="pt", return_token_type_ids=False)
with torch.inference_mode():
    logits = model.eval()(**batch).logits[batch["input_ids"] == tokenizer.mask_token_id]
print(tokenizer.convert_ids_to_tokens(logits[0].topk(5).indices.tolist()))
"""


def prepare(folder: Path) -> None:
    """Leave a finished run, and a BERT of the same size with the same tokenizer."""
    call(folder, *TRAIN, *ONE_UPDATE, "--name", "finished")
    from transformers import BertConfig, BertForMaskedLM
    from transformers.utils import logging

    from ultra_train.tokenizer.loading import load_tokenizer

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tokenizer = load_tokenizer(folder / "runs" / "finished" / "model")
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=128, num_hidden_layers=4, num_attention_heads=4,
        intermediate_size=512, max_position_embeddings=64,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")


def call(folder: Path, *command: str) -> float:
    """Return the wall time of a command in seconds."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def first_update(folder: Path) -> float:
    """Return the seconds from the start of ``ultra-train run`` to the metrics of its first update."""
    run = folder / "runs" / "timed"
    shutil.rmtree(run, ignore_errors=True)
    start = time.perf_counter()
    process = subprocess.Popen(
        [*TRAIN, "--name", "timed"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    metrics = run / "metrics.jsonl"
    while not (metrics.exists() and '"step": 1,' in metrics.read_text()):
        if process.poll() is not None:
            sys.exit(f"{' '.join(TRAIN)} ended with {process.returncode} before its first update")
        time.sleep(0.01)
    seconds = time.perf_counter() - start
    process.kill()
    process.wait()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        prepare(folder)
        sides: dict[str, Callable[[], float]] = {
            "import models": lambda: call(folder, sys.executable, "-c", IMPORT_MODELS),
            "transformers, one guess": lambda: call(folder, sys.executable, "-c", GUESS),
            "ultra-train fill-mask": lambda: call(folder, *ULTRA, "fill-mask", "runs/finished", TEXT),
            "import Trainer": lambda: call(folder, sys.executable, "-c", IMPORT_TRAINER),
            "ultra-train run, first update": lambda: first_update(folder),
        }
        figures = harness.interleave(sides, options.rounds)
    medians = {side: harness.median(values) for side, values in figures.items()}
    print(
        harness.table(
            ["side", "seconds", "spread"],
            [[side, f"{medians[side]:.2f}", harness.spread(values)] for side, values in figures.items()],
        )
    )
    guess = medians["ultra-train fill-mask"] / medians["transformers, one guess"]
    update = medians["ultra-train run, first update"] / medians["import Trainer"]
    print(f"\nfill-mask takes {guess:.2f} times as long as the same guess with transformers;")
    print(f"the first update comes after {update:.2f} times the imports of transformers' Trainer.")


if __name__ == "__main__":
    main()
