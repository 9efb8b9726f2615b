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


def test_padding_does_not_change_the_logits():
    model = make(UltraForSequenceClassification, layer_pattern=["standard_attn", "mamba"])
    given = inputs()
    together = model(**given).logits
    for row, mask in enumerate(given["attention_mask"].bool()):
        torch.testing.assert_close(model(given["input_ids"][row][mask][None]).logits[0], together[row])


def test_the_encoder_of_a_masked_language_model_with_a_new_head(tmp_path):
    base = make(UltraForMaskedLM)
    base.save_pretrained(tmp_path / "base")
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=4)
    assert type(model) is UltraForSequenceClassification
    for name, weight in base.model.state_dict().items():
        assert torch.equal(model.model.state_dict()[name], weight), name
    assert model.classifier.out_proj.weight.shape == (4, 16)
    assert model.classifier.dense.weight.std().item() == pytest.approx(0.2, rel=0.2), "initializer_range"
    assert not model.classifier.dense.bias.any()
    model.save_pretrained(tmp_path / "own")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "own").eval()
    assert torch.equal(again(**inputs()).logits, model.eval()(**inputs()).logits)
