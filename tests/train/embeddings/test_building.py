from __future__ import annotations

import json

import pytest
import torch
from sentence_transformers import SparseEncoder
from transformers import BertConfig, BertModel

from support.isolated import run_without
from support.splade import SIZES, TEXTS, write_family, write_model
from ultra_train.embeddings.building import (
    csr_encoder,
    dense_encoder,
    inference_free_splade_encoder,
    splade_encoder,
)
from ultra_train.embeddings.errors import EncoderError


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A masked language model."""
    return write_family(tmp_path_factory.mktemp("bert") / "base", "bert")


@pytest.fixture(scope="module")
def headless(tmp_path_factory):
    """An encoder without a head."""
    return write_model(tmp_path_factory.mktemp("headless") / "base", BertModel(BertConfig(**SIZES)))


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_a_dense_encoder_pools_the_states_of_any_base(pooling, bert, headless, finished_run):
    for base in (bert, headless, finished_run):
        encoder = dense_encoder(base, pooling, device="cpu", max_length=5)
        assert encoder[1].pooling_mode == pooling
        assert encoder.max_seq_length == 5
        assert encoder.dtype == torch.float32
        hidden = encoder[0](encoder.preprocess([TEXTS[0]]))["token_embeddings"][0]
        expected = {"mean": hidden.mean(0), "cls": hidden[0], "max": hidden.amax(0)}[pooling]
        torch.testing.assert_close(encoder.encode(TEXTS[0], convert_to_tensor=True), expected)


def test_a_dense_encoder_is_continued_with_its_modules(headless, tmp_path):
    from sentence_transformers.base.modules import Normalize

    first = dense_encoder(headless, "cls", device="cpu")
    first.append(Normalize())
    first.save_pretrained(str(tmp_path))
    said = []
    again = dense_encoder(tmp_path, device="cpu", say=said.append)
    assert (again[1].pooling_mode, type(again[2]), said) == ("cls", Normalize, [])
    changed = dense_encoder(tmp_path, "mean", device="cpu", say=said.append)
    assert changed[1].pooling_mode == "mean"
    assert said == [f"{tmp_path} was trained with pooling cls, not mean"]


@pytest.mark.parametrize("inference_free", [False, True])
def test_splade_encoders_are_saved_as_plain_models_that_need_nothing_of_ultra(inference_free, bert, tmp_path):
    make = inference_free_splade_encoder if inference_free else splade_encoder
    encoder = make(bert, "sum", activation="log1p_relu", device="cpu")
    if inference_free:
        with torch.no_grad():
            encoder[0].sub_modules["query"][0].weight.uniform_(0.5, 2)
    queries, documents = (getattr(encoder, f"encode_{kind}")(TEXTS) for kind in ("query", "document"))
    encoder.save_pretrained(str(tmp_path / "saved"))

    def load():
        plain = SparseEncoder(str(tmp_path / "saved"), device="cpu")
        torch.testing.assert_close(plain.encode_query(TEXTS).to_dense(), queries.to_dense())
        torch.testing.assert_close(plain.encode_document(TEXTS).to_dense(), documents.to_dense())

    run_without(("ultra_train", "ultra_optim", "ultra_blocks", "ultra_core"), load)


def test_queries_and_documents_have_the_vocabulary_of_the_tokenizer(finished_run, tmp_path):
    said = []
    encoder = inference_free_splade_encoder(
        finished_run, device="cpu", freeze_query_weights=True, say=said.append
    )
    assert "has embeddings of 304 tokens, its tokenizer 300; the model gets as many" in said[0]
    routes = encoder[0].sub_modules.values()
    assert {route[-1].get_embedding_dimension() for route in routes} == {300}  # before the first batch
    query, document = encoder.encode_query("abre la puerta"), encoder.encode_document("abre la puerta")
    assert query.shape == document.shape == (300,)
    assert set(query.to_dense().unique().tolist()) <= {0.0, 1.0}
    assert encoder.similarity(query, document).shape == (1, 1)
    assert not encoder[0].sub_modules["query"][0].weight.requires_grad
    encoder.save_pretrained(str(tmp_path))
    again = SparseEncoder(str(tmp_path), device="cpu")
    torch.testing.assert_close(again.encode_document("abre la puerta").to_dense(), document.to_dense())


def test_the_latents_of_csr(headless):
    encoder = csr_encoder(headless, k=3, k_aux=10, device="cpu")
    vector = encoder.encode(TEXTS)
    assert vector.shape == (3, 64)
    assert (vector.to_dense() > 0).sum(1).max() <= 3
    assert csr_encoder(headless, k=3, k_aux=10, hidden_dim=20, device="cpu")[2].hidden_dim == 20


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (
            csr_encoder,
            {"k": 17},
            r"4 csr_k = 68 latents must fit into 64 \(4 x 16, .*set csr_k to 16 or less",
        ),
        (csr_encoder, {"k": 9, "hidden_dim": 32}, r"must fit into 32 \(csr_hidden_dim\)"),
        (csr_encoder, {"k": 8, "k_aux": 65}, "csr_k_aux is 65, but there are 64 latents"),
        (splade_encoder, {}, "no masked language modelling head, which SPLADE needs"),
        (inference_free_splade_encoder, {}, "no masked language modelling head"),
        (dense_encoder, {"max_length": 41}, "reads at most 40 tokens, but 41 are asked for"),
    ],
)
def test_bases_and_sizes_that_do_not_fit(make, options, message, headless):
    with pytest.raises(EncoderError, match=message):
        make(headless, device="cpu", **options)


def test_a_sparse_encoder_is_no_base(bert, tmp_path):
    splade_encoder(bert, device="cpu").save_pretrained(str(tmp_path))
    with pytest.raises(EncoderError, match="load_pretrained_sparse_encoder: true"):
        splade_encoder(tmp_path)
    with pytest.raises(EncoderError, match="is a sparse encoder"):
        dense_encoder(tmp_path)


def test_a_tokenizer_without_mask_token_is_refused_before_the_model_is_loaded(bert, tmp_path):
    from support.splade import tokenizer

    config = json.loads((bert / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))  # there are no weights
    tokenizer(mask=None).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="has no mask token"):
        splade_encoder(tmp_path)


def test_why_logits_cannot_be_pooled_in_chunks_is_said(bert, monkeypatch):
    from ultra_train.embeddings.splade import chunked

    monkeypatch.setattr(chunked, "why_not_exact", lambda model, layer: "it is special")
    said = []
    splade_encoder(bert, device="cpu", say=said.append)
    assert said == ["SPLADE needs the logits of a whole batch at once: it is special"]
