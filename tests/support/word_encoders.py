"""Encoders that look words up: dense, sparse, and sparse with a route for queries."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def word_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer whose tokens are the words of some texts."""
    split = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("removed")])
    words = {word for text in texts for word, _ in split.pre_tokenize_str(text.lower())}
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *sorted(words)])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    raw.normalizer, raw.pre_tokenizer = normalizers.Lowercase(), split
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]")


def dense_encoder(texts: Iterable[str], size: int = 8, seed: int = 0) -> SentenceTransformer:
    """Return a dense encoder: the mean of a random vector for each word."""
    tokenizer = word_tokenizer(texts)
    weights = np.random.default_rng(seed).normal(size=(len(tokenizer), size)).astype(np.float32)
    embedding = StaticEmbedding(tokenizer.backend_tokenizer, embedding_weights=weights)
    return SentenceTransformer(modules=[embedding], device="cpu")


def sparse_encoder(texts: Iterable[str], *, route: bool = False) -> SparseEncoder:
    """Return a sparse encoder: each word is a dimension, the longer the heavier.

    Args:
        texts: their words are known.
        route: whether queries have a route of their own, in which every word weighs 1.
    """
    tokenizer = word_tokenizer(texts)
    lengths = torch.tensor(
        [float(len(word)) for word in tokenizer.convert_ids_to_tokens(range(len(tokenizer)))]
    )
    lengths[:2] = 0
    words = SparseStaticEmbedding(tokenizer, weight=lengths)
    if not route:
        return SparseEncoder(modules=[words], device="cpu")
    queries = SparseStaticEmbedding(tokenizer, weight=(lengths > 0).float())
    router = Router.for_query_document(query_modules=[queries], document_modules=[words])
    return SparseEncoder(modules=[router], device="cpu")


def saved(model: SentenceTransformer | SparseEncoder, folder: Path) -> Path:
    """Save a model, and return its folder."""
    model.save_pretrained(str(folder), create_model_card=False)
    return folder
