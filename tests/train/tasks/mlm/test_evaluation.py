from __future__ import annotations

import math
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ultra_train.system.processes import Processes
from ultra_train.tasks.mlm.evaluation import MLMTrainer, most_frequent_token


class Shards:
    """Documents of token ids."""

    def __init__(self, *documents):
        self.documents = documents

    def __len__(self):
        return len(self.documents)

    def gather(self, indices):
        chosen = [np.asarray(self.documents[i]) for i in indices]
        return np.concatenate(chosen), np.array([len(c) for c in chosen])


def test_the_most_frequent_token_is_never_a_special_one():
    class Tokenizer:
        all_special_ids = (0, 1)

        def __len__(self):
            return 9

        def get_vocab(self):
            return {str(i): i for i in (*range(8), 9)}  # no token has the id 8

    assert most_frequent_token(Shards([0, 5, 1], [0, 5, 1], [0, 7, 1]), Tokenizer()) == 5
    assert most_frequent_token(Shards([0, 9, 1], [0, 9, 1], [0, 7, 1]), Tokenizer()) == 9


class Head:
    """Gives every masked token the same logits."""

    def __init__(self, scores):
        self.scores = scores

    def logits(self, model, inputs):
        labels = inputs["labels"]
        return self.scores.expand(*labels.shape, 3)[labels != -100], labels[labels != -100]


def test_evaluation_is_over_tokens_not_over_batches():
    """A batch with one masked token weighs a third of one with three."""
    batches = [
        {"input_ids": torch.zeros(1, 2, dtype=torch.long), "labels": torch.tensor([[0, -100]])},
        {"input_ids": torch.zeros(1, 3, dtype=torch.long), "labels": torch.tensor([[1, 1, 2]])},
    ]
    shared = SimpleNamespace(share=lambda here, evenly: iter(batches))
    trainer = SimpleNamespace(
        model=nn.Module(),
        head=Head(torch.log(torch.tensor([0.7, 0.2, 0.1]))),
        args=SimpleNamespace(device="cpu"),
        frequent_token=1,
        here=Processes(),
        sharded=False,
        _prepare_inputs=lambda batch: batch,
        compute_loss_context_manager=nullcontext,
        accelerator=SimpleNamespace(autocast=nullcontext, reduce=lambda sums, how: sums),
    )
    metrics, count = MLMTrainer.held_out_metrics(trainer, shared)
    expected = -(math.log(0.7) + 2 * math.log(0.2) + math.log(0.1)) / 4
    assert metrics["loss"] == pytest.approx(expected)
    assert metrics["perplexity"] == pytest.approx(math.exp(expected))
    assert metrics["accuracy"] == 0.25
    assert metrics["unigram_accuracy"] == 0.5
    assert count == 4


def test_labels_are_drawn_from_the_predictions_at_masked_positions_alone():
    scores = torch.tensor([[0.0, 60.0, 0.0], [9.0, 9.0, 9.0], [60.0, 0.0, 0.0]], requires_grad=True)
    labels = torch.tensor([[2, -100, 2]])  # never drawn: their probability is 1e-26
    trainer = SimpleNamespace(head=Head(scores))
    loss, count = MLMTrainer.sampled_loss(trainer, nn.Module(), {"input_ids": labels, "labels": labels})
    assert count == 2
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    loss.backward()
    assert scores.grad is not None
    assert torch.equal(scores.grad[1], torch.zeros(3))
