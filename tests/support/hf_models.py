"""Small transformers models of every kind, and a batch for them."""

import torch

from ultra_blocks.config import UltraConfig
from ultra_blocks.hf import UltraForMaskedLM, UltraHFConfig

VARIANTS = [
    {"layer_pattern": ["standard_attn", "retnet"]},
    {"use_factorized_embedding": True, "factorized_embedding_dim": 6, "use_embedding_conv": True,
     "embedding_conv_kernel": 4, "norm_type": "derf"},
    {"tie_embeddings": False, "positions": "learned", "ffn": {"glu": {"bias": True}}},
    {"use_bitnet": True, "num_loops": 2, "layer_pattern": [{"gqa_attn": {"num_kv_heads": 2}}]},
]  # fmt: skip


def config(**fields):
    small = {
        "vocab_size": 40,
        "hidden_size": 16,
        "num_layers": 2,
        "num_heads": 4,
        "retention_heads": 4,
        "ffn_hidden_size": 24,
        "max_positions": 32,
        "use_moe": False,
        "dropout": 0.0,
        "initializer_range": 0.2,
    }
    return UltraConfig(**{**small, **fields})


def make(cls=UltraForMaskedLM, **fields):
    torch.manual_seed(0)
    return cls(UltraHFConfig.from_ultra(config(**fields))).eval()


def batch():
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(40, (3, 8), generator=generator)
    mask = torch.tensor([[1] * 8, [1] * 5 + [0] * 3, [0] * 2 + [1] * 6])
    labels = torch.where((torch.rand(3, 8, generator=generator) < 0.4) & mask.bool(), ids, -100)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
