"""Tiny models of transformers, one of each family that presets adapt."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

SMALL: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}


def _albert(t: Any) -> nn.Module:
    return t.AlbertForMaskedLM(t.AlbertConfig(**SMALL, embedding_size=8))


def _deberta(t: Any) -> nn.Module:
    config = t.DebertaV2Config(
        **SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=4, embedding_size=8
    )
    return t.DebertaV2ForMaskedLM(config)


def _modernbert(t: Any) -> nn.Module:
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    return t.ModernBertForMaskedLM(t.ModernBertConfig(**SMALL, **special))


def _distilbert(t: Any) -> nn.Module:
    config = t.DistilBertConfig(vocab_size=60, dim=16, n_layers=2, n_heads=2, hidden_dim=24)
    return t.DistilBertForMaskedLM(config)


FAMILIES: dict[str, Callable[[Any], nn.Module]] = {
    "albert": _albert,
    "bert": lambda t: t.BertForMaskedLM(t.BertConfig(**SMALL)),
    "deberta-v2": _deberta,
    "distilbert": _distilbert,
    "modernbert": _modernbert,
    "roberta": lambda t: t.RobertaForMaskedLM(t.RobertaConfig(**SMALL)),
    "xlm-roberta": lambda t: t.XLMRobertaForMaskedLM(t.XLMRobertaConfig(**SMALL)),
}


@pytest.fixture(params=sorted(FAMILIES))
def pretrained(request: pytest.FixtureRequest) -> nn.Module:
    import transformers

    return FAMILIES[request.param](transformers)


@pytest.fixture
def bert() -> nn.Module:
    import transformers

    return FAMILIES["bert"](transformers)
