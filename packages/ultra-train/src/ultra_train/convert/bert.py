"""BERT: norms after the sums, learned positions, token types."""

from __future__ import annotations

from typing import Any

from transformers import BertConfig, PretrainedConfig

from ultra_blocks.config import UltraConfig, split_spec
from ultra_train.convert.family import (
    Family,
    Rule,
    activation,
    common_arguments,
    common_fields,
    need,
    option,
    pairs,
    stacked,
    their_activation,
)


def shared_fields(config: Any) -> dict[str, Any]:
    """Return the fields that BERT and RoBERTa have in common."""
    need(bool(getattr(config, "is_decoder", False)), False, "is_decoder")
    need(
        getattr(config, "position_embedding_type", None) or "absolute", "absolute", "position_embedding_type"
    )
    act = activation(config.hidden_act)
    return {
        **common_fields(config),
        "layer_pattern": ({"standard_attn": {"bias": True, "dropout": config.attention_probs_dropout_prob}},),
        "ffn": {"mlp": {"bias": True, "activation": act}},
        "norm_type": {"layer_norm": {"eps": config.layer_norm_eps}},
        "norm_placement": "post",
        "type_vocab_size": config.type_vocab_size,
        "dropout": config.hidden_dropout_prob,
    }


def shared_arguments(config: UltraConfig) -> dict[str, Any]:
    """Return the arguments that the configs of BERT and RoBERTa have in common."""
    return {
        **common_arguments(config),
        "hidden_act": their_activation(split_spec(config.ffn or "mlp")[1].get("activation", "gelu")),
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": option(config, "standard_attn", "dropout", 0.0),
        "type_vocab_size": config.type_vocab_size,
        "layer_norm_eps": split_spec(config.norm_type)[1].get("eps", 1e-12),
    }


def encoder_rules(config: UltraConfig, prefix: str) -> list[Rule]:
    """Return the rules of embeddings and layers, which BERT and RoBERTa have in common."""
    embeddings, theirs = "model.encoder.embeddings", f"{prefix}.embeddings"
    rules = [
        *pairs(f"{embeddings}.tokens", f"{theirs}.word_embeddings", ["weight"]),
        *pairs(f"{embeddings}.positions.table", f"{theirs}.position_embeddings", ["weight"]),
        *pairs(f"{embeddings}.types", f"{theirs}.token_type_embeddings", ["weight"]),
        *pairs(f"{embeddings}.norm", f"{theirs}.LayerNorm"),
    ]
    for number in range(config.num_layers):
        ours, theirs = f"model.encoder.layers.{number}", f"{prefix}.encoder.layer.{number}"
        parts = [f"{theirs}.attention.self.{name}" for name in ("query", "key", "value")]
        rules += [
            *stacked(f"{ours}.mixer.qkv_proj", parts),
            *pairs(f"{ours}.mixer.out_proj", f"{theirs}.attention.output.dense"),
            *pairs(f"{ours}.mixer_norm", f"{theirs}.attention.output.LayerNorm"),
            *pairs(f"{ours}.ffn.up", f"{theirs}.intermediate.dense"),
            *pairs(f"{ours}.ffn.down", f"{theirs}.output.dense"),
            *pairs(f"{ours}.ffn_norm", f"{theirs}.output.LayerNorm"),
        ]
    return rules


def fields(config: Any) -> dict[str, Any]:
    """Return the fields for the config of a BERT."""
    return shared_fields(config) | {
        "positions": "learned",
        "max_positions": config.max_position_embeddings,
        "head_activation": activation(config.hidden_act),
    }


def config_of(config: UltraConfig) -> PretrainedConfig:
    """Return the config of the BERT that comes closest."""
    return BertConfig(max_position_embeddings=config.max_positions, **shared_arguments(config))


def rules(config: UltraConfig) -> list[Rule]:
    """Return the tensors of a BERT."""
    head = "cls.predictions"
    return [
        *encoder_rules(config, "bert"),
        *pairs("head.dense", f"{head}.transform.dense"),
        *pairs("head.norm", f"{head}.transform.LayerNorm"),
        Rule("head.decoder.bias", (f"{head}.bias",)),  # the same tensor as the next, where weights are tied
        *pairs("head.decoder", f"{head}.decoder"),
    ]


BERT = Family("bert", ("bert",), fields, config_of, rules, ("cls.predictions.",))
