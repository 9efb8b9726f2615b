from __future__ import annotations

import pytest
import torch

from ultra_train.tasks.base_model import load_base

VOCABULARY = 96


@pytest.mark.parametrize("tied", [True, False])
def test_more_tokens_than_rows(family, tied, build, texts, tmp_path):
    """The head is saved and loaded with its embeddings, whether they are the same tensors or not."""
    model = build(family, tie_word_embeddings=tied).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.shape == (VOCABULARY,):  # biases of the head are not all zero
                parameter.copy_(torch.linspace(-1, 1, VOCABULARY))
    batch = texts(model, rows=2, length=9, seed=0)
    given = {name: batch[name] for name in ("input_ids", "attention_mask")}
    model.save_pretrained(tmp_path)
    before = load_base(str(tmp_path), dtype=torch.float32).model.eval()(**given).logits
    base = load_base(str(tmp_path), dtype=torch.float32, tokens=100)
    assert base.added == 4
    after = base.model.eval()(**given).logits
    assert after.shape == (2, 9, 128)
    torch.testing.assert_close(after[..., :VOCABULARY], before)
    with torch.no_grad():
        for parameter in base.model.parameters():
            parameter.add_(torch.rand_like(parameter) * 0.1)
    trained = base.model(**given).logits
    base.model.save_pretrained(tmp_path / "again")
    again = load_base(str(tmp_path / "again"), dtype=torch.float32)
    torch.testing.assert_close(again.model.eval()(**given).logits, trained)
