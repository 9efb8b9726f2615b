"""The sides of ``quality.py``, and how all of them are judged."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import mlm_peers
import numpy as np
import torch
from transformers import (
    AutoModelForMaskedLM,
    DataCollatorForLanguageModeling,
    ModernBertConfig,
    ModernBertForMaskedLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import ultra_blocks.hf  # noqa: F401  registers our classes
from ultra_core.plugins.hooks import hookimpl, plugin_manager
from ultra_train.config import load_preset
from ultra_train.data.batches.batch_plan import BatchPlan
from ultra_train.data.batches.masking import MLMCollator
from ultra_train.data.sources.data_source import read_sources
from ultra_train.data.sources.texts import TextReader
from ultra_train.data.token_cache.build import prepare
from ultra_train.run.execution import execute
from ultra_train.tokenizer.loading import load_tokenizer
from ultra_train.tokenizer.training import train_tokenizer

PIECES, LENGTH, TOKENS, MASK_RATE = 16_000, 512, 2048, 0.15
TRIAL = 40
"""Updates of the run that measures how long one takes."""

CHOICES = {
    "mask rate 0.45": f"training.mlm_probability={MASK_RATE}",
    "mamba in every other layer": "model.layer_pattern=[standard_attn]",
    "an FFN of 512": f"model.ffn_hidden_size={mlm_peers.MLP_WIDTH}",
    "turbo_muon": "training.optimizer={optimizer_class: adamw, parameters: {adamw-lr: 1.0e-3}}",
}
"""The choices of the preset, and what the baseline has instead of each."""


def steps() -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the baseline, the baseline with one more choice of the preset at a time, and the preset."""
    instead = dict(CHOICES)
    yield "baseline", tuple(instead.values())
    for choice in CHOICES:
        del instead[choice]
        yield f"+ {choice}" if instead else "es_small_cpu", tuple(instead.values())


def tokenizer(folder: Path) -> Path:
    """Train the tokenizer that all sides share, once, and return its folder."""
    if not (folder / "tokenizer" / "tokenizer.json").exists():
        train_tokenizer(
            TextReader().texts(str(folder / "train.txt")), vocab_size=PIECES, output_dir=folder / "tokenizer"
        )
    return folder / "tokenizer"


class Clock(TrainerCallback):
    """Ends a run when its time is over, and measures the time of an update after a few."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.marks: list[float] = []

    def on_train_begin(self, args, state, control, **kwargs):
        self.begun = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        self.marks.append(time.perf_counter())
        if self.marks[-1] - self.begun >= self.seconds:
            control.should_training_stop = True

    @property
    def per_update(self) -> float:
        timed = np.diff(self.marks[3:])
        return float(timed.mean())


@attrs.frozen
class Ultra:
    """The preset ``es_small_cpu`` with changes."""

    changes: Sequence[str]

    def train(self, folder: Path, clock: Clock, updates: int) -> tuple[Path, int, int]:
        """Train, and return the folder of the model, its updates and its tokens."""
        preset = load_preset(
            "es_small_cpu",
            [
                f"training.dataset={folder / 'train.txt'}", f"training.cache_dir={folder / 'tokens'}",
                f"tokenizer={{name_or_path: {folder / 'tokenizer'}}}",
                f"training.scheduler_total_steps={updates}", f"training.max_steps={updates}",
                "training.eval_fraction=0.0", "training.report_to=[]", *self.changes,
            ],
        )  # fmt: skip
        watch = Watch(clock)
        manager = plugin_manager()
        manager.register(watch)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                run = execute(preset, output_dir=tempfile.mkdtemp(), device="cpu")
        finally:
            manager.unregister(watch)
        trainer = watch.run.trainer
        return run / "model", trainer.state.global_step, trainer.tokens_seen


class Watch:
    """Adds the clock to a run."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    @hookimpl
    def ultra_callbacks(self, run):
        self.run = run
        return [self.clock]


