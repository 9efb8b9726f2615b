"""Descriptions that follow from module types."""

import pytest
import torch
from torch import nn

from ultra_core.contracts import ParamInfo
from ultra_core.module_types import is_norm
from ultra_optim.roles.module_types import fused, heads, infer, is_attention


class LlamaRMSNorm(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))


class LookupDecoder(nn.Module):
    """A table that nobody describes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 5))
        self.offset = nn.Parameter(torch.ones(5))


@pytest.mark.parametrize(
    "module",
    [nn.LayerNorm(4), nn.RMSNorm(4), nn.GroupNorm(2, 4), nn.BatchNorm1d(4), LlamaRMSNorm(4)],
    ids=lambda m: type(m).__name__,
)
def test_norms_are_recognised_by_type(module: nn.Module) -> None:
    assert is_norm(module)
    infos = infer(module, attention=True)
    assert infos["weight"] == ParamInfo(role="norms", kind="vector", decay=True)
    if "bias" in infos:
        assert infos["bias"] == ParamInfo(role="norms", kind="vector", decay=False)


def test_attention_is_a_matter_of_the_class_name() -> None:
    class TalkingSelfAttention(nn.Module):
        pass

    class Derived(TalkingSelfAttention):
        pass

    class AttentionFreeMixer(nn.Module):
        pass

    assert is_attention(TalkingSelfAttention())
    assert is_attention(Derived())
    assert is_attention(nn.MultiheadAttention(4, 2))
    assert not is_attention(AttentionFreeMixer())


def test_linear_embedding_convolution() -> None:
    assert infer(nn.Linear(3, 4), attention=False) == {
        "weight": ParamInfo(role="other", kind="matrix"),
        "bias": ParamInfo(role="other", kind="vector", decay=False),
    }
    assert infer(nn.Linear(3, 4, bias=False), attention=True) == {
        "weight": ParamInfo(role="attention", kind="matrix")
    }
    assert infer(nn.Embedding(3, 4), attention=True) == {
        "weight": ParamInfo(role="embeddings", kind="embedding")
    }
    assert infer(nn.Conv1d(2, 3, 5), attention=False) == {
        "weight": ParamInfo(role="other", kind="conv"),
        "bias": ParamInfo(role="other", kind="vector", decay=False),
    }


def test_torch_attention_is_three_matrices() -> None:
    infos = infer(nn.MultiheadAttention(6, 2), attention=True)
    assert infos["in_proj_weight"] == ParamInfo(role="attention", kind="matrix", row_blocks=(6, 6, 6))
    assert infos["in_proj_bias"] == ParamInfo(role="attention", kind="vector", decay=False)
    apart = infer(nn.MultiheadAttention(6, 2, kdim=4, vdim=5), attention=True)
    assert apart["k_proj_weight"] == ParamInfo(role="attention", kind="matrix")


def test_an_unknown_table_is_not_orthogonalised() -> None:
    infos = infer(LookupDecoder(), attention=False)
    assert infos["weight"] == ParamInfo(role="other", kind="vector", decay=True)
    assert infos["offset"] == ParamInfo(role="other", kind="vector", decay=False)


def test_fused_projections_of_modernbert() -> None:
    from transformers import ModernBertConfig
    from transformers.models.modernbert import modeling_modernbert as modern

    config = ModernBertConfig(hidden_size=8, intermediate_size=12, num_attention_heads=2)
    assert fused(modern.ModernBertAttention(config, layer_idx=0)) == {"Wqkv.weight": (8, 8, 8)}
    assert fused(modern.ModernBertMLP(config)) == {"Wi.weight": (12, 12)}


def test_fused_projections_of_both_debertas() -> None:
    """The first version has the rows of a head's query, key and value one after the other."""
    from transformers import DebertaConfig, DebertaV2Config
    from transformers.models.deberta import modeling_deberta as first
    from transformers.models.deberta_v2 import modeling_deberta_v2 as second

    small = {"hidden_size": 8, "num_attention_heads": 2}
    module = first.DisentangledSelfAttention(DebertaConfig(**small))
    assert fused(module) == {"in_proj.weight": (4,) * 6}
    assert fused(second.DisentangledSelfAttention(DebertaV2Config(**small))) == {}
    x = torch.randn(1, 1, 8)
    by_head = module.transpose_for_scores(module.in_proj(x)).chunk(3, dim=-1)
    blocks = module.in_proj.weight.split(fused(module)["in_proj.weight"])
    for part in range(3):
        for head in range(2):
            torch.testing.assert_close(by_head[part][0, head, 0], blocks[3 * head + part] @ x[0, 0])


def test_heads_of_transformers_models() -> None:
    from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

    small = {"vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    small |= {"intermediate_size": 12}
    untied = BertForMaskedLM(BertConfig(**small, tie_word_embeddings=False))
    assert heads(untied) == {id(untied.cls.predictions.decoder.weight)}
    classifier = BertForSequenceClassification(BertConfig(**small, num_labels=3))
    assert heads(classifier) == {id(classifier.classifier.weight)}
    assert heads(nn.Linear(3, 3)) == set()
