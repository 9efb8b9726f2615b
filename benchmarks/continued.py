"""Continued masked-language-model training of transformers' models side by side: ultra and run_mlm's way.

    python benchmarks/continued.py

Tokens a second through the whole trainer step (forward, backward, clip, optimizer), and the peak memory
of the process above what it held before the model was made. Both sides train the same model from the same
weights on the same batches with the same masks, without dropout, with fused AdamW, each in a process of its
own, in turn, medians:

* ``run_mlm``: transformers' Trainer, whose model computes logits and loss at all positions;
* ``ultra``: the trainer of the task ``mlm``, which feeds the head of any model the masked positions only.

Shapes: ``xlm-roberta`` (256 wide, 4 layers, 250,002 pieces), ``bert`` (the same with 30,522) and
``bert-base`` (768 wide, 12 layers, 30,522). The losses of the first update of both sides must agree.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; read when torch is imported

import harness
import torch
from torch import Tensor

LENGTH, RATE, MASK, WARM_UP = 256, 0.15, 4, 2
SMALL = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
SHAPES = {
    "xlm-roberta": {
        **SMALL, "model": "xlm-roberta", "vocab_size": 250_002, "max_position_embeddings": 514,
        "pad_token_id": 1, "type_vocab_size": 1,
    },
    "bert": {**SMALL, "model": "bert", "vocab_size": 30_522},
    "bert-base": {"model": "bert", "vocab_size": 30_522},
}  # fmt: skip
CLAIMS = {"xlm-roberta": (2.0, 0.4), "bert": (1.2, 1.0)}
"""At least so many times the tokens a second, at no more than this share of the peak memory; nothing is
claimed of ``bert-base``, where multiply-adds allow 1.2 times."""


def batches(vocab_size: int, rows: int, updates: int) -> list[dict[str, Tensor]]:
    """Make full rows of tokens, 15 % of them to be predicted, 80 % of these masked and 10 % another token."""
    made = []
    for seed in range(updates):
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(5, vocab_size, (rows, LENGTH), generator=generator)
        chosen = torch.rand(ids.shape, generator=generator) < RATE
        fate = torch.rand(ids.shape, generator=generator)
        other = torch.randint(5, vocab_size, ids.shape, generator=generator)
        inputs = torch.where(chosen & (fate < 0.8), MASK, ids)
        inputs = torch.where(chosen & (fate >= 0.9), other, inputs)
        labels = ids.masked_fill(~chosen, -100)
        made.append({"input_ids": inputs, "attention_mask": torch.ones_like(ids), "labels": labels})
    return made


def build_model(shape: str) -> torch.nn.Module:
    from transformers import AutoConfig, AutoModelForMaskedLM

    options = {**SHAPES[shape], "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    torch.manual_seed(0)
    return AutoModelForMaskedLM.from_config(AutoConfig.for_model(options.pop("model"), **options))


class Given:
    """A loader over batches that are there already."""

    def __init__(self, given: list[dict[str, Tensor]]) -> None:
        self.given, self.index = given, 0

    def __len__(self) -> int:
        return len(self.given)

    def state_dict(self) -> dict[str, int]:
        return {"epoch": 0, "index": self.index}

    def load_state_dict(self, state) -> None:
        self.index = state["index"]

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        while self.index < len(self.given):
            self.index += 1
            yield self.given[self.index - 1]


def one_side(side: str, shape: str, rows: int, accumulation: int, updates: int) -> dict[str, float]:
    """Train in this process and measure it."""
    from mlm_peers import Stopwatch
    from transformers import Trainer, TrainingArguments

    from ultra_train.tasks.mlm.evaluation import MLMTrainer
    from ultra_train.trainer.rollbacks import Rollbacks
    from ultra_train.trainer.settings import TrainerSettings
    from ultra_train.trainer.stream import EndlessBatches

    folder = Path(tempfile.mkdtemp())
    given = batches(SHAPES[shape]["vocab_size"], rows, (WARM_UP + updates) * accumulation)
    watch = Stopwatch()
    arguments = TrainingArguments(
        output_dir=str(folder), use_cpu=True, max_steps=WARM_UP + updates, learning_rate=1e-4,
        gradient_accumulation_steps=accumulation, max_grad_norm=1.0, optim="adamw_torch_fused", report_to=[],
        save_strategy="no", logging_steps=1, disable_tqdm=True, remove_unused_columns=False, seed=0,
        per_device_train_batch_size=1, lr_scheduler_type="constant", dataloader_pin_memory=False,
    )  # fmt: skip
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    model = build_model(shape)
    if side == "run_mlm":
        trainer = Trainer(
            model, arguments, train_dataset=given, data_collator=lambda items: items[0], callbacks=[watch]
        )
        trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(given)
    else:
        settings = TrainerSettings(
            stream=EndlessBatches(Given(given)),
            build_optimizer=lambda modules: torch.optim.AdamW(
                modules[0].parameters(), lr=1e-4, weight_decay=0.0, fused=True
            ),
            schedule=lambda step: 1.0,
            rollbacks=Rollbacks(folder / "rollbacks.json"),
            run_folder=folder,
        )
        trainer = MLMTrainer(
            model=model, args=arguments, settings=settings, frequent_token=5, callbacks=[watch]
        )
    trainer.train()
    seconds = watch.marks[-1] - watch.marks[WARM_UP - 1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    (loss,) = (line["loss"] for line in trainer.state.log_history if line.get("step") == 1 and "loss" in line)
    tokens = updates * accumulation * rows * LENGTH
    return {"rate": tokens / seconds, "peak": peak, "loss": loss}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--rows", type=int, default=8, help="rows of 256 tokens in a micro-batch")
    parser.add_argument("--accumulation", type=int, default=1, help="micro-batches of an update")
    parser.add_argument("--updates", type=int, default=3, help="timed updates of a side in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", choices=["run_mlm", "ultra"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    if options.side:
        (shape,) = options.shapes
        print(json.dumps(one_side(options.side, shape, options.rows, options.accumulation, options.updates)))
        return

    def run(side: str, shape: str) -> dict[str, float]:
        words = [
            "--side", side, "--shapes", shape, "--rows", options.rows, "--accumulation", options.accumulation,
            "--updates", options.updates, "--threads", options.threads,
        ]  # fmt: skip
        command = [sys.executable, __file__, *map(str, words)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return json.loads(done.stdout.splitlines()[-1])

    begun = time.perf_counter()
    table, claims = [], []
    for shape in options.shapes:
        figures: dict[str, list[dict[str, float]]] = {"run_mlm": [], "ultra": []}
        for _ in range(options.rounds):
            for side, measured in figures.items():
                measured.append(run(side, shape))
        first = {side: measured[0]["loss"] for side, measured in figures.items()}
        if abs(first["run_mlm"] - first["ultra"]) > 1e-4 * first["run_mlm"]:
            raise SystemExit(f"{shape}: the sides did other work; their first losses are {first}")
        medians = {
            side: {name: harness.median([one[name] for one in measured]) for name in ("rate", "peak")}
            for side, measured in figures.items()
        }
        speed = medians["ultra"]["rate"] / medians["run_mlm"]["rate"]
        memory = medians["ultra"]["peak"] / medians["run_mlm"]["peak"]
        for side, of_side in medians.items():
            table.append(
                [shape, side, f"{of_side['rate']:,.0f}", harness.spread([m["rate"] for m in figures[side]]),
                 f"{of_side['peak'] / 2**30:.2f}", f"{first[side]:.4f}",
                 f"{speed if side == 'ultra' else 1:.2f}", f"{memory if side == 'ultra' else 1:.0%}"]
            )  # fmt: skip
        if shape in CLAIMS:
            fastest, largest = CLAIMS[shape]
            kept = speed >= fastest and memory <= largest
            claims.append([shape, f">= {fastest}", f"<= {largest:.0%}", "yes" if kept else "NO"])
    print(
        f"{options.accumulation} x {options.rows} rows of {LENGTH} tokens an update, {options.threads} "
        f"threads; matmul {harness.matmul_rate() / 1e9:.1f} G multiply-adds/s; "
        f"{time.perf_counter() - begun:.0f} s\n"
    )
    header = ["shape", "side", "tokens/s", "spread", "peak GiB", "first loss", "x tokens/s", "of the peak"]
    print(harness.table(header, table))
    print()
    print(harness.table(["shape", "x tokens/s", "of the peak", "kept"], claims))


if __name__ == "__main__":
    main()
