from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForMaskedLM, PreTrainedTokenizerFast

from ultra_core.errors import UltraError


def tokenizer(pad: int) -> PreTrainedTokenizerFast:
    """A tokenizer that pads with a certain token."""
    words = WordLevel({f"w{i}": i for i in range(96)}, unk_token="w2")
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), pad_token=f"w{pad}", mask_token="w4")


@pytest.mark.parametrize(("name", "pad"), [("roberta", 0), ("camembert", 3), ("funnel", 0), ("bert", 7)])
def test_the_saved_model_is_the_trained_one_whatever_the_tokenizer_pads_with(
    name, pad, build, texts, make_mlm_trainer, tmp_path
):
    """Transformers puts the tokenizer's padding token into the config; the modules keep their own."""
    model = build(name)
    before = model.config.pad_token_id
    batches = [texts(model, rows=2, length=12, seed=seed) for seed in range(2)]
    trainer = make_mlm_trainer(model, batches, max_steps=1, save_steps=1, processing_class=tokenizer(pad))
    trainer.train()
    trainer.save_model(str(tmp_path / "model"))
    assert model.config.pad_token_id == before
    given = {key: batches[0][key] for key in ("input_ids", "attention_mask")}
    expected = model.eval()(**given).logits
    for folder in (tmp_path / "model", trainer.checkpoint_root / "checkpoint-1"):
        loaded = AutoModelForMaskedLM.from_pretrained(folder)
        torch.testing.assert_close(loaded.eval()(**given).logits, expected)


def test_a_model_that_cannot_be_trained_is_an_error(build, texts, make_mlm_trainer):
    model = build("bert")

    def fails(module, args):
        if module.training:
            raise ValueError("rows must be of eight tokens")

    model.bert.encoder.register_forward_pre_hook(fails)
    with pytest.raises(
        UltraError, match=r"BertForMaskedLM cannot be trained on .*: ValueError: rows must be"
    ):
        make_mlm_trainer(model, [texts(model, rows=2, length=12, seed=0)])


def test_a_batch_that_a_model_fails_on_is_an_error(build, texts, make_mlm_trainer):
    """Reformer reads short rows and, in training, multiples of the length of its chunks."""
    model = build("bert")
    trainer = make_mlm_trainer(model, [texts(model, rows=2, length=12, seed=0)])

    def fails(module, args):
        raise ValueError("not a multiple of 8")

    model.bert.encoder.register_forward_pre_hook(fails)
    message = r"BertForMaskedLM failed on a batch of 2 rows of 12 tokens: ValueError: not a multiple of 8"
    with pytest.raises(UltraError, match=message):
        trainer.train()
