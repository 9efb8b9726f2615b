from __future__ import annotations

import pytest

from ultra_train.embeddings.building import inference_free_splade_encoder
from ultra_train.embeddings.doctor.diagnosis import diagnose, sample_texts
from ultra_train.embeddings.errors import EncoderError

TEXTS = ["abre la puerta", "apaga la luz del salón", "sube la persiana", "cierra la ventana"]


def test_a_base_model_and_a_sparse_encoder(finished_run, tmp_path):
    found = {finding.check: finding for finding in diagnose(finished_run, TEXTS, device="cpu")}
    assert list(found) == [
        "kind", "head", "special tokens", "unknown tokens", "lengths", "collapse", "anisotropy",
    ]  # fmt: skip
    assert found["kind"].value.startswith("masked-lm, UltraModel, ")
    inference_free_splade_encoder(finished_run, device="cpu").save_pretrained(str(tmp_path))
    found = {finding.check: finding for finding in diagnose(tmp_path, TEXTS, device="cpu")}
    assert found["kind"].value.startswith("sparse, UltraForMaskedLM, ")
    assert "of 300 active" in found["sparsity of queries"].value
    assert not found["sparsity of documents"].good, "it was never trained"


def test_texts_are_drawn_from_a_source(tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join([*map(str, range(50)), "7", "7"]))
    few = sample_texts(str(tmp_path / "texts.txt"), 10)
    assert len(set(few)) == 10
    assert few == sample_texts(str(tmp_path / "texts.txt"), 10)
    assert len(sample_texts(str(tmp_path / "texts.txt"), 100)) == 50, "every text once"


def test_one_text_is_too_few(finished_run):
    with pytest.raises(EncoderError, match="two different texts at least"):
        list(diagnose(finished_run, ["abre"]))
