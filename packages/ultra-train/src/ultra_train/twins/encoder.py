"""The sizes of a tiny encoder with the same blocks, norms, FFNs and embeddings as a large one."""

from __future__ import annotations

from math import gcd

import attrs

from ultra_blocks.config import UltraConfig
from ultra_blocks.config.specs import Spec, split_spec

WIDTH, HEADS, INNER_WIDTH, EMBEDDING_WIDTH, EXPERTS = 32, 4, 64, 8, 4


def shrunken(config: UltraConfig, vocab_size: int) -> UltraConfig:
    """Return the config of a tiny encoder; the pattern runs through once and has its options.

    Args:
        config: the large encoder, in canonical form.
        vocab_size: rows of the embedding table.
    """
    experts = min(config.num_experts, EXPERTS)
    return attrs.evolve(
        config,
        vocab_size=vocab_size,
        hidden_size=WIDTH,
        num_layers=min(config.num_layers, len(config.layer_pattern)),
        num_heads=gcd(config.num_heads, HEADS),
        num_kv_heads=None if config.num_kv_heads is None else gcd(config.num_kv_heads, HEADS),
        retention_heads=gcd(config.retention_heads, HEADS),
        num_experts=experts,
        top_k_experts=min(config.top_k_experts, experts),
        factorized_embedding_dim=EMBEDDING_WIDTH,
        ffn_hidden_size=INNER_WIDTH,
        layer_pattern=tuple(_fewer_heads(spec) for spec in config.layer_pattern),
    )


def _fewer_heads(spec: Spec) -> Spec:
    """Return a block whose own numbers of heads, if it sets any, divide those of the tiny encoder."""
    name, options = split_spec(spec)
    for option, value in options.items():
        if option.endswith("heads") and isinstance(value, int):
            options[option] = gcd(value, HEADS)
    return {name: options} if options else spec
