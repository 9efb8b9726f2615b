"""The peers of ``mlm.py``: what run_mlm trains, with transformers' own Trainer, models and collators."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Sequence

from transformers import (
    BertConfig,
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

HIDDEN, LAYERS, HEADS, LENGTH, RATE = 256, 4, 4, 512, 0.15
MLP_WIDTH, GLU_WIDTH = 1152, 768  # 2 x 1152 = 3 x 768: the same multiply-adds in every FFN


def bert(vocab_size: int) -> PreTrainedModel:
    return BertForMaskedLM(
        BertConfig(
            vocab_size=vocab_size, hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
            intermediate_size=MLP_WIDTH, max_position_embeddings=LENGTH, pad_token_id=0,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )
    )  # fmt: skip


def modernbert(vocab_size: int) -> PreTrainedModel:
    return ModernBertForMaskedLM(
        ModernBertConfig(
            vocab_size=vocab_size, hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
            intermediate_size=GLU_WIDTH, max_position_embeddings=LENGTH, sparse_prediction=True,
            pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3,
        )
    )  # fmt: skip


WARM_UP = 3
"""Updates before the clock starts: memory is allocated and kernels are chosen in the first ones."""


class Stopwatch(TrainerCallback):
    """Takes the time of the updates after those that warm up, and of the start until the first one's end."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.marks: list[float] = []

    def on_step_end(self, args, state, control, **kwargs):
        self.marks.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        return self.marks[-1] - self.marks[WARM_UP - 1]

    @property
    def start_up(self) -> float:
        return self.marks[0] - self.began


class Counting:
    """A collator that counts the real tokens that went through it."""

    def __init__(self, collator) -> None:
        self.collator = collator
        self.batches: list[int] = []

    def __call__(self, features):
        self.batches.append(sum(len(f["input_ids"]) for f in features))
        return self.collator(features)


def group_texts(documents: Sequence[Sequence[int]], length: int) -> list[list[int]]:
    """Concatenate the documents and cut full rows, as run_mlm does."""
    stream = list(itertools.chain.from_iterable(documents))
    return [stream[i : i + length] for i in range(0, len(stream) - length + 1, length)]


class PeerSide:
    """One peer: trains a few updates and returns real tokens a second of the timed ones."""

    def __init__(
        self, model, tokenizer, rows, *, batch_size: int, accumulation: int, updates: int, seed: int
    ) -> None:
        self.model, self.tokenizer, self.rows = model, tokenizer, rows
        self.batch_size, self.accumulation, self.updates = batch_size, accumulation, updates
        self.seed, self.start_up = seed, 0.0

    def __call__(self) -> float:
        watch = Stopwatch()
        collator = Counting(DataCollatorForLanguageModeling(self.tokenizer, mlm_probability=RATE))
        arguments = TrainingArguments(
            output_dir=tempfile.mkdtemp(), use_cpu=True, max_steps=self.updates + WARM_UP, seed=self.seed,
            per_device_train_batch_size=self.batch_size, gradient_accumulation_steps=self.accumulation,
            learning_rate=1e-4, max_grad_norm=1.0, optim="adamw_torch_fused", report_to=[],
            save_strategy="no", logging_strategy="no", disable_tqdm=True, dataloader_num_workers=0,
            remove_unused_columns=False,
        )  # fmt: skip
        rows = [{"input_ids": row} for row in self.rows]
        Trainer(self.model, arguments, train_dataset=rows, data_collator=collator, callbacks=[watch]).train()
        self.start_up = watch.start_up
        timed = collator.batches[self.accumulation * WARM_UP : self.accumulation * (self.updates + WARM_UP)]
        return sum(timed) / watch.seconds
