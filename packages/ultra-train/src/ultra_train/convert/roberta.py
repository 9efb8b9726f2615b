"""RoBERTa and the models that share its code: positions are counted from the id of padding."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig, RobertaConfig

from ultra_blocks.config import UltraConfig, split_spec
from ultra_train.convert.bert import encoder_rules, shared_arguments, shared_fields
from ultra_train.convert.family import Family, Rule, pairs


def fields(config: Any) -> dict[str, Any]:
    """Return the fields for the config of a RoBERTa."""
    offset = config.pad_token_id + 1
    return shared_fields(config) | {
        "positions": {"learned": {"offset": offset}},
        "max_positions": config.max_position_embeddings - offset,
    }


def config_of(config: UltraConfig) -> PretrainedConfig:
    """Return the config of the RoBERTa that comes closest."""
    offset = split_spec(config.positions or "learned")[1].get("offset", 0)
    return RobertaConfig(
        max_position_embeddings=config.max_positions + offset,
        pad_token_id=max(0, offset - 1),
        **shared_arguments(config),
    )


def rules(config: UltraConfig) -> list[Rule]:
    """Return the tensors of a RoBERTa."""
    return [
        *encoder_rules(config, "roberta"),
        *pairs("head.dense", "lm_head.dense"),
        *pairs("head.norm", "lm_head.layer_norm"),
        Rule("head.decoder.bias", ("lm_head.bias",)),  # as in BERT
        *pairs("head.decoder", "lm_head.decoder"),
    ]


ROBERTA = Family("roberta", ("roberta", "xlm-roberta", "camembert"), fields, config_of, rules, ("lm_head.",))
