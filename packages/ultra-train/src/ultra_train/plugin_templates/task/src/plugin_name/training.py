"""A run of the task ``plugin_name``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Trainer
from ultra_blocks.hf import UltraHFConfig, UltraModel
from ultra_train.data.batches.examples import ExampleBatches, ExampleLoader
from ultra_train.tasks.base import TaskRun
from ultra_train.tasks.texts import check_all_is_here, texts_of_run, tokenizer_of_run
from ultra_train.trainer.mixin import UltraTrainerMixin

from plugin_name.task import PluginNameOptions


class Classifier(nn.Module):
    """An encoder, and two classes over the state of its first token: 0 in order, 1 shuffled."""

    def __init__(self, config: UltraHFConfig) -> None:
        super().__init__()
        self.encoder = UltraModel(config)
        self.classes = nn.Linear(config.hidden_size, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return loss and logits ``(B, 2)`` for rows ``(B, T)`` and labels ``(B,)``."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        logits = self.classes(states[:, 0])
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class ClassifierTrainer(UltraTrainerMixin, Trainer):
    """The Hugging Face trainer with everything that ultra adds to it."""


def accuracy(prediction: Any) -> dict[str, float]:
    """Return the share of the texts that are recognised."""
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


class ShuffledRun(TaskRun[PluginNameOptions]):
    """Texts are read into memory; whether one is shuffled is drawn from seed, epoch and index."""

    trainer_class: ClassVar[type[UltraTrainerMixin]] = ClassifierTrainer

    def prepare(self) -> None:
        """Train or load the tokenizer, and read the texts."""
        check_all_is_here(self.preset)
        self.tokenizer = tokenizer_of_run(self)
        fewest = self.options.fewest_words
        self.texts = [words for text in texts_of_run(self) if len(words := text.split()) >= fewest]
        self.num_held_out = round(self.preset.training.eval_fraction * len(self.texts))
        self.say(f"data: {len(self.texts):,} texts, {self.num_held_out:,} of them held out")

    def build_model(self) -> nn.Module:
        """Return a fresh encoder with a classifier."""
        assert self.preset.model is not None, "a preset with a base model has no fresh encoder"
        pad = self.tokenizer.pad_token_id
        return Classifier(UltraHFConfig.from_ultra(self.preset.model, pad_token_id=pad))

    def batches(self, texts: Sequence[list[str]], **options: Any) -> ExampleBatches:
        """Return batches of texts, some of which are shuffled."""
        seed = self.preset.training.seed

        def example(epoch: int, index: int) -> tuple[str, bool]:
            draw, words = np.random.default_rng((seed, epoch, index)), texts[index]
            shuffled = bool(draw.random() < self.options.shuffle_probability)
            return " ".join(draw.permutation(words) if shuffled else words), shuffled

        def collate(epoch: int, indices: Sequence[int]) -> dict[str, Tensor]:
            rows, labels = zip(*(example(epoch, index) for index in indices), strict=True)
            tokens = self.tokenizer(
                list(rows),
                padding=True,
                truncation=True,
                max_length=self.options.max_length,
                return_tensors="pt",
            )
            return {
                "input_ids": tokens.input_ids,
                "attention_mask": tokens.attention_mask,
                "labels": torch.tensor(labels).long(),
            }

        size = self.preset.training.batch_size
        return ExampleBatches(len(texts), collate, batch_size=size, seed=seed, **options)

    def evaluation(self) -> ExampleBatches | None:
        """Return the texts that are held out, shuffled the same way every time."""
        held_out = self.texts[: self.num_held_out]
        return self.batches(held_out, shuffle=False) if held_out else None

    def loader(self) -> ExampleLoader:
        """Return the texts to train on."""
        others = self.texts[self.num_held_out :]
        return ExampleLoader(self.batches(others))

    def facts(self) -> Mapping[str, Any]:
        """Return a fingerprint of the texts, which a resumed run compares."""
        return {"data": hashlib.sha256(repr(self.texts).encode()).hexdigest()}

    def trainer_options(self) -> Mapping[str, Any]:
        """Return the metric."""
        return {"compute_metrics": accuracy}

    def save(self, trainer: Any, folder: Path) -> None:
        """Write encoder, classifier and tokenizer."""
        trainer.save_model(str(folder))