@attrs.frozen
class ModernBert:
    """ModernBERT of the same width and depth, as run_mlm trains it."""

    rate: float

    def train(self, folder: Path, clock: Clock, updates: int) -> tuple[Path, int, int]:
        """Train, and return the folder of the model, its updates and its tokens."""
        words = load_tokenizer(folder / "tokenizer")
        shards, _ = prepare(
            read_sources(str(folder / "train.txt")), words, max_length=LENGTH,
            cache_dir=folder / "tokens", eval_fraction=0.0,
        )  # fmt: skip
        rows = mlm_peers.group_texts([shards.document(i).tolist() for i in range(len(shards))], LENGTH)
        torch.manual_seed(0)
        model = ModernBertForMaskedLM(
            ModernBertConfig(
                vocab_size=len(words), hidden_size=256, num_hidden_layers=4, num_attention_heads=4,
                intermediate_size=mlm_peers.GLU_WIDTH, max_position_embeddings=LENGTH, sparse_prediction=True,
                pad_token_id=words.pad_token_id, cls_token_id=words.cls_token_id,
                sep_token_id=words.sep_token_id, bos_token_id=words.cls_token_id,
                eos_token_id=words.sep_token_id,
            )
        )  # fmt: skip
        output = tempfile.mkdtemp()
        arguments = TrainingArguments(
            output_dir=output, use_cpu=True, max_steps=updates, per_device_train_batch_size=TOKENS // LENGTH,
            learning_rate=self.rate, lr_scheduler_type="linear", warmup_steps=max(1, updates // 20),
            max_grad_norm=1.0, optim="adamw_torch_fused", weight_decay=0.01, report_to=[],
            save_strategy="no", logging_strategy="no", disable_tqdm=True, remove_unused_columns=False,
        )  # fmt: skip
        trainer = Trainer(
            model,
            arguments,
            train_dataset=[{"input_ids": row} for row in rows],
            data_collator=DataCollatorForLanguageModeling(words, mlm_probability=MASK_RATE),
            callbacks=[clock],
        )
        with contextlib.redirect_stdout(io.StringIO()):
            trainer.train()
        trainer.save_model(output)
        return Path(output), trainer.state.global_step, trainer.state.global_step * TOKENS


Arm = Ultra | ModernBert


def run(arm: Arm, folder: Path, minutes: float, threads: int) -> dict[str, float]:
    """Measure the time of an update, train for the given time, and judge the model."""
    torch.set_num_threads(threads)
    trial = Clock(float("inf"))
    arm.train(folder, trial, TRIAL)
    updates = max(TRIAL, int(60 * minutes / trial.per_update))
    model, done, tokens = arm.train(folder, Clock(60 * minutes), updates)
    return {**judged(model, folder), "updates": done, "tokens": tokens}


@torch.inference_mode()
def judged(folder: Path, data: Path) -> dict[str, float]:
    """Return the mean loss at the masked positions of the held-out paragraphs, each on its own."""
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    words = load_tokenizer(data / "tokenizer")
    shards, _ = prepare(
        read_sources(str(data / "held_out.txt")), words, max_length=LENGTH, cache_dir=data / "tokens",
        eval_fraction=0.0,
    )  # fmt: skip
    plan = BatchPlan(shards, batch_size=8, max_length=LENGTH, shuffle=False)
    collate = MLMCollator(shards, words, mlm_probability=MASK_RATE, seed=0)
    total, right, count = 0.0, 0, 0
    for index in range(plan.batches(0)):
        batch = collate(plan.batch(0, index))
        labels = batch.pop("labels")
        wanted = labels != -100
        logits = model(**batch).logits[wanted].float()
        total += float(torch.nn.functional.cross_entropy(logits, labels[wanted], reduction="sum"))
        right += int((logits.argmax(-1) == labels[wanted]).sum())
        count += int(wanted.sum())
    size = sum(p.numel() for p in model.parameters())
    return {"loss": total / count, "accuracy": right / count, "parameters": size}
