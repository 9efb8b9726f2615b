from __future__ import annotations

import pytest
import torch
from sentence_transformers import SentenceTransformer, SparseEncoder
from transformers import BertConfig, BertForSequenceClassification

from support.splade import SIZES, TEXTS, write_family, write_model
from ultra_core.errors import UltraError
from ultra_train.embeddings.building import dense_encoder, splade_encoder
from ultra_train.embeddings.errors import EncoderError
from ultra_train.embeddings.loading import load_encoder


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders: a masked language model, and a dense and a sparse encoder on it."""
    folder = tmp_path_factory.mktemp("saved")
    base = write_family(folder / "base", "roberta")
    dense_encoder(base, device="cpu").save_pretrained(str(folder / "dense"))
    sparse = splade_encoder(base, device="cpu", max_length=9)
    sparse[1].embedding_dimension = None  # as of a model that was saved before its first batch
    sparse.save_pretrained(str(folder / "sparse"))
    return folder


@pytest.mark.parametrize(("kind", "cls"), [("dense", SentenceTransformer), ("sparse", SparseEncoder)])
def test_an_encoder_is_loaded_as_what_it_is(kind, cls, saved):
    encoder = load_encoder(saved / kind, device="cpu", dtype=torch.float64)
    assert type(encoder) is cls
    assert encoder.dtype == torch.float64
    plain = cls(str(saved / kind), device="cpu").double()
    found, expected = (e.encode(TEXTS, convert_to_tensor=True) for e in (encoder, plain))
    if kind == "sparse":
        assert "forward" in vars(encoder[1]), "it pools in chunks"
        assert encoder.max_seq_length == 9
        assert encoder.get_embedding_dimension() == encoder.transformers_model.config.vocab_size
        found, expected = found.to_dense(), expected.to_dense()
    torch.testing.assert_close(found, expected)


def test_a_masked_language_model_is_no_encoder_unless_asked(saved, finished_run):
    for where in (saved / "base", finished_run):
        with pytest.raises(EncoderError, match=r"masked language model.*training\.task: sbert"):
            load_encoder(where)
    assert load_encoder(finished_run, untrained=True, device="cpu").encode("abre").shape == (16,)


def test_lengths(saved):
    assert load_encoder(saved / "dense", device="cpu").max_seq_length == 32
    assert load_encoder(saved / "dense", device="cpu", max_length=7).max_seq_length == 7
    with pytest.raises(EncoderError, match="reads at most 39 tokens, but 40 are asked for"):
        load_encoder(saved / "dense", device="cpu", max_length=40)


def test_a_cross_encoder_and_a_broken_model(tmp_path, saved):
    ranker = write_model(
        tmp_path / "ranker", BertForSequenceClassification(BertConfig(**SIZES, num_labels=1))
    )
    with pytest.raises(EncoderError, match="cross-encoder: it scores pairs"):
        load_encoder(ranker)
    broken = tmp_path / "broken"
    write_model(broken, BertForSequenceClassification(BertConfig(**SIZES)))
    (broken / "config.json").write_text('{"model_type": "bert", "architectures": ["BertForMaskedLM"]}')
    (broken / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(EncoderError, match="broken cannot be loaded: SafetensorError"):
        load_encoder(broken, untrained=True)


def test_a_model_of_a_hub_that_cannot_be_reached(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UltraError, match=r"no copy of ltg/norbert.*--set model\.base_model=PATH"):
        splade_encoder("ltg/norbert", key="model.base_model")
    with pytest.raises(UltraError, match="no copy of ltg/norbert; give the path of a local copy"):
        load_encoder("ltg/norbert")
