"""A small model class for embedded and old hardware, with factorized and convolved embeddings."""

from ultra_blocks.models.base import ModelPlugin

model = ModelPlugin(
    name="mini",
    summary="A small encoder whose embeddings are factorized and convolved over time",
    defaults={
        "hidden_size": 128,
        "num_layers": 4,
        "num_heads": 1,
        "retention_heads": 1,
        "use_factorized_embedding": True,
        "factorized_embedding_dim": 16,
        "use_embedding_conv": True,
        "embedding_conv_kernel": 32,
        "ffn": "mlp",
        "ffn_hidden_size": 512,
    },
)
