"""A run of the task ``sentence_order``."""

import hashlib
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from transformers import Trainer

from ultra_blocks.hf import UltraHFConfig, UltraModel
from ultra_train.data.batches.examples import ExampleBatches, ExampleLoader
from ultra_train.tasks.base import TaskRun
from ultra_train.tasks.texts import check_all_is_here, texts_of_run, tokenizer_of_run
from ultra_train.trainer.mixin import UltraTrainerMixin


class OrderModel(nn.Module):
    """An encoder, and a classifier over the state of its first token."""

    def __init__(self, config):
        super().__init__()
        self.encoder, self.classifier = UltraModel(config), nn.Linear(config.hidden_size, 2)

    def forward(self, input_ids, attention_mask, labels):
        """Return loss and logits (B, 2) for rows (B, T); label 1 means the wrong order."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        logits = self.classifier(states[:, 0])
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class OrderTrainer(UltraTrainerMixin, Trainer):
    """The Hugging Face trainer with everything that ultra adds to it."""


def accuracy(prediction):
    """Return the share of the pairs whose order is recognised."""
    return {"order_accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


class OrderRun(TaskRun):
    """Sentences end with a full stop; those that follow each other in a text are a pair."""

    trainer_class = OrderTrainer

    def prepare(self):
        """Train or load the tokenizer, and read the pairs."""
        check_all_is_here(self.preset)
        self.tokenizer = tokenizer_of_run(self)
        texts = ([part.strip() for part in text.split(".") if part.strip()] for text in texts_of_run(self))
        self.pairs = [pair for sentences in texts for pair in pairwise(sentences)]
        self.num_held_out = int(self.preset.training.eval_fraction * len(self.pairs))
        self.say(f"data: {len(self.pairs):,} pairs of sentences, {self.num_held_out:,} held out")

    def build_model(self):
        """Return a fresh encoder with a classifier."""
        pad = self.tokenizer.pad_token_id
        return OrderModel(UltraHFConfig.from_ultra(self.preset.model, pad_token_id=pad))

    def batches(self, pairs, **options):
        """Return batches in which a draw from seed, epoch and index decides whether a pair is swapped."""
        tokenizer, training = self.tokenizer, self.preset.training

        def ids(sentence):
            found = tokenizer(sentence, add_special_tokens=False).input_ids
            return found[: self.options.max_sentence_length]

        def row(first, second):
            cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
            return [cls, *ids(first), sep, *ids(second), sep]

        def collate(epoch, indices):
            draws = [np.random.default_rng((training.seed, epoch, index)).random() for index in indices]
            swapped = [draw < self.options.swap_probability for draw in draws]
            rows = [row(*pairs[i][:: -1 if swap else 1]) for i, swap in zip(indices, swapped, strict=True)]
            padded = tokenizer.pad({"input_ids": rows}, return_tensors="pt")
            labels = torch.tensor(swapped).long()
            return {"input_ids": padded.input_ids, "attention_mask": padded.attention_mask, "labels": labels}

        size = training.batch_size
        return ExampleBatches(len(pairs), collate, batch_size=size, seed=training.seed, **options)

    def evaluation(self):
        """Return the pairs that are held out, swapped the same way every time."""
        held_out = self.pairs[: self.num_held_out]
        return self.batches(held_out, shuffle=False) if held_out else None

    def loader(self):
        """Return the pairs to train on."""
        return ExampleLoader(self.batches(self.pairs[self.num_held_out :]))

    def facts(self):
        """Return a fingerprint of the pairs."""
        return {"data": hashlib.sha256(repr(self.pairs).encode()).hexdigest()}

    def trainer_options(self):
        """Return the metric."""
        return {"compute_metrics": accuracy}

    def save(self, trainer, folder):
        """Write encoder, classifier and tokenizer."""
        trainer.save_model(str(folder))
