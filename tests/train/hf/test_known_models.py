"""The configs of base models: their parameters are those that were published."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM, BertConfig

from ultra_core.errors import UltraError
from ultra_train.hf.known_models import base_config

MILLIONS = {
    "dccuchile/bert-base-spanish-wwm-cased": 109.9,
    "bertin-project/bertin-roberta-base-spanish": 124.7,
    "PlanTL-GOB-ES/roberta-base-bne": 124.7,
    "answerdotai/ModernBERT-base": 149.7,
    "xlm-roberta-base": 278.3,
    "bert-base-multilingual-cased": 178.0,
    "distilbert-base-multilingual-cased": 135.4,
    "microsoft/mdeberta-v3-base": 86.3 + 251_000 * 768 / 1e6,
    "microsoft/deberta-v3-base": 86.2 + 128_100 * 768 / 1e6,
    "albert-base-v2": 11.2,
}
"""Published sizes; the card of DeBERTa-v3 gives those of the backbone and of the embeddings."""


@pytest.mark.parametrize("name", MILLIONS)
def test_it_has_as_many_parameters_as_published(name):
    with torch.device("meta"):
        model = AutoModelForMaskedLM.from_config(base_config(name))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count / 1e6 == pytest.approx(MILLIONS[name], abs=0.06)


def test_other_ids_of_a_model_are_known():
    assert base_config("FacebookAI/xlm-roberta-base").to_dict() == base_config("xlm-roberta-base").to_dict()


def test_positions_and_padding_are_as_published():
    assert base_config("dccuchile/bert-base-spanish-wwm-cased").pad_token_id == 1
    assert base_config("xlm-roberta-base").max_position_embeddings == 514
    modern = base_config("answerdotai/ModernBERT-base")
    assert modern.layer_types[:4] == ["full_attention", *["sliding_attention"] * 2, "full_attention"]


def test_a_folder_comes_before_the_recorded_sizes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    BertConfig(hidden_size=12, num_attention_heads=2).save_pretrained(tmp_path / "albert-base-v2")
    assert base_config("albert-base-v2").hidden_size == 12
    monkeypatch.setenv("HOME", str(tmp_path))
    assert base_config("~/albert-base-v2").hidden_size == 12


def test_the_hub_is_not_asked(monkeypatch):
    asked = []

    def load(name, **options):
        asked.append(options["local_files_only"])
        raise OSError("not cached")

    monkeypatch.setattr(AutoConfig, "from_pretrained", load)
    assert base_config("albert-base-v2").embedding_size == 128
    assert asked == [True]


def test_what_cannot_be_read_or_is_unknown_is_said(tmp_path):
    with pytest.raises(UltraError, match=r"no folder, not in the cache.*Did you mean 'albert-base-v2'"):
        base_config("albert-base")
    with pytest.raises(UltraError, match="its config cannot be read"):
        base_config(str(tmp_path))
