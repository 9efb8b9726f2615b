"""Tiny masked language models in folders, and SPLADE encoders on them."""

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

SIZES = {
    "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 24, "max_position_embeddings": 40, "pad_token_id": 0, "initializer_range": 0.3,
}  # fmt: skip

FAMILIES = {
    "bert": lambda: transformers.BertForMaskedLM(transformers.BertConfig(**SIZES)),
    "roberta": lambda: transformers.RobertaForMaskedLM(transformers.RobertaConfig(**SIZES)),
    "modernbert": lambda: transformers.ModernBertForMaskedLM(
        transformers.ModernBertConfig(**SIZES, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3)
    ),
    "distilbert": lambda: transformers.DistilBertForMaskedLM(
        transformers.DistilBertConfig(
            vocab_size=60, dim=16, n_layers=1, n_heads=2, hidden_dim=24, max_position_embeddings=40
        )
    ),
}

WORDS = ["puerta", "luz", "abre", "cierra", "la", "el", "del", "garaje", "salón", "música"]
TEXTS = ["abre la puerta del garaje", "luz", "cierra la luz del salón la puerta la música"]


def tokenizer(mask: str | None = "[MASK]"):
    """Return a tokenizer of words with 60 tokens."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, *WORDS, *(f"w{i}" for i in range(60 - len(special) - len(WORDS)))]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", mask_token=mask, model_max_length=32
    )


def write_model(folder: Path, model, mask: str | None = "[MASK]") -> Path:
    """Save a model with a tokenizer beside it."""
    model.save_pretrained(folder)
    tokenizer(mask).save_pretrained(folder)
    return folder


def write_family(folder: Path, family: str) -> Path:
    """Save a masked language model of a family."""
    torch.manual_seed(0)
    return write_model(folder, FAMILIES[family]())
