"""The pipelines of transformers give what the models compute."""

from __future__ import annotations

import pytest
import torch
import transformers

from support.hf_models import make
from ultra_blocks.hf import (
    UltraForMaskedLM,
    UltraForSequenceClassification,
    UltraForTokenClassification,
    UltraModel,
)

TEXTS = ["a b c d e", "f", "g h"]


@pytest.fixture
def run(words):
    """Run texts of several lengths through a pipeline, in one padded batch."""

    def run(task, model, texts=TEXTS, labels=(), **options):
        if labels:
            model.config.id2label = dict(enumerate(labels))
            model.config.label2id = {label: i for i, label in enumerate(labels)}
        pipe = transformers.pipeline(task, model=model, tokenizer=words, device="cpu", batch_size=3)
        return pipe(texts, **options)

    return run


@pytest.fixture
def alone(words):
    """The output of a model for one text without padding."""

    @torch.no_grad()
    def alone(model, *texts):
        return model(**words(*texts, return_tensors="pt"))

    return alone


def test_feature_extraction(run, alone):
    model = make(UltraModel)
    for found, text in zip(run("feature-extraction", model), TEXTS, strict=True):
        states = torch.tensor(found)[:, : len(text.split())]
        torch.testing.assert_close(states, alone(model, text).last_hidden_state)


def test_fill_mask(run, alone, words):
    model, texts = make(UltraForMaskedLM), ["a b [MASK] d e", "[MASK]"]
    for found, text, place in zip(run("fill-mask", model, texts, top_k=13), texts, (2, 0), strict=True):
        scores = alone(model, text).logits[0, place].softmax(-1)
        best = scores.topk(13).indices.tolist()
        assert [one["token"] for one in found] == best
        assert [one["score"] for one in found] == pytest.approx(scores[best].tolist())


def test_text_classification(run, alone):
    model = make(UltraForSequenceClassification)
    for found, text in zip(run("text-classification", model, labels=["no", "yes"]), TEXTS, strict=True):
        scores = alone(model, text).logits[0].softmax(-1)
        assert found["label"] == ["no", "yes"][scores.argmax()]
        assert found["score"] == pytest.approx(scores.max().item())
    model.config.problem_type = "multi_label_classification"
    for found, text in zip(run("text-classification", model, top_k=None), TEXTS, strict=True):
        scores = alone(model, text).logits[0].sigmoid()
        expected = {"no": scores[0].item(), "yes": scores[1].item()}
        assert {one["label"]: one["score"] for one in found} == pytest.approx(expected)


def test_zero_shot_classification(run, alone, words):
    model = make(UltraForSequenceClassification)
    options = {"candidate_labels": ["f", "g", "h"], "hypothesis_template": "{}"}
    labels = ["contradiction", "entailment"]
    found = run("zero-shot-classification", model, ["a b"], labels, **options)[0]
    logits = torch.stack([alone(model, "a b", label).logits[0, 1] for label in found["labels"]])
    assert sorted(found["labels"]) == ["f", "g", "h"]
    assert found["scores"] == pytest.approx(logits.softmax(0).tolist())


def test_token_classification(run, alone):
    model = make(UltraForTokenClassification)
    found = run("token-classification", model, labels=["B-X", "I-X"])
    for text, entities in zip(TEXTS, found, strict=True):
        scores = alone(model, text).logits[0].softmax(-1)
        assert [one["word"] for one in entities] == text.split()
        assert [one["entity"] for one in entities] == [["B-X", "I-X"][i] for i in scores.argmax(-1)]
        assert [one["score"] for one in entities] == pytest.approx(scores.amax(-1).tolist())
