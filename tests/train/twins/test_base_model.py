"""Tiny base models: of the family of the large one, with the vocabulary of their tokenizer."""

import pytest
import torch
from transformers import AutoModelForMaskedLM

from ultra_train.data.es_commands import sentences
from ultra_train.hf.known_models import base_config
from ultra_train.twins.base_model import write_base_model
from ultra_train.twins.tokenizer import FAMILIES, WORD_PIECES, train_family_tokenizer


@pytest.fixture(scope="module")
def texts(command_cache):
    return [sentence.text for sentence in sentences("es", cache_dir=command_cache)][::8]


@pytest.mark.parametrize(
    "name",
    [
        "dccuchile/bert-base-spanish-wwm-cased",
        "PlanTL-GOB-ES/roberta-base-bne",
        "answerdotai/ModernBERT-base",
        "xlm-roberta-base",
        "distilbert-base-multilingual-cased",
        "microsoft/mdeberta-v3-base",
        "albert-base-v2",
    ],
)
def test_a_tiny_model_of_a_family_reads_its_tokens(name, texts, tmp_path):
    large = base_config(name)
    tokenizer = train_family_tokenizer(large.model_type, texts, tmp_path / "tokenizer")
    write_base_model(name, tokenizer, tmp_path / "model")
    before = torch.random.get_rng_state()
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "model").eval()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert model.config.model_type == large.model_type
    assert model.config.pad_token_id == tokenizer.pad_token_id
    assert model.config.tie_word_embeddings == large.tie_word_embeddings
    assert sum(p.numel() for p in model.parameters()) < 100_000
    batch = tokenizer(texts[:2], padding=True, return_tensors="pt")
    logits = model(**batch).logits
    assert logits.shape == (*batch["input_ids"].shape, len(tokenizer))
    assert logits.isfinite().all()


def test_weights_are_the_same_every_time(texts, tmp_path):
    tokenizer = train_family_tokenizer("albert", texts, tmp_path / "tokenizer")
    for folder in ("once", "again"):
        write_base_model("albert-base-v2", tokenizer, tmp_path / folder)
    once, again = (AutoModelForMaskedLM.from_pretrained(tmp_path / f).state_dict() for f in ("once", "again"))
    assert all(torch.equal(value, again[key]) for key, value in once.items())
    assert "albert.encoder.albert_layer_groups.0.albert_layers.0.attention.query.weight" in once


@pytest.mark.parametrize("model_type", ["bert", "roberta", "modernbert", "xlm-roberta", "deberta-v2"])
def test_a_tokenizer_has_the_algorithm_and_the_special_tokens_of_its_family(model_type, texts, tmp_path):
    tokenizer = train_family_tokenizer(model_type, texts, tmp_path)
    family = FAMILIES.get(model_type, WORD_PIECES)
    assert type(tokenizer.backend_tokenizer.model).__name__.lower() == family.algorithm
    ids = tokenizer(texts[0])["input_ids"]
    assert tokenizer.convert_ids_to_tokens([ids[0], ids[-1]]) == [family.first, family.last]
    assert tokenizer.mask_token == family.mask
    decoded = tokenizer.decode(ids, skip_special_tokens=True)
    assert decoded.replace(" ", "") == texts[0].replace(" ", "")
