"""Encoders of sentence-transformers so small that they are made and loaded in a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = (
    *("puerta", "ventana", "luz", "garaje", "baño", "jardín", "casa", "perro", "gato"),
    *("abre", "cierra", "enciende", "la", "el", "del", "de", "cómo", "dónde"),
)


def tokenizer() -> Any:
    """Return a tokenizer with one token for each word, and for each letter."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = [*special, *WORDS, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=32, **names)


def _bert(folder: Path, *, masked: bool, seed: int) -> Path:
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertModel

    torch.manual_seed(seed)
    words = tokenizer()
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    (BertForMaskedLM if masked else BertModel)(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def masked_lm(folder: Path, *, seed: int = 0) -> Path:
    """Save a BERT with its head, and return its folder."""
    return _bert(folder, masked=True, seed=seed)


def dense_encoder(folder: Path, *, seed: int = 0) -> Path:
    """Save a dense encoder with 16 dimensions, and return its folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    transformer = Transformer(str(_bert(folder / "base", masked=False, seed=seed)))
    model = SentenceTransformer(
        modules=[transformer, Pooling(transformer.get_embedding_dimension())], device="cpu"
    )
    model.save(str(folder / "dense"))
    return folder / "dense"


def inference_free_encoder(folder: Path, *, seed: int = 0) -> Path:
    """Save an inference-free SPLADE encoder, and return its folder."""
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Router, Transformer
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling

    document = Transformer(str(_bert(folder / "base", masked=True, seed=seed)), transformer_task="fill-mask")
    weights = torch.rand(len(tokenizer()), generator=torch.Generator().manual_seed(seed))
    router = Router.for_query_document(
        query_modules=[SparseStaticEmbedding(tokenizer(), weights)],
        document_modules=[document, SpladePooling("max")],
    )
    SparseEncoder(modules=[router], device="cpu").save(str(folder / "sparse"))
    return folder / "sparse"
