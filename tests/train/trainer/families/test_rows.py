from __future__ import annotations

import torch

from ultra_train.tasks.mlm_base import load_base


class Tokenizer:
    """A hundred tokens, four more than the models know."""

    model_max_length = 10**30

    def __len__(self):
        return 100

    def get_vocab(self):
        return {str(i): i for i in range(100)}


def test_more_tokens_than_rows(family, build, texts, tmp_path):
    model = build(family).eval()
    batch = texts(model, rows=2, length=9, seed=0)
    given = {name: batch[name] for name in ("input_ids", "attention_mask")}
    before = model(**given).logits
    model.save_pretrained(tmp_path)
    base = load_base(str(tmp_path), dtype=torch.float32)
    assert [line for line in base.fit(Tokenizer(), 9) if "96 rows of embeddings; 4 more tokens" in line]
    after = base.model.eval()(**given).logits
    assert after.shape == (2, 9, 128)
    torch.testing.assert_close(after[..., :96], before)
    base.model.save_pretrained(tmp_path / "again")
    again = load_base(str(tmp_path / "again"), dtype=torch.float32)
    assert again.fresh == ()
    assert torch.equal(again.model.eval()(**given).logits, after)
