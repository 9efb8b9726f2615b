from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModelForSequenceClassification

from support.hf_models import batch, make
from ultra_blocks.hf import UltraForMaskedLM, UltraForSequenceClassification


def inputs():
    given = batch()
    del given["labels"]
    return given


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (torch.tensor([0, 2, 1]), lambda logits, y: F.cross_entropy(logits, y)),
        (torch.eye(3), lambda logits, y: F.binary_cross_entropy_with_logits(logits, y)),
    ],
)
def test_classes_and_several_labels(labels, expected):
    model = make(UltraForSequenceClassification)
    model.config.num_labels = 3
    model.classifier.out_proj = nn.Linear(16, 3)
    output = model(**inputs(), labels=labels)
    assert output.logits.shape == (3, 3)
    torch.testing.assert_close(output.loss, expected(output.logits, labels))


def test_scores_with_the_losses_of_experts():
    model = make(UltraForSequenceClassification, use_moe=True).train()
    model.config.num_labels = 1
    model.classifier.out_proj = nn.Linear(16, 1)
    labels = torch.tensor([0.1, 0.5, 0.9])
    loss, logits = model(**inputs(), labels=labels, return_dict=False)
    balance = sum(model.model(**inputs()).losses.values())
    torch.testing.assert_close(loss, F.mse_loss(logits.squeeze(), labels) + balance)


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_padding_and_packing_do_not_change_the_logits(pooling):
    model = make(UltraForSequenceClassification, layer_pattern=["standard_attn", "mamba"])
    model.config.classifier_pooling = pooling
    given = inputs()
    together = model(**given).logits
    texts = [ids[mask] for ids, mask in zip(given["input_ids"], given["attention_mask"].bool(), strict=True)]
    for row, text in enumerate(texts):
        torch.testing.assert_close(model(text[None]).logits[0], together[row])
    model.model.unpad_inputs = True
    torch.testing.assert_close(model(**given).logits, together)
    packed = torch.cat([*texts, torch.tensor([0])])[None]
    documents = torch.arange(3).repeat_interleave(torch.tensor([len(text) for text in texts]))
    mask = torch.tensor([[1] * len(documents) + [0]])
    documents = torch.cat([documents, torch.tensor([9])])[None]
    labels = torch.tensor([0, 1, 1])
    found = model(packed, mask, document_ids=documents, labels=labels)
    torch.testing.assert_close(found.logits, together)
    torch.testing.assert_close(found.loss, F.cross_entropy(together, labels))


def test_accumulation_gives_the_mean_over_texts():
    model = make(UltraForSequenceClassification, use_moe=True).double().train()
    given, labels = inputs(), torch.tensor([0, 1, 1])
    whole = F.cross_entropy(model(**given).logits, labels)
    parts = 0
    for rows in (slice(0, 1), slice(1, 3)):
        part = {key: value[rows] for key, value in given.items()}
        balance = sum(model.model(**part).losses.values())
        loss = model(**part, labels=labels[rows], num_items_in_batch=torch.tensor(3)).loss
        parts += loss - balance * len(labels[rows]) / 3
    torch.testing.assert_close(parts, whole)


def test_the_encoder_of_a_masked_language_model_with_a_new_head(tmp_path):
    base = make(UltraForMaskedLM)
    base.save_pretrained(tmp_path / "base")
    torch.manual_seed(1)
    model, report = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "base", num_labels=4, output_loading_info=True
    )
    assert type(model) is UltraForSequenceClassification
    assert set(report["missing_keys"]) == {f"classifier.{name}" for name in model.classifier.state_dict()}
    assert not report["unexpected_keys"]
    for name, weight in base.model.state_dict().items():
        assert torch.equal(model.model.state_dict()[name], weight), name
    assert model.classifier.out_proj.weight.shape == (4, 16)
    assert model.classifier.dense.weight.std().item() == pytest.approx(0.2, rel=0.2), "initializer_range"
    assert not model.classifier.dense.bias.any()
    model.save_pretrained(tmp_path / "own")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "own").eval()
    assert torch.equal(again(**inputs()).logits, model.eval()(**inputs()).logits)
