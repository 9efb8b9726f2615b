from __future__ import annotations

import torch
import torch.nn.functional as F
from transformers import AutoModelForMultipleChoice

from support.hf_models import batch, make
from ultra_blocks.hf import UltraForMaskedLM, UltraForMultipleChoice


def test_every_choice_is_scored_like_a_text_alone():
    model, given = make(UltraForMultipleChoice), batch()
    ids, mask = given["input_ids"], given["attention_mask"]
    labels = torch.tensor([1, 0])
    rows = torch.tensor([[0, 1, 2], [2, 0, 1]])
    loss, logits = model(ids[rows], mask[rows], labels=labels, return_dict=False)
    alone = torch.stack([model(ids[None, i : i + 1], mask[None, i : i + 1]).logits[0, 0] for i in range(3)])
    torch.testing.assert_close(logits, alone[rows])
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels))


def test_it_loads_the_encoder_of_a_masked_language_model(tmp_path):
    base = make(UltraForMaskedLM)
    base.save_pretrained(tmp_path)
    model, report = AutoModelForMultipleChoice.from_pretrained(tmp_path, output_loading_info=True)
    assert type(model) is UltraForMultipleChoice
    assert {name.split(".")[0] for name in report["missing_keys"]} == {"classifier"}
    for name, weight in base.model.state_dict().items():
        assert torch.equal(model.model.state_dict()[name], weight), name
