from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForTokenClassification

from support.hf_models import batch, make
from ultra_blocks.hf import UltraForMaskedLM, UltraForTokenClassification


def test_the_loss_is_over_the_tokens_with_a_label():
    model, given = make(UltraForTokenClassification), batch()
    labels = torch.where(given.pop("labels") == -100, -100, 1)
    loss, logits = model(**given, labels=labels, return_dict=False)
    assert logits.shape == (3, 8, 2)
    torch.testing.assert_close(loss, F.cross_entropy(logits.flatten(0, 1), labels.flatten()))
    none = model(**given, labels=torch.full_like(labels, -100)).loss
    none.backward()
    assert none == 0
    parts = [
        model(**{key: value[i : i + 1] for key, value in given.items()}, labels=labels[i : i + 1],
              num_items_in_batch=(labels != -100).sum()).loss
        for i in range(3)
    ]  # fmt: skip
    torch.testing.assert_close(sum(parts), loss)


def test_padding_and_packing_do_not_change_the_logits():
    model = make(UltraForTokenClassification, layer_pattern=["standard_attn", "retnet"])
    ids = batch()["input_ids"][:1]
    alone = model(ids[:, 2:6]).logits
    padded = model(ids, torch.tensor([[0, 0, 1, 1, 1, 1, 0, 0]])).logits
    torch.testing.assert_close(padded[:, 2:6], alone)
    packed = model(ids, document_ids=torch.tensor([[0, 0, 1, 1, 1, 1, 2, 2]])).logits
    torch.testing.assert_close(packed[:, 2:6], alone)


def test_only_the_head_of_a_masked_language_model_is_new(tmp_path):
    base = make(UltraForMaskedLM)
    base.save_pretrained(tmp_path)
    model, report = AutoModelForTokenClassification.from_pretrained(
        tmp_path, num_labels=5, output_loading_info=True
    )
    assert type(model) is UltraForTokenClassification
    assert set(report["missing_keys"]) == {"classifier.out_proj.weight", "classifier.out_proj.bias"}
    assert not report["unexpected_keys"]
    for name, weight in base.model.state_dict().items():
        assert torch.equal(model.model.state_dict()[name], weight), name
    assert model.classifier.out_proj.weight.shape == (5, 16)
    assert model.classifier.out_proj.weight.std().item() == pytest.approx(0.2, rel=0.3), "initializer_range"
