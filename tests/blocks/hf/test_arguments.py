"""Arguments that transformers, its trainers and its collators hand to every model."""

from __future__ import annotations

import pytest
import torch
from transformers import DataCollatorWithFlattening

from support.hf_models import batch, make
from ultra_blocks.hf import UltraForSequenceClassification, UltraModel


def test_arguments_without_effect():
    model, ids = make(UltraModel), batch()["input_ids"]
    expected = model(ids).last_hidden_state
    found = model(
        ids, use_cache=False, past_key_values=None, head_mask=None, is_causal=False,
        token_type_ids=torch.zeros_like(ids),
    )  # fmt: skip
    assert torch.equal(found.last_hidden_state, expected)
    assert torch.equal(model(ids, None, torch.zeros_like(ids)).last_hidden_state, expected), "BERT's order"


def test_token_types_with_embeddings_change_the_output_whether_texts_are_packed_again_or_not():
    model, given = make(UltraModel, type_vocab_size=2), batch()
    ids, mask = given["input_ids"], given["attention_mask"]
    types = torch.where(mask.bool(), ids % 2, 77)
    expected = model(ids, mask, types).last_hidden_state
    assert not torch.allclose(model(ids, mask).last_hidden_state, expected, atol=1e-2)
    model.unpad_inputs = True
    torch.testing.assert_close(model(ids, mask, types).last_hidden_state, expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="value 77, but this model has embeddings of the types 0 to 1"):
        model(ids, None, types)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"head_mask": torch.ones(2, 4)}, "head_mask is not supported: heads cannot be switched off"),
        ({"is_causal": True}, "causal: true"),
        ({"encoder_hidden_states": torch.ones(3, 2, 16)}, "no cross-attention"),
        ({"output_router_logits": True}, "in the output as losses"),
        ({"token_type_ids": torch.ones(3, 8, dtype=torch.long)}, 'model_input_names = \\["input_ids"'),
        ({"cu_seq_lens_q": torch.tensor([0, 8])}, "a batch of one row, given 3"),
        ({"inputs_embeds": torch.ones(3, 8, 16)}, "give input_ids or inputs_embeds, not both"),
        ({"pooling": "last"}, "pooling must be one of cls, mean, max; given 'last'"),
    ],
)
def test_arguments_that_cannot_be_obeyed_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(UltraModel)(batch()["input_ids"], **arguments)


def test_packed_documents_of_transformers():
    model = make(UltraModel, layer_pattern=["standard_attn", "mamba"])
    texts = [[5, 6, 7], [8, 9], [10, 11, 12, 13]]
    rows = [{"input_ids": text, "labels": text} for text in texts]
    for options in ({"return_flash_attn_kwargs": True}, {"return_seq_idx": True}):
        flat = DataCollatorWithFlattening(**options)(rows)
        del flat["labels"]
        found = model(**flat).last_hidden_state[0].split([3, 2, 4])
        for states, text in zip(found, texts, strict=True):
            torch.testing.assert_close(states, model(torch.tensor([text])).last_hidden_state[0])


def test_heads_pass_them_on():
    model, ids = make(UltraForSequenceClassification), batch()["input_ids"]
    assert model(ids, use_cache=False).logits.shape == (3, 2)
    with pytest.raises(TypeError, match=r"'use_cash'\. Did you mean 'use_cache'"):
        model(ids, use_cash=False)
