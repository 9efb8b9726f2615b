"""BERT: norms after the sums, learned positions, token types."""

from __future__ import annotations

from typing import Any

from transformers import BertConfig, PretrainedConfig

from ultra_blocks.config import UltraConfig, split_spec
from ultra_train.convert.family import (
    Family,
    Rule,
    activation,
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
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_layers": config.num_hidden_layers,
        "num_heads": config.num_attention_heads,
        "ffn_hidden_size": config.intermediate_size,
        "layer_pattern": ({"standard_attn": {"bias": True, "dropout": config.attention_probs_dropout_prob}},),
        "ffn": {"mlp": {"bias": True, "activation": act}},
        "use_moe": False,
        "norm_type": {"layer_norm": {"eps": config.layer_norm_eps}},
        "norm_placement": "post",
        "type_vocab_size": config.type_vocab_size,
        "dropout": config.hidden_dropout_prob,
        "initializer_range": config.initializer_range,
        "tie_embeddings": config.tie_word_embeddings,
    }


def shared_arguments(config: UltraConfig) -> dict[str, Any]:
    """Return the arguments that the configs of BERT and RoBERTa have in common."""
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.ffn_hidden_size,
        "hidden_act": their_activation(split_spec(config.ffn or "mlp")[1].get("activation", "gelu")),
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": option(config, "standard_attn", "dropout", 0.0),
        "type_vocab_size": config.type_vocab_size,
        "initializer_range": config.initializer_range,
        "layer_norm_eps": split_spec(config.norm_type)[1].get("eps", 1e-12),
        "tie_word_embeddings": config.tie_embeddings,
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
