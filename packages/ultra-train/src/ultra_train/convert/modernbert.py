"""ModernBERT: norms before mixer and FFN, gated FFN, rotary positions, attention in windows and in full."""

from __future__ import annotations

from typing import Any

from transformers import ModernBertConfig, PretrainedConfig

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
    their_activation,
)

FULL, SLIDING = "full_attention", "sliding_attention"


def fields(config: Any) -> dict[str, Any]:
    """Return the fields for the config of a ModernBERT."""
    for kind, rope in config.rope_parameters.items():
        need(rope.get("rope_type", "default"), "default", f"rope_type of {kind}")
    return {
        **common_fields(config),
        "max_positions": config.max_position_embeddings,
        "layer_pattern": tuple(_block(config, kind) for kind in config.layer_types),
        "ffn": {"glu": {"bias": config.mlp_bias, "activation": activation(config.hidden_activation)}},
        "norm_type": {"layer_norm": {"eps": config.norm_eps, "bias": config.norm_bias}},
        "first_norm": False,
        "dropout": max(config.embedding_dropout, config.mlp_dropout),
        "head_activation": activation(config.classifier_activation),
        "head_bias": config.classifier_bias,
        "decoder_bias": config.decoder_bias,
    }


def _block(config: Any, kind: str) -> dict[str, Any]:
    options: dict[str, Any] = {
        "bias": config.attention_bias,
        "dropout": config.attention_dropout,
        "positions": {"rope": {"base": config.rope_parameters[kind]["rope_theta"]}},
    }
    if kind == SLIDING:
        options["window"] = 2 * (config.local_attention // 2)
    return {"standard_attn": options}


def config_of(config: UltraConfig) -> PretrainedConfig:
    """Return the config of the ModernBERT that comes closest."""
    ropes: dict[Any, dict[str, Any]] = {
        kind: {"rope_type": "default", "rope_theta": 10_000.0} for kind in (FULL, SLIDING)
    }
    kinds, window = [], 128
    for _, options in config.layers():
        kind = FULL if options.get("window") is None else SLIDING
        kinds.append(kind)
        window = options.get("window") or window
        given = options.get("positions")
        base = split_spec(given)[1].get("base", 10_000.0) if given is not None else 10_000.0
        ropes[kind] = {"rope_type": "default", "rope_theta": base}
    norm, ffn = split_spec(config.norm_type)[1], split_spec(config.ffn or "glu")[1]
    return ModernBertConfig(
        **common_arguments(config),
        max_position_embeddings=config.max_positions,
        layer_types=kinds,
        local_attention=window,
        rope_parameters=ropes,
        hidden_activation=their_activation(ffn.get("activation", "gelu")),
        mlp_bias=ffn.get("bias", False),
        attention_bias=option(config, "standard_attn", "bias", False),
        attention_dropout=option(config, "standard_attn", "dropout", 0.0),
        embedding_dropout=config.dropout,
        mlp_dropout=config.dropout,
        norm_eps=norm.get("eps", 1e-5),
        norm_bias=norm.get("bias", True),
        classifier_activation=their_activation(config.head_activation),
        classifier_bias=config.head_bias,
        decoder_bias=config.decoder_bias,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
        cls_token_id=None,
        sep_token_id=None,
    )


def rules(config: UltraConfig) -> list[Rule]:
    """Return the tensors of a ModernBERT."""
    found = [
        *pairs("model.encoder.embeddings.tokens", "model.embeddings.tok_embeddings", ["weight"]),
        *pairs("model.encoder.embeddings.norm", "model.embeddings.norm"),
        *pairs("model.encoder.norm", "model.final_norm"),
        *pairs("head.dense", "head.dense"),
        *pairs("head.norm", "head.norm"),
        *pairs("head.decoder", "decoder"),
    ]
    for number in range(config.num_layers):
        ours, theirs = f"model.encoder.layers.{number}", f"model.layers.{number}"
        found += [
            *pairs(f"{ours}.mixer_norm", f"{theirs}.attn_norm"),
            *pairs(f"{ours}.mixer.qkv_proj", f"{theirs}.attn.Wqkv"),
            *pairs(f"{ours}.mixer.out_proj", f"{theirs}.attn.Wo"),
            *pairs(f"{ours}.ffn_norm", f"{theirs}.mlp_norm"),
            *pairs(f"{ours}.ffn.gate_up", f"{theirs}.mlp.Wi"),
            *pairs(f"{ours}.ffn.down", f"{theirs}.mlp.Wo"),
        ]
    return found


MODERNBERT = Family("modernbert", ("modernbert",), fields, config_of, rules, ("head.", "decoder."))
