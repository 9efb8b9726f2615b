"""Logits, losses and gradients of all heads do not depend on padding, nor on what a row is packed with."""

from __future__ import annotations

import pytest
import torch

from support.hf_models import make
from ultra_blocks.hf import (
    UltraForMaskedLM,
    UltraForMultipleChoice,
    UltraForQuestionAnswering,
    UltraForSequenceClassification,
    UltraForTokenClassification,
)

BLOCKS = {"layer_pattern": ["standard_attn", "mamba"]}
TEXTS = [torch.tensor(ids) for ids in ([5, 6, 7, 8], [9, 10, 11], [12, 13, 14, 15, 16, 17])]
CLASSES = torch.tensor([1, 0, 1])
TAGS = [torch.tensor(tags) for tags in ([0, 1, -100, 0], [-100, 1, 0], [1, 1, 0, -100, 0, 1])]


def rows(parts, left, filler):
    """Sequences as rows of 9 columns, behind ``left`` columns of padding."""
    whole = torch.full((len(parts), 9), filler)
    for row, part in zip(whole, parts, strict=True):
        row[left : left + len(part)] = part
    return whole


def padded(left):
    mask = rows([torch.ones_like(ids) for ids in TEXTS], left, 0)
    return {"input_ids": rows(TEXTS, left, 3), "attention_mask": mask}


def packed():
    documents = torch.arange(3).repeat_interleave(torch.tensor([len(ids) for ids in TEXTS]))
    return {"input_ids": torch.cat(TEXTS)[None], "document_ids": documents[None]}


def computed(model, calls, num_items=None):
    """The sum of the losses of several batches, and its gradients."""
    shared = {} if num_items is None else {"num_items_in_batch": num_items}
    model.zero_grad()
    loss = sum(model(**call, **shared).loss for call in calls)
    loss.backward()
    return [loss.detach(), *(p.grad.clone() for p in model.parameters())]


def assert_equal(model, alone, batches, num_items):
    expected = computed(model, alone, num_items)
    for batch in batches:
        for found, wanted in zip(computed(model, [batch]), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_sequence_classification(pooling):
    model = make(UltraForSequenceClassification, **BLOCKS).double().train()
    model.config.classifier_pooling = pooling
    alone = [{"input_ids": ids[None], "labels": CLASSES[i : i + 1]} for i, ids in enumerate(TEXTS)]
    together = [{**inputs, "labels": CLASSES} for inputs in (padded(0), padded(3), packed())]
    assert_equal(model, alone, together, 3)


@pytest.mark.parametrize("cls", [UltraForTokenClassification, UltraForMaskedLM])
def test_token_classification_and_masked_language_modelling(cls):
    model = make(cls, **BLOCKS).double().train()
    alone = [{"input_ids": ids[None], "labels": TAGS[i][None]} for i, ids in enumerate(TEXTS)]
    together = [{**padded(left), "labels": rows(TAGS, left, -100)} for left in (0, 3)]
    together.append({**packed(), "labels": torch.cat(TAGS)[None]})
    assert_equal(model, alone, together, 10)


def test_question_answering():
    model = make(UltraForQuestionAnswering, **BLOCKS).double().train()
    first, last = torch.tensor([1, 0, 2]), torch.tensor([2, 0, 5])
    alone = [
        {"input_ids": ids[None], "start_positions": first[i : i + 1], "end_positions": last[i : i + 1]}
        for i, ids in enumerate(TEXTS)
    ]
    expected = [x / 3 for x in computed(model, alone)]
    for left in (0, 3):
        batch = {**padded(left), "start_positions": first + left, "end_positions": last + left}
        for found, wanted in zip(computed(model, [batch]), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)
        answers = model(**padded(left)).start_logits.argmax(1)
        assert padded(left)["attention_mask"].gather(1, answers[:, None]).all(), "no answer in padding"
    logits = torch.cat([model(ids[None]).end_logits[0] for ids in TEXTS])
    torch.testing.assert_close(model(**packed()).end_logits[0], logits)
    with pytest.raises(ValueError, match="document_ids is not supported here: start_positions and end"):
        model(**packed(), start_positions=first, end_positions=last)


def test_multiple_choice():
    model = make(UltraForMultipleChoice, **BLOCKS).double().train()
    logits = torch.stack([model(ids[None, None]).logits[0, 0] for ids in TEXTS])
    torch.nn.functional.cross_entropy(logits[None], CLASSES[:1]).backward()
    expected = [p.grad.clone() for p in model.parameters()]
    for left in (0, 3):
        call = {name: tensor[None] for name, tensor in padded(left).items()}
        torch.testing.assert_close(model(**call).logits[0], logits, rtol=1e-9, atol=1e-11)
        for found, wanted in zip(
            computed(model, [{**call, "labels": CLASSES[:1]}])[1:], expected, strict=True
        ):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)
    with pytest.raises(ValueError, match="seq_idx is not supported here: every choice is a row of its own"):
        model(TEXTS[0][None, None], seq_idx=torch.zeros(1, 4))
