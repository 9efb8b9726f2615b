"""Tiny models of the same family as a base model, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultra_train.hf.known_models import base_config
from ultra_train.hf.vocabulary import num_token_ids

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

WIDTH, HEADS, INNER_WIDTH, EMBEDDING_WIDTH, LAYERS = 32, 2, 64, 16, 3
"""Three layers are one period of the models that mix global and local attention."""

SIZES = {
    "hidden_size": WIDTH, "dim": WIDTH, "d_model": WIDTH, "emb_dim": WIDTH, "pooler_hidden_size": WIDTH,
    "num_hidden_layers": LAYERS, "n_layers": LAYERS,
    "num_attention_heads": HEADS, "n_heads": HEADS, "num_key_value_heads": HEADS,
    "intermediate_size": INNER_WIDTH, "hidden_dim": INNER_WIDTH,
    "embedding_size": EMBEDDING_WIDTH,
    "max_position_embeddings": 64, "local_attention": 8, "position_buckets": 8,
}  # fmt: skip
"""The size that each of these keys has at most, under all the names that families give them."""

TOKENS = {"pad": "pad", "bos": "cls", "cls": "cls", "eos": "sep", "sep": "sep", "mask": "mask"}
"""The token of the tokenizer that an id of a config stands for."""


def shrunken(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """Return the config of a tiny model of the same family with the vocabulary of a tokenizer.

    What is no size stays: activations, norms, kinds of positions, dropout, shared layers and tied weights.
    """
    values = config.to_dict()
    changed: dict[str, Any] = {
        key: min(values[key], size) for key, size in SIZES.items() if isinstance(values.get(key), int)
    }
    changed["vocab_size"] = num_token_ids(tokenizer)
    if isinstance(values.get("layer_types"), list):
        changed["layer_types"] = values["layer_types"][:LAYERS]
    for name, token in TOKENS.items():
        if values.get(f"{name}_token_id") is not None:
            changed[f"{name}_token_id"] = getattr(tokenizer, f"{token}_token_id")
    return type(config).from_dict({**values, **changed})


def write_base_model(name_or_path: str, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a tiny masked language model of the family of a base model, the same weights every time.

    Args:
        name_or_path: folder or hub id of the base model, of which only the config is read.
        tokenizer: the tokenizer of the tiny model.
        folder: where it is written to.

    Raises:
        UltraError: the config of the base model is neither on this machine nor recorded.
    """
    import torch
    from transformers import AutoModelForMaskedLM

    config = shrunken(base_config(name_or_path), tokenizer)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        model = AutoModelForMaskedLM.from_config(config)
    model.save_pretrained(folder)
